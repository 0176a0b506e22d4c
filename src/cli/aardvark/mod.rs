//! The program under the name `aardvark-dns`: the DNS server of Podman's networks.
//!
//! Podman's network tool, netavark, starts a program of that name for the first container, writes a file for each network
//! and sends a signal when one changes. Being called so is the only switch: a copy of or a link to `callsign` named
//! `aardvark-dns` takes that program's arguments, keeps its life cycle and its messages, and is in everything else what
//! `callsign serve` is.

mod arguments;
mod daemon;
mod fork;
mod lifecycle;
mod overrides;
mod pid_file;
mod service;
mod siblings;
mod signals;
mod syslog;
mod version;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

use super::{NO, USAGE, descriptors, output};

/// What this program is called by netavark.
const NAME: &str = "aardvark-dns";

/// True if this process was started under that name.
pub(super) fn is_called() -> bool {
    std::env::args_os().next().is_some_and(|program| Path::new(&program).file_name() == Some(OsStr::new(NAME)))
}

/// Runs the program.
pub(super) fn run() -> ExitCode {
    descriptors::close_inherited();
    // Wrong arguments end the process here, with 2.
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Version => version::run(),
        Command::Run => match arguments.job() {
            Ok(job) => daemon::run(&job),
            Err(message) => fail(message, USAGE),
        },
    }
}

/// Writes why the program failed, and gives the exit code. netavark shows the message as it is.
fn fail(message: impl std::fmt::Display, code: u8) -> ExitCode {
    output::complain(message);
    code.into()
}
