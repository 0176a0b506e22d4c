//! The servers that a network or an endpoint wants its other questions sent to, as plain values.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::dial::Dialer;
use super::{Address, AddressError, Dial};

/// How an upstream is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Transport {
    /// UDP, and TCP for what does not fit: the usual way. `10.0.0.53` or `udp://10.0.0.53`, port 53.
    #[default]
    Plain,
    /// TCP always: `tcp://10.0.0.53`, port 53.
    Tcp,
    /// DNS over TLS (RFC 7858): `tls://1.1.1.1#cloudflare-dns.com`, port 853.
    Tls,
    /// DNS over HTTPS (RFC 8484): `https://1.1.1.1/dns-query#cloudflare-dns.com`, port 443.
    Https,
    /// DNS over QUIC (RFC 9250): `quic://94.140.14.140#dns.adguard-dns.com`, port 853.
    Quic,
}

impl Transport {
    /// True if it is encrypted, and the server has to prove who it is.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Transport::Tls | Transport::Https | Transport::Quic)
    }

    /// The scheme of its URLs.
    pub fn scheme(self) -> &'static str {
        match self {
            Transport::Plain => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Https => "https",
            Transport::Quic => "quic",
        }
    }

    /// The port where none is given.
    pub fn port(self) -> u16 {
        match self {
            Transport::Plain | Transport::Tcp => 53,
            Transport::Tls | Transport::Quic => 853,
            Transport::Https => 443,
        }
    }

    fn from_scheme(scheme: &str) -> Option<Transport> {
        let all = [Transport::Plain, Transport::Tcp, Transport::Tls, Transport::Https, Transport::Quic];
        all.into_iter().find(|transport| transport.scheme() == scheme)
    }
}

/// The usual path of DNS over HTTPS (RFC 8484 §4.1.1 leaves it open; everybody has this one).
const DNS_QUERY: &str = "/dns-query";

/// How an encrypted upstream proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Identity {
    name: Option<Box<str>>,
    path: Option<Box<str>>,
    ca_file: Option<PathBuf>,
    pins: Vec<[u8; 32]>,
}

/// An upstream server: an address, and how it is asked there.
///
/// Plain DNS is written as the address alone, `10.0.0.53` or `[fe80::1%eth0]:5300`. Everything else is a URL:
///
/// ```text
/// tls://1.1.1.1#cloudflare-dns.com
/// https://1.1.1.1/dns-query#cloudflare-dns.com
/// quic://[2a10:50c0::1:ff]:8853#dns.adguard-dns.com
/// tls://10.0.0.53?ca=/etc/ssl/corp.pem#dns.corp.example
/// tls://10.0.0.53?pin-sha256=4HiZwdFYPbVNbnoJyvRVWdrSVfHTVXZWJgvtlAG0jBI=
/// tcp://10.0.0.53
/// ```
///
/// The host is an address always: this *is* the DNS. After `#` comes the name that the certificate must be for; without
/// one it has to be for the address. `ca` is a PEM file with the authorities that count for this server instead of the
/// system's. `pin-sha256` is the SHA-256 of the server's public key (its SubjectPublicKeyInfo) in base64, and may stand
/// several times, joined with `&`: the key must match one of them. With a name or a `ca` file the certificate must be valid
/// too; pins alone are enough (RFC 7858 §4.2), which is how to trust a self-signed certificate.
///
/// There is no fallback: an encrypted upstream is never asked in plain text.
///
/// ```
/// use callsign::settings::{Transport, Upstream};
///
/// let upstream: Upstream = "10.0.0.53".parse()?;
/// assert_eq!(upstream.to_string(), "10.0.0.53:53");
///
/// let upstream: Upstream = "tls://1.1.1.1#cloudflare-dns.com".parse()?;
/// assert_eq!((upstream.transport(), upstream.name()), (Transport::Tls, Some("cloudflare-dns.com")));
/// assert_eq!(upstream.to_string(), "tls://1.1.1.1:853#cloudflare-dns.com");
/// # Ok::<(), callsign::settings::UpstreamError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upstream {
    transport: Transport,
    address: Address,
    /// Of encrypted ones only.
    identity: Option<Arc<Identity>>,
    dial: Option<Dialer>,
}

/// A text that is no [`Upstream`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// It is neither an address nor a URL, or the URL's host is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The scheme is not one of the known ones.
    #[error("\"{0}\": the scheme is udp, tcp, tls, https or quic, as in tls://1.1.1.1#cloudflare-dns.com")]
    Scheme(String),
    /// A part of the URL is not one that its scheme has.
    #[error("\"{text}\": {reason}")]
    Part {
        /// The URL.
        text: String,
        /// What is wrong, and what to write.
        reason: &'static str,
    },
}

