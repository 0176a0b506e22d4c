//! The program `callsign`: it hosts the library beside a container runtime that the library is not linked into.
//!
//! See `callsign --help`; and `aardvark-dns --help` for what it does under that name.

// One module, for forking, calls the system in a way that is unsafe, and says why it may.
#![deny(unsafe_code)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
