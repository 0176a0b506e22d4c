//! What the service manager is told (sd_notify): ready, reloading, stopping. Without one nothing is said.

use callsign::server::{ListenerState, Server};
use sd_notify::NotifyState;
use tracing::debug;

/// All listeners are bound or reported, or a reload is done.
pub(super) fn ready(server: &Server) {
    let listeners = server.status().listeners;
    let failed = listeners.iter().filter(|listener| !matches!(listener.state, ListenerState::Listening(_))).count();
    let status = match failed {
        0 => format!("Listening on {} sockets", listeners.len()),
        _ => format!("Listening on {} sockets; {failed} could not be bound", listeners.len() - failed),
    };
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// A reload begins.
pub(super) fn reloading() {
    // Since systemd 253 with the time, in the same message.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The stop begins.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager was not told");
    }
}
