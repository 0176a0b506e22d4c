//! Making sockets for listen addresses, and taking ready-made ones.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::forward::zone_index;
use crate::settings::Address;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// Octets that wait to be received; the kernel gives less if it is told to.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Octets of a connection's queries and replies in the kernel, which takes twice as much memory for them.
const TCP_RECEIVE_BUFFER: usize = 4096;
const TCP_SEND_BUFFER: usize = 4096;
/// The discard service's port (RFC 863).
const DISCARD: u16 = 9;
/// How often a pair of sockets at a port of the kernel's choice is tried.
const PAIR_ATTEMPTS: usize = 16;

/// A socket that was made elsewhere: by a service manager, or inside another network namespace.
#[derive(Debug)]
pub enum ReadySocket {
    /// A bound UDP socket.
    Udp(UdpSocket),
    /// A listening TCP socket.
    Tcp(TcpListener),
}

impl ReadySocket {
    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            ReadySocket::Udp(socket) => socket.local_addr(),
            ReadySocket::Tcp(socket) => socket.local_addr(),
        }
    }
}

impl AsFd for ReadySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            ReadySocket::Udp(socket) => socket.as_fd(),
            ReadySocket::Tcp(socket) => socket.as_fd(),
        }
    }
}

impl From<UdpSocket> for ReadySocket {
    fn from(socket: UdpSocket) -> ReadySocket {
        ReadySocket::Udp(socket)
    }
}

impl From<TcpListener> for ReadySocket {
    fn from(socket: TcpListener) -> ReadySocket {
        ReadySocket::Tcp(socket)
    }
}

/// The socket address of a listen address. Its zone is looked up, which fails as long as there is no such interface.
pub(super) fn resolve(address: &Address, default_port: u16) -> io::Result<SocketAddr> {
    let port = address.port().unwrap_or(default_port);
    Ok(match (address.ip(), address.zone()) {
        (IpAddr::V6(ip), Some(zone)) => SocketAddrV6::new(ip, port, 0, zone_index(zone)?).into(),
        (ip, _) => SocketAddr::new(ip, port),
    })
}

/// A UDP socket at `address`, which need not be on any interface yet (IP_FREEBIND).
pub(super) fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = prepared(address, Type::DGRAM, Protocol::UDP)?;
    // Beyond the system's limit if we may. A smaller buffer than asked for is no reason not to serve.
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A second socket at the address of `first`, for sending only: it has a send buffer of its own. It is connected to a port
/// of this machine that nobody sends from, so that the kernel goes on to give all queries to the first, and still sends to
/// anybody. `None` for a wildcard address: connecting would make it one address.
///
/// What comes to the address between its two system calls is in its receive buffer.
pub(super) fn for_sending(first: &UdpSocket) -> io::Result<Option<UdpSocket>> {
    let address = first.local_addr()?;
    if address.ip().is_unspecified() {
        return Ok(None);
    }
    let (first, second) = (SockRef::from(first), prepared(address, Type::DGRAM, Protocol::UDP)?);
    second.set_nonblocking(true)?;
    // Two sockets share an address only if both allow it while the second is bound. Nobody else is to join them later.
    second.set_reuse_address(true)?;
    first.set_reuse_address(true)?;
    let bound = second.bind(&address.into());
    first.set_reuse_address(false)?;
    bound?;
    second.set_reuse_address(false)?;
    let mut nobody = address;
    nobody.set_port(DISCARD);
    second.connect(&nobody.into())?;
    Ok(Some(second.into()))
}

/// A listening TCP socket at `address`, which need not be on any interface yet (IP_FREEBIND).
pub(super) fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = prepared(address, Type::STREAM, Protocol::TCP)?;
    // Connections of a server that was stopped a moment ago do not keep the next one from listening.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    // Connections have those of their listener. Of a fixed size they bound what the kernel keeps for clients that send
    // without reading, or for those that wait unread; left alone, each could grow to megabytes.
    socket.set_recv_buffer_size(TCP_RECEIVE_BUFFER)?;
    socket.set_send_buffer_size(TCP_SEND_BUFFER)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A UDP and a TCP socket at one port that the kernel chooses.
pub(super) fn bind_pair(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut attempts = 0;
    loop {
        let udp = bind_udp(address)?;
        match bind_tcp(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts < PAIR_ATTEMPTS => attempts += 1,
            Err(error) => return Err(error),
        }
    }
}

fn prepared(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    Ok(socket)
}
