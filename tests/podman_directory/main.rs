//! Podman's directory, read into a table: each sentence of what it promises. The files are written as netavark writes them.

mod kit;
mod reading;
