//! From where an upstream is asked, where that is not this process' own network namespace.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;

/// Creates the sockets for querying an upstream: in another network namespace, with a mark (`SO_MARK`), or bound to a device
/// (`SO_BINDTODEVICE`). [`Upstream::dialed_by`](super::Upstream::dialed_by) sets it on an upstream.
///
/// The server's worker threads call it for each new socket, and block meanwhile: it must not wait for the network. It may enter
/// another network namespace if it leaves it again before it returns. An error counts as a failure of the upstream.
///
/// ```
/// use std::io;
/// use std::net::{SocketAddr, TcpStream, UdpSocket};
/// use std::sync::Arc;
///
/// use callsign::settings::{Dial, Upstream};
/// use socket2::{Domain, Socket, Type};
///
/// #[derive(Debug)]
/// struct Marked(u32);
///
/// impl Marked {
///     fn socket(&self, to: SocketAddr, kind: Type) -> io::Result<Socket> {
///         let socket = Socket::new(Domain::for_address(to), kind, None)?;
///         socket.set_mark(self.0)?;
///         Ok(socket)
///     }
/// }
///
/// impl Dial for Marked {
///     fn udp(&self, to: SocketAddr) -> io::Result<UdpSocket> {
///         Ok(self.socket(to, Type::DGRAM)?.into())
///     }
///
///     fn tcp(&self, to: SocketAddr) -> io::Result<TcpStream> {
///         Ok(self.socket(to, Type::STREAM)?.into())
///     }
/// }
///
/// let upstream: Upstream = "10.0.0.53".parse()?;
/// let upstream = upstream.dialed_by(Arc::new(Marked(7)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Dial: fmt::Debug + Send + Sync {
    /// A new UDP socket of the address family of `to`, not connected: it will be connected to `to`.
    ///
    /// # Errors
    /// Why there is none.
    fn udp(&self, to: SocketAddr) -> io::Result<UdpSocket>;

    /// A new TCP socket of the address family of `to`, not connected: it will be connected to `to`.
    ///
    /// # Errors
    /// Why there is none.
    fn tcp(&self, to: SocketAddr) -> io::Result<TcpStream>;
}

/// A [`Dial`], compared by identity.
#[derive(Debug, Clone)]
pub(super) struct Dialer(pub(super) Arc<dyn Dial>);

impl Dialer {
    fn place(&self) -> *const () {
        Arc::as_ptr(&self.0).cast()
    }
}

impl PartialEq for Dialer {
    fn eq(&self, other: &Dialer) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Dialer {}

impl Hash for Dialer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.place().hash(state);
    }
}
