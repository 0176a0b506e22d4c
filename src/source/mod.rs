//! What keeps a table up to date: where networks and endpoints come from.
//!
//! A source makes [networks](crate::table::Network) out of what somebody else says, and notices when that changes. It
//! knows nothing of the server and its sockets: the program that runs both passes the networks from one to the other.

#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "docker")]
pub mod docker;
#[cfg(feature = "etcd")]
pub mod etcd;
#[cfg(any(feature = "config", feature = "etcd"))]
pub mod file;
#[cfg(feature = "config")]
pub mod hosts;
#[cfg(feature = "podman")]
pub mod podman;

/// The seconds of a time with its unit: `2s`, `1.5s`, `500ms`.
#[cfg(any(feature = "config", feature = "docker"))]
fn seconds_of(text: &str) -> Option<f64> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s')?, 1.0),
    };
    number.trim_end().parse::<f64>().ok().map(|number| number * unit)
}
