//! One question to one server and its reply: by a datagram, or over TCP, TLS, HTTPS or QUIC.
//!
//! What there is of a server here are its [`Connections`]; an [`Attempt`] asks over one of them. Knows nothing of which server
//! is asked when, nor of how it does: an attempt gives what came of it, and whoever asked draws conclusions.

mod attempt;
#[cfg(feature = "encrypted")]
mod doh_doq;
mod multiplexer;
mod random;
mod tap;
mod tcp;
mod timer;
#[cfg(feature = "encrypted")]
mod tls;
mod udp;
mod udp_pool;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

pub(crate) use attempt::zone_index;
pub(super) use attempt::{Attempt, AttemptError, AttemptOptions, Received, is_unreachable};
pub(super) use tap::TapSlot;
pub use tap::{Tap, Tapped};
pub(super) use timer::Timer;
pub(crate) use udp::most_sockets;
pub(super) use udp::{has_ample_sockets, is_ours, warn_of_want};

use crate::settings::{Transport, Upstream};
use tap::TapPoint;
use tcp::Streams;
use udp_pool::UdpPool;

/// All that is open to one server, and what is needed to open more.
#[derive(Debug)]
pub(super) struct Connections {
    upstream: Upstream,
    traffic: Arc<Traffic>,
    /// The connection to it.
    streams: Streams,
    /// The UDP sockets to it that no question waits at.
    sockets: Arc<UdpPool>,
    /// What TLS needs to know, whatever runs over it.
    #[cfg(feature = "encrypted")]
    tls: Arc<tls::TlsContext>,
}

impl Connections {
    /// None as yet, to this server. The tap sees all messages.
    pub(super) fn new(upstream: Upstream, tap: TapSlot) -> Connections {
        Connections {
            #[cfg(feature = "encrypted")]
            tls: Arc::new(tls::TlsContext::new(&upstream)),
            traffic: Arc::new(Traffic::new(TapPoint::new(upstream.clone(), tap))),
            upstream,
            streams: Streams::default(),
            sockets: UdpPool::new(),
        }
    }

    /// The server.
    pub(super) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// What went to it.
    pub(super) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// True if questions begin with a datagram, which may get lost.
    pub(super) fn is_datagram(&self) -> bool {
        self.upstream.transport() == Transport::Plain
    }

    /// True if there is a connection, or one is being made.
    pub(super) fn is_open(&self) -> bool {
        self.streams.is_open()
    }
}

/// What is counted of a server's messages, and where they can be seen.
#[derive(Debug)]
pub(super) struct Traffic {
    tap: TapPoint,
    queries: AtomicU64,
    mismatches: AtomicU64,
    connections: AtomicU64,
}

impl Traffic {
    fn new(tap: TapPoint) -> Traffic {
        let [queries, mismatches, connections] = [const { AtomicU64::new(0) }; 3];
        Traffic { tap, queries, mismatches, connections }
    }

    /// Queries that were sent, repeated ones among them.
    pub(super) fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }

    /// Messages that were not the reply to what was asked: guesses, or strays.
    pub(super) fn mismatches(&self) -> u64 {
        self.mismatches.load(Ordering::Relaxed)
    }

    /// Connections that were made, or begun.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// A query goes out.
    fn asked(&self) {
        self.queries.fetch_add(1, Ordering::Relaxed);
    }

    /// A message was not the reply.
    fn mismatched(&self) {
        self.mismatches.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection is being made.
    fn connecting(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }
}

/// The runtime's clock, which tests may hold.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
