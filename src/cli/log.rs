//! The log of `serve`: to standard error, for people or as JSON. Only the program installs one; the library never does.

use std::io;
use std::sync::OnceLock;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, registry, reload};

use super::arguments::LogFormat;

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
    let filter: Targets =
        level.parse().map_err(|error| format!("{level:?}: {error}; write error, warn, info, debug or trace"))?;
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
    // Not EnvFilter: it brings a regular expression engine into an idle server's memory.
    let filter: Targets = level
        .parse()
        .map_err(|error| format!("{origin} {level:?}: {error}; write error, warn, info, debug or trace"))?;
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
