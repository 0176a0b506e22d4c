//! Answers: what holds for all networks.

use crate::wire::Name;
use crate::wire::reply;

/// The domain of the host view's names, unless another is said (answers.md V6).
pub(crate) const HOST_DOMAIN: &str = "containers.internal";

/// What a responder is told once, for all networks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponderOptions {
    /// Suffixes below which nothing is ever forwarded: unknown names there are NXDOMAIN (answers.md S).
    pub never_forward: Vec<Name>,
    /// The key of server cookies (answers.md H7). All zeros is valid, but no secret: use random octets.
    pub cookie_secret: [u8; 16],
    /// What `version.bind` and `version.server` say in class CH; `None` for REFUSED (answers.md P5).
    pub version: Option<String>,
    /// What `hostname.bind` and `id.server` say in class CH, and the name server identifier for those who ask for one (RFC
    /// 5001); `None` for REFUSED (answers.md P5), and no identifier.
    pub identity: Option<String>,
    /// The largest reply over UDP, in octets; clamped to the range 512 to 4,096 (answers.md H5).
    pub udp_size: u16,
}

impl Default for ResponderOptions {
    fn default() -> ResponderOptions {
        ResponderOptions {
            never_forward: Vec::new(),
            cookie_secret: [0; 16],
            version: None,
            identity: None,
            udp_size: reply::UDP_SIZE,
        }
    }
}

impl ResponderOptions {
    /// The largest reply over UDP, octets.
    pub(crate) fn largest_over_udp(&self) -> usize {
        self.udp_size.clamp(reply::UDP_SIZE_PLAIN, reply::UDP_SIZE_LARGEST).into()
    }
}