impl Upstream {
    /// The plain DNS server at `address`.
    pub fn new(address: Address) -> Upstream {
        Upstream::over(Transport::Plain, address)
    }

    /// The server at `address`, over `transport`. If that is encrypted, its certificate must be for the address.
    pub fn over(transport: Transport, address: Address) -> Upstream {
        let port = address.port().unwrap_or(transport.port());
        let identity = transport.is_encrypted().then(Arc::default);
        Upstream { transport, address: address.with_port(port), identity, dial: None }
    }

    /// The same server, asked from the sockets that `dial` makes, over UDP, TCP, TLS or HTTPS. Two upstreams are equal only if
    /// they have the same [`Dial`]: what is known of the server, and its answers in the cache, are kept apart.
    pub fn dialed_by(mut self, dial: Arc<dyn Dial>) -> Upstream {
        self.dial = Some(Dialer(dial));
        self
    }

    /// What makes the sockets from which it is asked, if it is not this process in its own network namespace.
    pub fn dial(&self) -> Option<&dyn Dial> {
        self.dial.as_ref().map(|dial| &*dial.0)
    }

    /// How it is asked.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Its address, zone and port; the port is always there.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The name that its certificate has to be for; without one it is the address.
    pub fn name(&self) -> Option<&str> {
        self.identity.as_ref()?.name.as_deref()
    }

    /// The path of DNS over HTTPS: `/dns-query` unless given.
    pub fn path(&self) -> &str {
        self.identity.as_ref().and_then(|identity| identity.path.as_deref()).unwrap_or(DNS_QUERY)
    }

    /// The PEM file with the authorities that count for it instead of the system's.
    pub fn ca_file(&self) -> Option<&Path> {
        self.identity.as_ref()?.ca_file.as_deref()
    }

    /// The SHA-256 digests of public keys of which it has to have one; empty if it may have any.
    pub fn pins(&self) -> &[[u8; 32]] {
        self.identity.as_ref().map_or(&[], |identity| &identity.pins)
    }

    fn from_url(text: &str, scheme: &str, rest: &str) -> Result<Upstream, UpstreamError> {
        let transport = Transport::from_scheme(scheme).ok_or_else(|| UpstreamError::Scheme(text.to_owned()))?;
        let wrong = |reason| Err(UpstreamError::Part { text: text.to_owned(), reason });
        let (rest, name) = split(rest, '#');
        let (rest, query) = split(rest, '?');
        let at = rest.find('/').unwrap_or(rest.len());
        let (host, path) = rest.split_at(at);
        let mut upstream = Upstream::over(transport, host.parse()?);
        if !transport.is_encrypted() && (name.is_some() || query.is_some() || !path.is_empty()) {
            return wrong("plain DNS has nothing behind the address; tls://… is encrypted");
        }
        let mut identity = Identity::default();
        match path {
            "" => {}
            _ if transport != Transport::Https => return wrong("only https:// has a path"),
            _ if !path.bytes().all(|octet| octet.is_ascii_graphic()) => return wrong("this is no path of a URL"),
            DNS_QUERY => {}
            _ => identity.path = Some(path.into()),
        }
        if let Some(name) = name {
            if !is_host_name(name) {
                return wrong("behind # stands the name of the certificate, as in #cloudflare-dns.com");
            }
            identity.name = Some(name.into());
        } else if transport == Transport::Https && upstream.address.ip().is_ipv6() {
            return wrong("https:// to an IPv6 address needs the server's name, as in #cloudflare-dns.com");
        }
        for part in query.into_iter().flat_map(|query| query.split('&')) {
            match part.split_once('=') {
                Some(("ca", file)) if file.starts_with('/') => identity.ca_file = Some(file.into()),
                Some(("pin-sha256", pin)) => match digest(pin) {
                    Some(pin) => identity.pins.push(pin),
                    None => return wrong("pin-sha256 is 32 octets in base64, 44 characters"),
                },
                _ => return wrong("behind ? stands ca=/file.pem or pin-sha256=…, joined with &"),
            }
        }
        upstream.identity = upstream.identity.map(|_| Arc::new(identity));
        Ok(upstream)
    }
}

/// What is before the first `separator`, and what is behind it.
fn split(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    }
}

