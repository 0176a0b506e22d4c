//! What one client, one connection and all of them together may take.

use std::time::Duration;

/// The limits of a server. A client is an IPv4 address or an IPv6 /64.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// TCP connections in all. Above it, the longest-idle connection of the client with the most gives way. Default: 1,024.
    pub tcp_connections: usize,
    /// TCP connections of one client. Above it, its longest-idle connection gives way; while none is idle, up to 256 new ones
    /// wait unread. Default: 64.
    pub tcp_connections_per_client: usize,
    /// Queries of one TCP connection that wait for an upstream; at the limit, the connection is not read. Default: 64.
    pub tcp_queries_per_connection: usize,
    /// How long a TCP connection may be idle. Default: 10 s.
    pub tcp_idle: Duration,
    /// How long a TCP message may take to arrive after its first octet, and a client to read a reply. Default: 5 s.
    pub tcp_message: Duration,
    /// Queries that wait for an upstream, in all; fewer where the process may have few descriptors. When all places are taken,
    /// a network or a client that has fewer than another takes one from the one that has most; between equals a query gives
    /// way once it is older than a second. One that finds no place is answered at once: SERVFAIL, with an extended error that
    /// says why. Default: 4,096.
    pub forwards: usize,
    /// Queries of one client that wait for an upstream. Default: 1,024; fewer where the process may have few descriptors: see
    /// [`Server`](https://docs.rs/callsign/latest/callsign/server/struct.Server.html#descriptors).
    pub forwards_per_client: usize,
    /// How long a shutdown waits for queries that wait for an upstream. Default: 800 ms.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            tcp_connections: 1024,
            tcp_connections_per_client: 64,
            tcp_queries_per_connection: 64,
            tcp_idle: Duration::from_secs(10),
            tcp_message: Duration::from_secs(5),
            forwards: 4096,
            forwards_per_client: 1024,
            drain: Duration::from_millis(800),
        }
    }
}
