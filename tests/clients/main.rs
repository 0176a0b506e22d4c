//! The program and its clients in real network namespaces: large ones, hostile ones, and those that nobody has.

#[path = "../support/mod.rs"]
mod support;

mod elsewhere;
mod memory;
mod pools;
mod spoofed;