/// True for what a certificate can be for: a host name in ASCII, or an address.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
    };
    name.parse::<std::net::IpAddr>().is_ok() || name.len() <= 253 && name.split('.').all(label)
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// 32 octets from base64 (RFC 4648 §4), with its padding or without.
fn digest(text: &str) -> Option<[u8; 32]> {
    let text = text.strip_suffix('=').unwrap_or(text);
    let mut digest = [0; 32];
    let mut octets = digest.iter_mut();
    let (mut bits, mut count) = (0_u32, 0);
    for character in text.bytes() {
        let value = BASE64.iter().position(|&known| known == character)?;
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            *octets.next()? = (bits >> count) as u8;
            bits &= (1 << count) - 1;
        }
    }
    (text.len() == 43 && bits == 0).then_some(digest)
}

fn base64(digest: &[u8; 32]) -> String {
    let mut text = String::with_capacity(44);
    for group in digest.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, &octet| bits << 8 | u32::from(octet)) << (8 * (3 - group.len()));
        for index in 0..=group.len() {
            text.push(BASE64[(bits >> (18 - 6 * index)) as usize & 63] as char);
        }
    }
    text.push('=');
    text
}

impl FromStr for Upstream {
    type Err = UpstreamError;

    fn from_str(text: &str) -> Result<Upstream, UpstreamError> {
        match text.split_once("://") {
            Some((scheme, rest)) => Upstream::from_url(text, scheme, rest),
            None => Ok(Upstream::new(text.parse()?)),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.transport == Transport::Plain {
            return self.address.fmt(f);
        }
        write!(f, "{}://{}", self.transport.scheme(), self.address)?;
        let Some(identity) = &self.identity else { return Ok(()) };
        if self.transport == Transport::Https {
            f.write_str(self.path())?;
        }
        let ca = identity.ca_file.iter().map(|file| format!("ca={}", file.display()));
        let parts: Vec<_> = ca.chain(identity.pins.iter().map(|pin| format!("pin-sha256={}", base64(pin)))).collect();
        if !parts.is_empty() {
            write!(f, "?{}", parts.join("&"))?;
        }
        identity.name.as_ref().map_or(Ok(()), |name| write!(f, "#{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: &str = "4HiZwdFYPbVNbnoJyvRVWdrSVfHTVXZWJgvtlAG0jBI=";

    #[test]
    fn every_form_and_back() {
        for (text, shown) in [
            ("10.0.0.53", "10.0.0.53:53"),
            ("udp://10.0.0.53:5300", "10.0.0.53:5300"),
            ("fe80::1%eth0", "[fe80::1%eth0]:53"),
            ("tcp://[fe80::1%eth0]", "tcp://[fe80::1%eth0]:53"),
            ("tls://1.1.1.1#cloudflare-dns.com", "tls://1.1.1.1:853#cloudflare-dns.com"),
            ("tls://[::1]:8853", "tls://[::1]:8853"),
            ("https://1.1.1.1", "https://1.1.1.1:443/dns-query"),
            ("https://1.1.1.1/q/x#one.one", "https://1.1.1.1:443/q/x#one.one"),
            ("quic://[::1]?ca=/a/b.pem#x", "quic://[::1]:853?ca=/a/b.pem#x"),
        ] {
            let upstream: Upstream = text.parse().unwrap();
            assert_eq!(upstream.to_string(), shown);
            assert_eq!(shown.parse(), Ok(upstream), "{shown}");
        }
        let pinned = format!("tls://10.0.0.53:853?pin-sha256={PIN}&pin-sha256={PIN}");
        let upstream: Upstream = pinned.parse().unwrap();
        assert_eq!((upstream.to_string(), upstream.pins().len()), (pinned, 2));
        assert_eq!(upstream.pins()[0][..3], [0xe0, 0x78, 0x99]);
        assert_eq!("10.0.0.53".parse::<Upstream>().unwrap(), "udp://10.0.0.53:53".parse().unwrap());
    }

    #[test]
    fn what_is_no_upstream_says_what_to_write() {
        for (text, said) in [
            ("dns.google", "write 172.18.0.1"),
            ("https://dns.google/dns-query", "\"dns.google\" is not an address"),
            ("ftp://1.1.1.1", "the scheme is udp, tcp, tls"),
            ("TLS://1.1.1.1", "the scheme is udp, tcp, tls"),
            ("udp://1.1.1.1#x", "plain DNS has nothing behind the address"),
            ("tls://1.1.1.1/dns-query", "only https:// has a path"),
            ("tls://1.1.1.1#", "behind # stands the name"),
            ("tls://1.1.1.1#a b", "behind # stands the name"),
            ("tls://1.1.1.1?ca=relative.pem", "ca=/file.pem"),
            ("tls://1.1.1.1?pin-sha256=abc", "32 octets in base64"),
            ("tls://1.1.1.1?insecure=1", "ca=/file.pem"),
            ("https://[::1]/dns-query", "needs the server's name"),
        ] {
            let error = text.parse::<Upstream>().unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
