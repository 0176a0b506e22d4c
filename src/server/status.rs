//! The state of a server as plain values.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::forward::{Counters, UpstreamStatus};

/// What a server is doing at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Queries that were received, over UDP and TCP, since the server started.
    pub queries: u64,
    /// Every listener, by network and address.
    pub listeners: Vec<ListenerStatus>,
    /// Open TCP connections.
    pub tcp_connections: usize,
    /// Queries that wait for an upstream.
    pub forwards: usize,
    /// Replies over UDP that were dropped because they could not be sent at once.
    pub dropped_replies: u64,
    /// How often limits were reached.
    pub limits_hit: LimitsHit,
    /// What the forwarder has done, and its cache.
    pub forwarding: Counters,
    /// How each upstream does that was asked lately.
    pub upstreams: Vec<UpstreamStatus>,
}

/// How often limits were reached since the server started (answers.md L2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitsHit {
    /// TCP connections that had to wait, as there were [as many as may be](super::Limits::tcp_connections).
    pub tcp_connections: u64,
    /// TCP connections that had to wait, as their client had [as many as it may have](super::Limits::tcp_connections_per_client).
    pub tcp_connections_per_client: u64,
    /// TCP connections that were refused, as too many waited.
    pub tcp_connections_waiting: u64,
    /// Queries that were turned down, as [as many as may](super::Limits::forwards) waited for upstreams.
    pub forwards: u64,
    /// Queries that were turned down, as [as many of their client as may](super::Limits::forwards_per_client) waited.
    pub forwards_per_client: u64,
    /// Queries that waited, and gave way to those of networks or clients that had fewer.
    pub forwards_displaced: u64,
}

/// The state of one listener: one address, one transport.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerStatus {
    /// The network whose names are answered.
    pub network: String,
    /// True if the host view is answered, and no network.
    pub is_host_view: bool,
    /// The address as configured.
    pub listen: String,
    /// The endpoint that it is for, if it is for one alone.
    pub endpoint: Option<String>,
    /// True for TCP, false for UDP.
    pub tcp: bool,
    /// Whether it is served.
    pub state: ListenerState,
    /// Queries that it has received.
    pub queries: u64,
}

/// Whether a listener is served.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenerState {
    /// It is, at this address and port.
    Listening(SocketAddr),
    /// Its socket could not be made; it is tried again.
    Failed {
        /// Why.
        error: String,
        /// How often it was tried.
        attempts: u32,
        /// How long after the last attempt the next one follows.
        retry: Duration,
    },
}

impl fmt::Display for ListenerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListenerStatus { network, listen, tcp, state, .. } = self;
        let transport = if *tcp { "tcp" } else { "udp" };
        match state {
            ListenerState::Listening(address) => write!(f, "{network}: {transport} {address}"),
            ListenerState::Failed { error, .. } => write!(f, "{network}: {transport} {listen} not listening: {error}"),
        }
    }
}
