//! The log, to the machine's syslog: `aardvark-dns[PID]: text`. Where there is none the program is silent.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::process;

use tracing::{Level, Metadata, warn};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::NAME;
use crate::cli::{log, sandbox};

/// Where syslog listens.
const SOCKET: &str = "/dev/log";
/// The facility of messages of programs, times 8 (RFC 3164 §4.1.1).
const USER: u8 = 1 << 3;

/// Installs the log. `level` is what RUST_LOG says.
pub(super) fn install(level: Option<&str>) {
    // Without a socket of our own there is no log, and nobody to tell.
    let Ok(syslog) = Syslog::new() else { return };
    let asked = level.filter(|level| !level.is_empty());
    let level = asked.and_then(parse).unwrap_or(LevelFilter::INFO);
    // Libraries tell of their own affairs at the lower levels.
    let filter = Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("callsign", level);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(syslog)
        .with_ansi(false)
        .with_level(false)
        .with_target(false)
        .without_time()
        .log_internal_errors(false);
    // It fails only where there is a log already.
    let _ = tracing_subscriber::registry().with(log::changeable(filter)).with(lines).try_init();
    if let Some(asked) = asked.filter(|asked| parse(asked).is_none()) {
        // No reason to refuse a container.
        warn!("RUST_LOG {asked:?} is not a level, so info is logged; write error, warn, info, debug or trace");
    }
}

/// One bare level, in capitals or not.
fn parse(level: &str) -> Option<LevelFilter> {
    let levels = [
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
    ];
    levels.into_iter().find(|(name, _)| level.eq_ignore_ascii_case(name)).map(|(_, level)| level)
}

/// A datagram socket. It is connected to nothing: each line finds the syslog that is there at its time.
#[derive(Debug)]
struct Syslog {
    socket: UnixDatagram,
}

impl Syslog {
    fn new() -> io::Result<Syslog> {
        let socket = UnixDatagram::unbound()?;
        // A syslog that is slow or hangs costs lines, and no query its answer.
        socket.set_nonblocking(true)?;
        Ok(Syslog { socket })
    }
}

impl<'a> MakeWriter<'a> for Syslog {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { syslog: self, severity: log::severity(&Level::INFO) }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line<'a> {
        Line { syslog: self, severity: log::severity(event.level()) }
    }
}

/// Writes one event, which comes in one piece.
#[derive(Debug)]
struct Line<'a> {
    syslog: &'a Syslog,
    severity: u8,
}

impl Write for Line<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // Without a time: it would be in a time zone that nobody knows, and syslog has a clock.
        let mut line = format!("<{}>{NAME}[{}]: ", USER | self.severity, process::id()).into_bytes();
        line.extend_from_slice(text.trim_ascii_end());
        if let Some(remark) = sandbox::remark(text) {
            line.extend_from_slice(format!("; {remark}").as_bytes());
        }
        // No syslog, or one that is full: see the module.
        let _ = self.syslog.socket.send_to(&line, SOCKET);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_one_bare_word() {
        assert_eq!(parse("WARN"), Some(LevelFilter::WARN));
        assert_eq!(parse("debug"), Some(LevelFilter::DEBUG));
        assert_eq!((parse("callsign=debug"), parse("OFF"), parse("3"), parse("")), (None, None, None, None));
    }
}
