//! The log of `serve`: to standard error, for people or as JSON. Only the program installs one; the library never does.

use std::fmt::Display;
use std::io;
use std::sync::OnceLock;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, registry, reload};

use super::arguments::LogFormat;
use super::output;

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
    let handle = FILTER.get().ok_or("there is no log")?;
    handle.reload(filter).map_err(|error| error.to_string())
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
    let lines = fmt::layer().with_writer(io::stderr).log_internal_errors(false);
    let log = registry().with(changeable(filter));
    match format {
        LogFormat::Json => log.with(lines.json().flatten_event(true)).init(),
        // The journal has the time of every line already.
        LogFormat::Text if std::env::var_os("JOURNAL_STREAM").is_some() => {
            log.with(lines.with_target(false).without_time()).init();
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

/// Says why a start failed: in the log, or plainly on standard error where the level mutes errors.
pub(super) fn start_failed(message: impl Display) {
    if tracing::enabled!(tracing::Level::ERROR) { tracing::error!("{message}") } else { output::complain(message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

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
