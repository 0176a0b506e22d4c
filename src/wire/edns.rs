//! EDNS as a query carries it (RFC 6891), and the options that we answer.

use super::option;

/// The OPT of a query: size, version, flags, and the options that matter here. Other options are passed over
/// (answers.md H4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edns {
    udp_size: u16,
    version: u8,
    dnssec_ok: bool,
    cookie: Option<Cookie>,
    keepalive: bool,
    nsid: bool,
    bad_cookie: bool,
}

/// A cookie option: the client's eight octets, and the server cookie that it got from us earlier (RFC 7873 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cookie {
    /// The client's part.
    pub client: [u8; 8],
    /// The server's part, if it has the length of ours (16 octets); another server's is as good as none.
    pub server: Option<[u8; 16]>,
}

/// Options that the fast path does not know or that are cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EdnsError;

impl Edns {
    /// From an OPT's CLASS (the requestor's UDP size) and TTL (extended rcode, version, flags).
    pub(crate) fn new(class: u16, ttl: [u8; 4]) -> Edns {
        Edns {
            udp_size: class.max(512),
            version: ttl[1],
            dnssec_ok: ttl[2] & 0x80 != 0,
            cookie: None,
            keepalive: false,
            nsid: false,
            bad_cookie: false,
        }
    }

    /// Reads the options of an OPT's data, as long as they are ones that the fast path knows. What is in a client subnet is
    /// not looked at: it is not ours to judge (answers.md P3).
    pub(crate) fn with_options(mut self, mut data: &[u8]) -> Result<Edns, EdnsError> {
        while !data.is_empty() {
            let (head, rest) = data.split_at_checked(4).ok_or(EdnsError)?;
            let code = u16::from_be_bytes([head[0], head[1]]);
            let (value, rest) =
                rest.split_at_checked(u16::from_be_bytes([head[2], head[3]]).into()).ok_or(EdnsError)?;
            match code {
                option::COOKIE | option::TCP_KEEPALIVE | option::PADDING | option::NSID | option::CLIENT_SUBNET => {}
                _ => return Err(EdnsError),
            }
            self.add(code, value);
            data = rest;
        }
        Ok(self)
    }

    /// Takes note of one option. Of several cookies the first counts.
    pub(crate) fn add(&mut self, code: u16, value: &[u8]) {
        match code {
            option::COOKIE if self.cookie.is_none() && !self.bad_cookie => match Cookie::read(value) {
                Some(cookie) => self.cookie = Some(cookie),
                None => self.bad_cookie = true,
            },
            option::TCP_KEEPALIVE => self.keepalive = true,
            option::NSID => self.nsid = true,
            _ => {}
        }
    }

    /// The requestor's UDP payload size, octets; at least 512 (answers.md H4).
    pub fn udp_size(&self) -> u16 {
        self.udp_size
    }

    /// The EDNS version; only 0 exists.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The DO bit (RFC 3225).
    pub fn dnssec_ok(&self) -> bool {
        self.dnssec_ok
    }

    /// The cookie option, if it is well-formed.
    pub fn cookie(&self) -> Option<&Cookie> {
        self.cookie.as_ref()
    }

    /// True if there is a cookie option of a length that none can have: FORMERR (RFC 7873 §5.2.2).
    pub fn has_bad_cookie(&self) -> bool {
        self.bad_cookie
    }

    /// True if the client asks which server this is (RFC 5001).
    pub fn wants_nsid(&self) -> bool {
        self.nsid
    }

    /// True if the client asks for the idle timeout of its connection (RFC 7828).
    pub fn wants_keepalive(&self) -> bool {
        self.keepalive
    }
}

impl Cookie {
    fn read(value: &[u8]) -> Option<Cookie> {
        let (client, server) = value.split_first_chunk()?;
        match server.len() {
            0 | 8..=32 => Some(Cookie { client: *client, server: server.try_into().ok() }),
            _ => None,
        }
    }
}
