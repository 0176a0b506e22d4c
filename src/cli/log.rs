//! The log of `serve`: to standard error, for people or as JSON. Only the program installs one; the library never does.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::OnceLock;

use nix::sys::stat::fstat;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, registry, reload};

use super::arguments::LogFormat;
use super::{output, sandbox};

/// The filter of the installed log.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// A filter that [`set_level`] changes.
pub(super) fn changeable(filter: Targets) -> reload::Layer<Targets, Registry> {
    let (layer, handle) = reload::Layer::new(filter);
    // There is one log in a process.
    let _ = FILTER.set(handle);
    layer
}

/// Sets what is logged from here on.
///
/// # Errors
/// What is wrong with the level, or that there is no log.
pub(super) fn set_level(level: &str) -> Result<(), String> {
    let filter = filter(level)
        .map_err(|word| format!("{level:?}: {word:?} is not a level; write error, warn, info, debug or trace"))?;
    let modules = level.split(',').filter_map(|part| part.split_once('=')).map(|(module, _)| module.trim());
    if let Some(module) = modules.into_iter().find(|module| !is_known(module)) {
        return Err(format!(
            "{level:?}: nothing called {module:?} writes to this log; write a module of callsign's, as in callsign::forward"
        ));
    }
    let handle = FILTER.get().ok_or("there is no log")?;
    handle.reload(filter).map_err(|error| error.to_string())
}

/// True for a module of this program, or of a library that it uses and that writes to the log.
fn is_known(module: &str) -> bool {
    const CRATES: [&str; 8] =
        ["callsign", "hickory_net", "hickory_proto", "hickory_resolver", "quinn", "rustls", "h2", "hyper"];
    let first = module.split("::").next().unwrap_or_default();
    CRATES.contains(&first)
}

/// Installs the log. `level` is what was asked for on the command line.
///
/// # Errors
/// What is wrong with the level.
pub(super) fn install(format: LogFormat, level: Option<&str>) -> Result<(), String> {
    let environment = std::env::var("RUST_LOG").ok().filter(|level| !level.is_empty());
    let (level, origin) = match (level, &environment) {
        (Some(level), _) => (level, "--log-level"),
        (None, Some(level)) => (&**level, "RUST_LOG"),
        (None, None) => ("info", ""),
    };
    let filter = filter(level).map_err(|word| {
        format!("{origin} {level:?}: {word:?} is not a level; write error, warn, info, debug or trace")
    })?;
    // A log that cannot be written is nobody's to tell of.
    let stderr = Stderr { is_journal: is_journal(), is_json: format == LogFormat::Json };
    let is_journal = stderr.is_journal;
    let lines = fmt::layer().with_writer(stderr).log_internal_errors(false);
    let log = registry().with(changeable(filter));
    match format {
        LogFormat::Json => log.with(lines.json().flatten_event(true)).init(),
        // The journal has the time and the priority of every line already.
        LogFormat::Text if is_journal => {
            log.with(lines.with_target(false).with_level(false).without_time().with_ansi(false)).init();
        }
        LogFormat::Text => log.with(lines.with_target(false)).init(),
    }
    Ok(())
}

/// Reads `info` or `info,callsign::forward=debug`. (Not `EnvFilter`: it brings a regular expression engine into an idle
/// server's memory.) A word without `=` has to be a level: `Targets` takes any other one for a module, and mutes the rest.
///
/// # Errors
/// The word that is not a level.
fn filter(text: &str) -> Result<Targets, &str> {
    let mut filter = Targets::new();
    for part in text.split(',').map(str::trim) {
        let (module, word) = match part.split_once('=') {
            Some((module, word)) => (Some(module.trim()), word.trim()),
            None => (None, part),
        };
        // The empty text is a level for `LevelFilter`.
        let level: LevelFilter =
            Some(word).filter(|word| !word.is_empty()).and_then(|word| word.parse().ok()).ok_or(word)?;
        filter = match module {
            Some("") => return Err(part),
            Some(module) => filter.with_target(module, level),
            None => filter.with_default(level),
        };
    }
    Ok(filter)
}

/// True if standard error is the journal (systemd.exec(5), JOURNAL_STREAM). The variable is inherited by those whose standard
/// error is something else.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// The severity of RFC 5424 §6.2.1, as syslog and the journal have it.
pub(super) fn severity(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Standard error. Each line has its priority in front where the journal reads it (sd-daemon(3)), and behind an error what
/// the sandbox has to do with it.
#[derive(Debug, Clone, Copy)]
struct Stderr {
    is_journal: bool,
    is_json: bool,
}

impl MakeWriter<'_> for Stderr {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line { stderr: *self, severity: severity(&Level::INFO) }
    }

    fn make_writer_for(&self, event: &Metadata<'_>) -> Line {
        Line { stderr: *self, severity: severity(event.level()) }
    }
}

/// Writes one event, which comes in one piece.
#[derive(Debug)]
struct Line {
    stderr: Stderr,
    severity: u8,
}

impl Line {
    fn complete(&self, text: &[u8], remark: Option<&str>) -> Vec<u8> {
        let mut line = if self.stderr.is_journal { format!("<{}>", self.severity).into_bytes() } else { Vec::new() };
        let text = text.trim_ascii_end();
        match (remark, text.strip_suffix(b"}")) {
            (Some(remark), Some(object)) if self.stderr.is_json => {
                line.extend_from_slice(object);
                line.extend_from_slice(format!(",\"sandbox\":\"{remark}\"}}").as_bytes());
            }
            (remark, _) => {
                line.extend_from_slice(text);
                if let Some(remark) = remark {
                    line.extend_from_slice(format!("; {remark}").as_bytes());
                }
            }
        }
        line.push(b'\n');
        line
    }
}

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(&self.complete(text, sandbox::remark(text)))?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says why a start failed: in the log, or plainly on standard error where the level mutes errors.
pub(super) fn start_failed(message: impl Display) {
    if tracing::enabled!(tracing::Level::ERROR) { tracing::error!("{message}") } else { output::complain(message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_priority_for_the_journal_and_the_remark_behind_it() {
        let line = |is_journal, is_json, text: &[u8], remark| {
            let line = Line { stderr: Stderr { is_journal, is_json }, severity: 4 };
            String::from_utf8(line.complete(text, remark)).unwrap()
        };
        assert_eq!(line(false, false, b"denied\n", None), "denied\n");
        assert_eq!(line(true, false, b"denied\n", Some("why")), "<4>denied; why\n");
        assert_eq!(line(true, true, b"{\"a\":{}}\n", Some("why")), "<4>{\"a\":{},\"sandbox\":\"why\"}\n");
    }

    #[test]
    fn levels_by_module() {
        let told = filter("warn, callsign::forward=DEBUG").unwrap();
        assert!(
            told.would_enable("callsign::forward::x", &Level::DEBUG) && told.would_enable("callsign", &Level::WARN)
        );
        assert!(!told.would_enable("callsign", &Level::INFO));
        assert!(filter("off").is_ok());
    }

    #[test]
    fn a_word_that_is_no_level_is_an_error() {
        for (text, word) in [
            ("loud", "loud"),
            ("debgu", "debgu"),
            ("", ""),
            ("info,", ""),
            ("info,callsign=loud", "loud"),
            ("callsign=", ""),
            ("=debug", "=debug"),
        ] {
            assert_eq!(filter(text).err(), Some(word), "{text:?}");
        }
    }
}
