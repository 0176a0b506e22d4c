//! The commands that talk to a running server by its control socket.

pub(super) mod arguments;
mod cache;
mod hosts;
mod names;
mod status;
pub(super) mod text;
mod watch;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use callsign::control::client::{Call, ClientError};
use callsign::control::shapes::{AddedNames, Addition, Earlier, LogLevel, Reloaded, Upstreams};
use callsign::control::{directories, directory, running};
use serde::de::DeserializeOwned;

use super::{NO, USAGE, output};
use arguments::{NameCommand, Target};
use text::{Cell, Style, Table};

pub(super) use cache::run as cache;
pub(super) use hosts::run as hosts;
pub(super) use names::run as names;
pub(super) use status::run as status;
pub(super) use watch::run as watch;

/// How long a server may take to show that it is one, where there are several.
const PROBED: Duration = Duration::from_secs(1);

/// Why there is no answer: the exit code, and the message.
pub(super) type Failure = (u8, String);

/// Runs what talks to a server.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| (NO, format!("cannot start the runtime: {error}")))?.block_on(future))
}

/// The sockets that are meant: the one that is named, or all at which a server listens.
///
/// # Errors
/// There is none.
pub(super) fn sockets(target: &Target) -> Result<Vec<PathBuf>, Failure> {
    if let Some(named) = &target.socket {
        return Ok(vec![named_socket(named)]);
    }
    let running = running();
    if running.is_empty() {
        let looked = directories().iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ");
        return Err((
            NO,
            format!(
                "no server is running that has a control socket in {looked}; start one, or name its socket with --socket"
            ),
        ));
    }
    Ok(running)
}

/// A socket by its path, or by its name in the directory of sockets.
fn named_socket(named: &str) -> PathBuf {
    if named.contains('/') {
        return named.into();
    }
    let file = if named.ends_with(".sock") { named.to_owned() } else { format!("{named}.sock") };
    let directories = directory().into_iter().chain([PathBuf::from("/run/callsign")]);
    let mut paths = directories.map(|directory| directory.join(&file));
    let first = paths.next().unwrap_or_else(|| PathBuf::from("/run/callsign").join(&file));
    if first.exists() { first } else { paths.find(|path| path.exists()).unwrap_or(first) }
}

/// The one socket that is meant.
///
/// # Errors
/// There is none, or there are several.
pub(super) fn socket(target: &Target) -> Result<PathBuf, Failure> {
    let mut sockets = sockets(target)?;
    if sockets.len() > 1 {
        sockets = answering(sockets)?;
    }
    if sockets.len() > 1 {
        let names: Vec<String> = sockets.iter().map(|path| path.display().to_string()).collect();
        return Err((USAGE, format!("several servers are running; name one with --socket: {}", names.join(", "))));
    }
    Ok(sockets.remove(0))
}

/// Those of several sockets behind which a server answers; all of them if none does. A socket of another program, such as a reader
/// of dnstap, is none, and neither is that of a server that hangs.
fn answering(sockets: Vec<PathBuf>) -> Result<Vec<PathBuf>, Failure> {
    let call = Call::get("/v1/upstreams").within(PROBED);
    let (answering, silent): (Vec<PathBuf>, Vec<PathBuf>) = block_on(async {
        let mut asked = Vec::new();
        for socket in sockets {
            let call = call.clone();
            asked.push(tokio::spawn(async move {
                // Also one that says no is a server.
                let outcome = call.send::<Upstreams>(&socket).await;
                (socket, matches!(outcome, Ok(_) | Err(ClientError::Refused { .. })))
            }));
        }
        let mut all = (Vec::new(), Vec::new());
        for task in asked {
            match task.await {
                Ok((socket, true)) => all.0.push(socket),
                Ok((socket, false)) => all.1.push(socket),
                Err(_) => {}
            }
        }
        all
    })?;
    if answering.is_empty() {
        return Ok(silent);
    }
    silent
        .iter()
        .for_each(|socket| output::complain(format_args!("{} does not answer, and is left out", socket.display())));
    Ok(answering)
}

