//! Ready-made sockets, which the service manager hands in.

use std::net::SocketAddr;

use callsign::server::{ListenerState, ReadySocket, Server};
use listenfd::ListenFd;
use tracing::warn;

/// The sockets of socket activation (LISTEN_FDS). Call it before any thread is started: it removes those variables.
pub(super) fn sockets() -> Vec<ReadySocket> {
    let mut handed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..handed.len() {
        let udp = handed.take_udp_socket(index).map(|socket| socket.map(ReadySocket::Udp));
        match udp.or_else(|_| handed.take_tcp_listener(index).map(|socket| socket.map(ReadySocket::Tcp))) {
            Ok(socket) => sockets.extend(socket),
            Err(_) => warn!(index, "a socket from the service manager is neither UDP nor TCP; it is not used"),
        }
    }
    sockets
}

/// The addresses that sockets are bound to.
pub(super) fn addresses(sockets: &[ReadySocket]) -> Vec<(bool, SocketAddr)> {
    let address = |socket: &ReadySocket| Some((matches!(socket, ReadySocket::Tcp(_)), socket.local_addr().ok()?));
    sockets.iter().filter_map(address).collect()
}

/// Says which ready-made sockets no network has asked for.
pub(super) fn warn_of_unused(handed: &[(bool, SocketAddr)], server: &Server) {
    let listeners = server.status().listeners;
    for (tcp, address) in handed {
        let is_used = listeners
            .iter()
            .any(|listener| listener.tcp == *tcp && listener.state == ListenerState::Listening(*address));
        if !is_used {
            let transport = if *tcp { "TCP" } else { "UDP" };
            warn!(%address, transport, "no network listens on the address of this socket from the service manager");
        }
    }
}
