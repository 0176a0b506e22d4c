//! What the service manager is told (sd_notify): ready, reloading, stopping, and how it stands. Without one nothing is said.

use std::fmt;
use std::future::pending;
use std::time::SystemTime;

use callsign::server::{ListenerState, Server};
use sd_notify::NotifyState;
use tokio::time::sleep;
use tracing::debug;

/// What the service manager knows of us.
#[derive(Debug, Default)]
pub(super) struct Supervisor {
    is_ready: bool,
    /// Why the last reload changed nothing, and since when reloads fail.
    failed: Option<(SystemTime, String)>,
    status: String,
}

impl Supervisor {
    /// A reload begins.
    pub(super) fn reloading(&self) {
        if !self.is_ready {
            // It is starting still, for systemd.
            return;
        }
        // Since systemd 253 with the time, in the same message.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// A reload is done; `mistake` is why it changed nothing.
    pub(super) fn reloaded(&mut self, mistake: Option<String>, server: &Server) {
        self.failed = mistake.map(|mistake| {
            let since = self.failed.take().map_or_else(SystemTime::now, |(since, _)| since);
            (since, mistake)
        });
        self.settled(server);
    }

    /// The start, or a reload, is done. The server is ready once it listens at some address, or has none to listen at.
    pub(super) fn settled(&mut self, server: &Server) {
        let sockets = Sockets::of(server);
        self.is_ready |= sockets.addresses > 0 || sockets.failed == 0;
        self.status = self.describe(&sockets);
        let status = NotifyState::Status(&self.status);
        if self.is_ready { tell(&[NotifyState::Ready, status]) } else { tell(&[status]) }
    }

    /// Looks at the sockets again, and tells what is new. False once all listen.
    pub(super) fn look(&mut self, server: &Server) -> bool {
        let sockets = Sockets::of(server);
        if self.status != self.describe(&sockets) {
            self.settled(server);
        }
        sockets.failed > 0
    }

    fn describe(&self, sockets: &Sockets) -> String {
        match &self.failed {
            Some((since, mistake)) => format!("Reloads fail since {}: {mistake}. {sockets}", utc(*since)),
            None => sockets.to_string(),
        }
    }
}

/// Where the server listens.
#[derive(Debug)]
struct Sockets {
    /// Addresses whose UDP socket is bound: stub resolvers ask over UDP, and TCP alone answers none of them.
    addresses: usize,
    /// Sockets of either transport that are not bound.
    failed: usize,
}

impl Sockets {
    fn of(server: &Server) -> Sockets {
        let (mut addresses, mut failed) = (0, 0);
        for listener in server.status().listeners {
            match listener.state {
                ListenerState::Listening(_) => addresses += usize::from(!listener.tcp),
                _ => failed += 1,
            }
        }
        Sockets { addresses, failed }
    }
}

impl fmt::Display for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sockets { addresses, failed } = self;
        write!(f, "Listening on {addresses} {}", if *addresses == 1 { "address" } else { "addresses" })?;
        match failed {
            0 => Ok(()),
            1 => f.write_str("; 1 socket could not be bound"),
            _ => write!(f, "; {failed} sockets could not be bound"),
        }
    }
}

/// Tells the service manager again and again that the server is alive, where it wants to hear that (WatchdogSec=): only after
/// each worker has answered. It runs beside the main loop, on the same thread, so that one that is stuck tells nothing.
pub(super) async fn watchdog(server: &Server) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return pending().await };
    loop {
        server.responds().await;
        tell(&[NotifyState::Watchdog]);
        // Half of it, as sd_watchdog_enabled(3) recommends.
        sleep(limit / 2).await;
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

/// `2026-11-24 20:31:05 UTC`.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years from March on, of which 400 have 146,097 days: the leap day is the last one.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{:04}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02} UTC", 400 * era + year)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_told_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_709_164_800, "2024-02-29 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
