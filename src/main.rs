//! The program `callsign`: it hosts the library beside a container runtime that the library is not linked into.
//!
//! See `callsign --help`.

#![forbid(unsafe_code)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
