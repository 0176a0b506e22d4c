//! Writing results to standard output and errors to standard error. Whoever reads them may have gone (`callsign check |
//! head -1`): that is no error, and no reason to panic.

use std::fmt::Display;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::NO;

/// Writes a result and gives the exit code: `code`, unless the result could not be written.
pub(super) fn result(text: &str, code: u8) -> ExitCode {
    written(code, |out| out.write_all(text.as_bytes()))
}

/// Writes a result as one JSON document, and gives the exit code.
pub(super) fn json(value: &impl Serialize, code: u8) -> ExitCode {
    written(code, |out| {
        // Whoever reads may have gone, which is an error of the kind that it is for the writer.
        serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
        out.write_all(b"\n")
    })
}

/// Writes a result piece by piece, and gives the exit code.
pub(super) fn written(code: u8, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> ExitCode {
    let mut stdout = BufWriter::new(io::stdout().lock());
    match write(&mut stdout).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(format_args!("cannot write: {error}"), NO),
        _ => code.into(),
    }
}

/// Writes a line to standard output now, for those who watch.
pub(super) fn line(text: impl Display) {
    let _ = io::stdout().write_all(format!("{text}\n").as_bytes());
}

/// Writes a line to standard error.
pub(super) fn complain(message: impl Display) {
    // In one piece: others may write there, too. If it cannot be written there is nobody left to tell.
    let _ = io::stderr().write_all(format!("{message}\n").as_bytes());
}

/// Why a command failed, as `--json` has it.
#[derive(Debug, Serialize)]
struct Failure<'a> {
    error: &'a str,
}

/// Writes why a command failed, as JSON if that was asked for, and gives the exit code.
pub(super) fn failure(is_json: bool, message: &str, code: u8) -> ExitCode {
    if is_json { json(&Failure { error: message }, code) } else { fail(message, code) }
}

/// Writes why a command failed, and gives the exit code.
pub(super) fn fail(message: impl Display, code: u8) -> ExitCode {
    complain(format_args!("callsign: {message}"));
    code.into()
}