/// Asks a server, and gives the answer with its document.
pub(super) fn ask<T: DeserializeOwned>(socket: &Path, call: &Call) -> Result<(T, Vec<u8>), Failure> {
    block_on(call.send(socket))?.map_err(failure)
}

/// What a refusal or a broken connection comes to.
fn failure(error: ClientError) -> Failure {
    match &error {
        ClientError::Socket { path, error: cause } => match cause.kind() {
            io::ErrorKind::PermissionDenied => (
                NO,
                format!(
                    "{path} may not be opened: run it as root, or write `control_group` in the server's configuration"
                ),
            ),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                (NO, format!("no server listens at {path}: {cause}"))
            }
            _ => (NO, error.to_string()),
        },
        // What was asked for is malformed.
        ClientError::Refused { status: 400, .. } => (USAGE, error.to_string()),
        _ => (NO, error.to_string()),
    }
}

/// Writes the answer: the server's own document, or a text for people.
fn show<T: DeserializeOwned>(target: &Target, call: &Call, show: impl FnOnce(&T, Style) -> (String, u8)) -> ExitCode {
    let answer = socket(target).and_then(|socket| ask::<T>(&socket, call));
    match answer {
        Ok((_, document)) if target.json => json(&document, 0),
        Ok((shape, _)) => {
            let (text, code) = show(&shape, Style::of_stdout());
            output::result(&text, code)
        }
        Err((code, message)) => fail(target, message, code),
    }
}

/// Writes why there is no answer: for `--json` a document of its own.
fn fail(target: &Target, message: impl std::fmt::Display, code: u8) -> ExitCode {
    output::failure(target.json, &message.to_string(), code)
}

/// Writes a server's document, indented.
fn json(document: &[u8], code: u8) -> ExitCode {
    match serde_json::from_slice::<serde_json::Value>(document) {
        Ok(value) => output::json(&value, code),
        Err(error) => output::fail(error, NO),
    }
}

pub(super) fn upstreams(arguments: &arguments::Upstreams) -> ExitCode {
    show::<Upstreams>(&arguments.target, &Call::get("/v1/upstreams"), |answer, style| {
        if answer.upstreams.is_empty() {
            return ("no upstream was asked yet\n".to_owned(), 0);
        }
        let is_down = answer.upstreams.iter().any(|upstream| upstream.state == "down");
        (status::upstreams(&answer.upstreams, style), if is_down { NO } else { 0 })
    })
}

pub(super) fn name(arguments: &arguments::Name) -> ExitCode {
    match &arguments.command {
        NameCommand::List { target } => show::<AddedNames>(target, &Call::get("/v1/added"), |answer, style| {
            if answer.added.is_empty() {
                return ("no names were added\n".to_owned(), 0);
            }
            (added(answer, style), 0)
        }),
        NameCommand::Add(add) => {
            let addition = Addition {
                network: add.network.clone(),
                name: add.name.clone(),
                addresses: add.addresses.clone(),
                ttl: add.ttl,
                seconds: add.time.as_ref().map(Duration::as_secs),
                persist: add.persist,
            };
            show::<AddedNames>(&add.target, &Call::post("/v1/added", &addition), |answer, style| {
                (added(answer, style), 0)
            })
        }
        NameCommand::Remove(remove) => {
            let call =
                Call::delete("/v1/added").with("name", Some(&remove.name)).with("network", remove.network.as_ref());
            show::<AddedNames>(&remove.target, &call, |answer, _| {
                let gone: Vec<String> =
                    answer.added.iter().map(|added| format!("{} on {}", added.name, added.network)).collect();
                (format!("removed {}\n", gone.join(", ")), 0)
            })
        }
    }
}

