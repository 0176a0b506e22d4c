//! Podman's directory, read into a table: each sentence of what it promises. The files are written as netavark writes them.

#[path = "../answers/kit.rs"]
#[allow(dead_code)]
mod ask;

mod answers;
mod files;
mod format;
mod kit;
mod settings;
mod unfinished;
