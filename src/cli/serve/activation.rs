//! What the program takes from whoever started it: ready-made sockets, and the limit of open descriptors.

use std::net::SocketAddr;

use callsign::server::{ListenerState, ReadySocket, Server};
use listenfd::ListenFd;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{debug, warn};

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

/// Each listener and each TCP client takes a descriptor; the customary soft limit of 1024 is for programs that use select(2).
pub(in crate::cli) fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) });
    if let Err(error) = raised {
        debug!(%error, "the limit of open files stays as it is");
    }
}
