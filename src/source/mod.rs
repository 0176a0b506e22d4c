//! What keeps a table up to date: where networks and endpoints come from.
//!
//! A source makes [networks](crate::table::Network) out of what somebody else says, and notices when that changes. It
//! knows nothing of the server and its sockets: whoever runs both carries the networks from one to the other.

#[cfg(any(feature = "config", feature = "docker"))]
use std::time::Duration;

#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "docker")]
pub mod docker;
#[cfg(feature = "config")]
pub mod file;
#[cfg(feature = "podman")]
pub mod podman;

/// `2s`, `1.5s` or `500ms`.
#[cfg(any(feature = "config", feature = "docker"))]
fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s')?, 1.0),
    };
    let number: f64 = number.trim_end().parse().ok()?;
    Duration::try_from_secs_f64(number * unit).ok()
}
