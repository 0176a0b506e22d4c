//! The floor: every datagram goes back as it came, a batch to a system call.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg, setsockopt, sockopt};

/// Datagrams a batch, as in callsign.
const BATCH: usize = 32;

/// Octets that wait to be received, as in callsign.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Serves 127.0.0.1 until something fails, which is given.
pub(crate) fn serve(port: u16) -> io::Error {
    match UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(socket) => {
            // Beyond the system's limit if we may, else up to it.
            if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
                let _ = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER);
            }
            loop {
                if let Err(error) = echo(&socket) {
                    return error;
                }
            }
        }
        Err(error) => error,
    }
}

fn echo(socket: &UdpSocket) -> io::Result<()> {
    let mut buffers = [[0; 512]; BATCH];
    let mut lengths = [0; BATCH];
    let mut senders: [Option<SockaddrStorage>; BATCH] = [None; BATCH];
    let mut receive = MultiHeaders::preallocate(BATCH, None);
    let mut send = MultiHeaders::preallocate(BATCH, None);
    loop {
        let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let mut count = 0;
        // Waits for the first one only.
        let flags = MsgFlags::MSG_WAITFORONE;
        for datagram in recvmmsg(socket.as_raw_fd(), &mut receive, slices.iter_mut(), flags, None)? {
            lengths[count] = datagram.bytes;
            senders[count] = datagram.address;
            count += 1;
        }
        let slices: [_; BATCH] = std::array::from_fn(|index| [IoSlice::new(&buffers[index][..lengths[index]])]);
        let mut sent = 0;
        while sent < count {
            let flags = MsgFlags::empty();
            let batch =
                sendmmsg(socket.as_raw_fd(), &mut send, &slices[sent..count], &senders[sent..count], [], flags)?;
            sent += batch.count().max(1);
        }
    }
}
