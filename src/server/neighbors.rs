//! Who can be reached at once: what the kernel knows of the next hop to an address.
//!
//! Asked only for a reply that its socket did not take. It is asked by netlink: two questions, for the route and for the
//! neighbor on it, each a few microseconds.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket};

/// Octets of an answer: a route or a neighbor takes some hundred.
const ANSWER: usize = 4096;
/// Octets before the attributes of a message: its header, and that of a route or a neighbor.
const HEADER: usize = 16;
const BODY: usize = 12;
/// States of a neighbor whose link-layer address is known (include/uapi/linux/neighbour.h): reachable, stale, delay, probe,
/// noarp, permanent.
const KNOWN: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80;
/// A route's type that is this machine itself (include/uapi/linux/rtnetlink.h).
const LOCAL: u8 = 2;

thread_local! {
    static KERNEL: RefCell<Option<OwnedFd>> = const { RefCell::new(None) };
}

/// True if a datagram to `receiver` goes out at once, as the link-layer address of its next hop is known: it does not wait
/// for an answer to ARP or neighbor discovery that perhaps never comes.
pub(super) fn is_known(receiver: SocketAddr) -> io::Result<bool> {
    KERNEL.with_borrow_mut(|kernel| {
        let socket = match kernel {
            Some(socket) => socket,
            None => kernel.insert(open()?),
        };
        let known = look_up(socket, receiver);
        if known.is_err() {
            // An answer that comes later would be taken for that to the next question.
            *kernel = None;
        }
        known
    })
}

fn open() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?)
}

fn look_up(kernel: &OwnedFd, receiver: SocketAddr) -> io::Result<bool> {
    let (mut hop, mut interface) = (receiver.ip().to_canonical(), scope(receiver));
    if interface == 0 {
        let mut body = [0; BODY];
        (body[0], body[1]) = (family(hop), prefix(hop));
        let Some(route) = ask(kernel, libc::RTM_GETROUTE, &body, (libc::RTA_DST, hop))? else { return Ok(false) };
        if route.body[7] == LOCAL {
            return Ok(true);
        }
        if let Some(index) = route.attribute(libc::RTA_OIF).and_then(|value| value.try_into().ok()) {
            interface = u32::from_ne_bytes(index);
        }
        hop = route.attribute(libc::RTA_GATEWAY).and_then(address).unwrap_or(hop);
    }
    let mut body = [0; BODY];
    body[0] = family(hop);
    body[4..8].copy_from_slice(&interface.to_ne_bytes());
    let neighbor = ask(kernel, libc::RTM_GETNEIGH, &body, (libc::NDA_DST, hop))?;
    Ok(neighbor.is_some_and(|neighbor| u16::from_ne_bytes([neighbor.body[8], neighbor.body[9]]) & KNOWN != 0))
}

struct Answer {
    body: [u8; BODY],
    attributes: Vec<u8>,
}

impl Answer {
    /// The value of the first attribute of this type.
    fn attribute(&self, wanted: u16) -> Option<&[u8]> {
        let mut rest = &self.attributes[..];
        while let Some((&[a, b, c, d], _)) = rest.split_first_chunk() {
            let (len, kind) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]));
            let value = rest.get(4..len)?;
            if kind == wanted {
                return Some(value);
            }
            rest = rest.get(len.next_multiple_of(4)..)?;
        }
        None
    }
}

/// Asks for the one thing that there is for an address. `None` if there is none.
fn ask(kernel: &OwnedFd, kind: u16, body: &[u8; BODY], (attribute, ip): (u16, IpAddr)) -> io::Result<Option<Answer>> {
    let octets = match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let len = HEADER + BODY + 4 + octets.len();
    let mut message = Vec::with_capacity(len);
    message.extend((len as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message.extend((4 + octets.len() as u16).to_ne_bytes());
    message.extend(attribute.to_ne_bytes());
    message.extend(octets);
    sendto(kernel.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    // The kernel has answered before the call returns: there is nothing to wait for.
    let mut answer = [0; ANSWER];
    let len = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    let answer = &answer[..len.min(ANSWER)];
    let kind = answer.get(4..6).map_or(0, |kind| u16::from_ne_bytes([kind[0], kind[1]]));
    if i32::from(kind) == libc::NLMSG_ERROR {
        return Ok(None);
    }
    let parts = answer.get(HEADER..HEADER + BODY).and_then(|body| body.try_into().ok());
    Ok(parts.map(|body| Answer { body, attributes: answer[HEADER + BODY..].to_vec() }))
}

fn scope(address: SocketAddr) -> u32 {
    if let SocketAddr::V6(v6) = address { v6.scope_id() } else { 0 }
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

fn prefix(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l1_this_machine_is_reached_at_once() {
        assert!(is_known("127.0.0.1:53".parse().unwrap()).unwrap());
        assert!(is_known("127.0.0.9:53".parse().unwrap()).unwrap());
    }
}
