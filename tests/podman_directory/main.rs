//! Podman's directory, read into a table: each sentence of what it promises. The files are written as netavark writes them.

#[path = "../answers/kit.rs"]
#[allow(dead_code)]
mod ask;

// The fuzzers' own package has it as part of its library, where all of this is public.
#[path = "../../fuzz/src/podman.rs"]
#[allow(dead_code, unreachable_pub)]
mod plain;

mod answers;
mod files;
mod format;
mod histories;
mod kit;
mod settings;
mod unfinished;
