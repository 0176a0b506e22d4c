//! The log of `serve`: to standard error, for people or as JSON. Only the program installs one; the library never does.

use std::io;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

use super::arguments::LogFormat;

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
    let log = registry().with(filter);
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
