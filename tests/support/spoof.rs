//! Queries from addresses that nobody has. Over IPv6 no privilege is needed for them: binding to any address is free there.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use socket2::{Domain, Socket, Type};

/// A socket whose datagrams come from `source`, which need not be an address of this machine.
pub fn socket_from(source: IpAddr) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(source, 0);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    match source {
        // What a proxy does that keeps the addresses of its clients.
        IpAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
        IpAddr::V6(_) => socket.set_freebind_v6(true)?,
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}
