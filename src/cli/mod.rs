//! The program's commands: `serve`, `check`, `lookup`, `explain`, `host`, `doctor`, those that talk to a running server; and what
//! it is under the name `aardvark-dns`.
//!
//! Only here are arguments read, signals taken, logs written and the process ended; the library does none of it. Exit codes
//! are the same for all commands: 0 success, 1 failure, 2 usage error; `serve` has 78, too: its configuration is invalid.

mod aardvark;
mod arguments;
mod check;
mod control;
mod descriptors;
mod docker;
mod doctor;
mod explain;
mod host;
mod host_names;
mod host_routing;
mod log;
mod lookup;
mod manual;
mod output;
mod podman;
mod question;
mod reply;
mod sandbox;
mod schema;
mod serve;
mod steering;
mod system;
mod time;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

/// The command did what it is for, and the answer is no: invalid, not found, failed.
const NO: u8 = 1;
/// The command cannot be understood.
const USAGE: u8 = 2;
/// The configuration of a server is invalid, so that starting it again is of no use (EX_CONFIG of sysexits(3)).
const CONFIG: u8 = 78;

/// Runs the program.
pub(crate) fn run() -> ExitCode {
    if aardvark::is_called() {
        return aardvark::run();
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") => {
            return output::failure(true, error.to_string().trim_end().trim_start_matches("error: "), USAGE);
        }
        // Help too ends the process here, with 0.
        Err(error) => error.exit(),
    };
    match arguments.command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Lookup(arguments) => lookup::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Host(arguments) => host_routing::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Status(arguments) => control::status(&arguments),
        Command::Names(arguments) => control::names(&arguments),
        Command::Hosts(arguments) => control::hosts(&arguments),
        Command::Upstreams(arguments) => control::upstreams(&arguments),
        Command::Cache(arguments) => control::cache(&arguments),
        Command::Watch(arguments) => control::watch(&arguments),
        Command::Name(arguments) => control::name(&arguments),
        Command::Reload(arguments) => control::reload(&arguments),
        Command::Log(arguments) => control::log(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Podman(arguments) => podman::run(&arguments),
        Command::Completions(arguments) => manual::completions(&arguments),
        Command::Man(arguments) => manual::run(&arguments),
    }
}