fn added(answer: &AddedNames, style: Style) -> String {
    let mut table = Table::new(style, &["network", "name", "addresses", "until"]);
    for added in &answer.added {
        let until = match &added.until {
            Some(until) => text::moment(until),
            None if added.persist => "kept over a restart".to_owned(),
            None => "the server stops".to_owned(),
        };
        let addresses: Vec<String> = added.addresses.iter().map(ToString::to_string).collect();
        let network = if added.served { added.network.clone() } else { format!("{} (not there)", added.network) };
        table.row([network.into(), added.name.clone().into(), addresses.join(" ").into(), until.into()]);
    }
    table.text()
}

pub(super) fn reload(arguments: &arguments::Reload) -> ExitCode {
    let target = &arguments.target;
    let call = Call::post("/v1/reload", &());
    let answer = socket(target).and_then(|socket| block_on(call.send::<Reloaded>(&socket)));
    match answer {
        Ok(Ok((reloaded, document))) => {
            let code = if reloaded.problems.is_empty() { 0 } else { NO };
            if target.json {
                return json(&document, code);
            }
            reloaded.warnings.iter().for_each(|warning| output::complain(format_args!("{warning} (a warning)")));
            reloaded.problems.iter().for_each(output::complain);
            output::result(&changes(&reloaded), code)
        }
        Ok(Err(ClientError::Refused { status: 422, body, .. })) => match serde_json::from_slice::<Reloaded>(&body) {
            Ok(_) if target.json => json(&body, NO),
            Ok(reloaded) => {
                reloaded.errors.iter().for_each(output::complain);
                output::fail("not reloaded: everything stays as it is", NO)
            }
            Err(error) => fail(target, error, NO),
        },
        Ok(Err(error)) => {
            let (code, message) = failure(error);
            fail(target, message, code)
        }
        Err((code, message)) => fail(target, message, code),
    }
}

fn changes(reloaded: &Reloaded) -> String {
    let mut lines: Vec<String> = Vec::new();
    for (what, networks) in [("added", &reloaded.added), ("changed", &reloaded.changed), ("removed", &reloaded.removed)]
    {
        if !networks.is_empty() {
            lines.push(format!("{what}: {}", networks.join(", ")));
        }
    }
    if reloaded.settings {
        lines.push("settings of the server changed".to_owned());
    }
    if !reloaded.operation.is_empty() {
        lines.push(format!("put into force: {}", reloaded.operation.join(", ")));
    }
    lines.extend(reloaded.earlier.as_ref().map(in_force));
    if lines.is_empty() {
        lines.push("reloaded: nothing changed".to_owned());
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What was put into force before, because the file had changed.
fn in_force(earlier: &Earlier) -> String {
    let Earlier { at, added, changed, removed, settings, operation } = earlier;
    let settings: Vec<String> = settings.then(|| "settings of the server".to_owned()).into_iter().collect();
    let changed = [&changed[..], &settings[..], &operation[..]].concat();
    let parts = [(added, "added"), (&changed, "changed"), (removed, "removed")];
    let parts = parts.iter().filter(|(names, _)| !names.is_empty());
    let parts: Vec<String> = parts.map(|(names, what)| format!("{} {what}", names.join(", "))).collect();
    let at = text::moment(at);
    format!("already in force since {at} (the file was read when it changed): {}", parts.join("; "))
}

pub(super) fn log(arguments: &arguments::Log) -> ExitCode {
    let level = LogLevel { level: arguments.level.clone() };
    show::<LogLevel>(&arguments.target, &Call::put("/v1/log", &level), |answer, _| {
        (format!("the server logs {} from here on\n", answer.level), 0)
    })
}

/// A state in its colour.
fn state(text: &str, style: Style) -> Cell {
    Cell::painted(text, |text| match text {
        "up" | "fresh" | "live" => style.good(text),
        "unhealthy" | "expired" | "unknown" | "missing" | "held" | "leaving" | "starting" => style.doubtful(text),
        _ => style.bad(text),
    })
}
