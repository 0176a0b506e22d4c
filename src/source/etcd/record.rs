//! What is in the store: keys and values, read as what they are, the words of others, and written.
//!
//! ```text
//! /callsign/v1/<host>/host              what there is to know of a host
//! /callsign/v1/<host>/e/<network>/<id>  one of its endpoints on a shared network
//! ```
//!
//! Hosts and networks are in lower case. Octets other than `[a-z0-9._-]` are percent-coded, so that each thing has one key.
//! What has an error costs that key alone.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::table::{EndpointState, Health, Protocol, Reach, relative_names};

/// The octets of a key, at most.
const MAX_KEY: usize = 512;
/// The octets of a value, at most.
pub(super) const MAX_VALUE: usize = 16 << 10;
/// Names, addresses and ports of an endpoint.
const MAX_NAMES: usize = 64;
const MAX_ADDRESSES: usize = 16;
const MAX_PORTS: usize = 64;
/// Networks of a host.
const MAX_NETWORKS: usize = 1_000;
/// The version of the format. A host that writes another one is not read.
const VERSION: u32 = 1;

/// Where the keys are, and which is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    /// `/callsign/v1/`
    root: String,
    /// The host's name as it stands in keys.
    own: String,
}

/// A key, as seen by its host's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// The host's own.
    Host(Box<str>),
    Endpoint(Box<str>, Place),
}

/// Which endpoint of a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub network: Box<str>,
    pub id: Box<str>,
}

/// Why something in the store is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
pub(super) enum Refusal {
    #[error("the key is not one of callsign's")]
    Key,
    #[error("the value is not understood, or longer than 16 KiB")]
    Value,
    #[error("it was written in another version of the format; run the same callsign on all hosts")]
    Version,
    #[error("no container can have such an address, or not on this network")]
    Address,
    #[error("such a name is not taken from other hosts")]
    Name,
    #[error("the network does not accept that host")]
    Accept,
    #[error("there are more than callsign takes")]
    Limit,
}

impl Refusal {
    /// The word for it in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Refusal::Key => "key",
            Refusal::Value => "value",
            Refusal::Version => "version",
            Refusal::Address => "address",
            Refusal::Name => "name",
            Refusal::Accept => "accept",
            Refusal::Limit => "limit",
        }
    }
}

impl Keys {
    pub(super) fn new(prefix: &str, host: &str) -> Keys {
        let root = format!("{}/v{VERSION}/", prefix.trim_end_matches('/'));
        Keys { root, own: encode(&host.to_ascii_lowercase()).into_owned() }
    }

    /// The keys of another host.
    pub(super) fn of_host(&self, host: &str) -> Keys {
        Keys { root: self.root.clone(), own: encode(host).into_owned() }
    }

    /// What all keys of all hosts begin with.
    pub(super) fn root(&self) -> &str {
        &self.root
    }

    /// The key of this host.
    pub(super) fn own_host(&self) -> String {
        format!("{}{}/host", self.root, self.own)
    }

    /// What the keys of this host's endpoints begin with.
    pub(super) fn own_endpoints(&self) -> String {
        format!("{}{}/e/", self.root, self.own)
    }

    /// The key of one of this host's endpoints.
    pub(super) fn own_endpoint(&self, network: &str, id: &str) -> String {
        format!("{}{}/{}", self.own_endpoints(), encode(&network.to_ascii_lowercase()), encode(id))
    }

    /// True if a key is this host's, to write and to read.
    pub(super) fn is_own(&self, key: &[u8]) -> bool {
        let rest = key.strip_prefix(self.root.as_bytes()).and_then(|rest| rest.strip_prefix(self.own.as_bytes()));
        rest.is_some_and(|rest| rest.starts_with(b"/"))
    }

    /// What a key stands for.
    ///
    /// # Errors
    /// [`Refusal::Key`].
    pub(super) fn parse(&self, key: &[u8]) -> Result<Key, Refusal> {
        let key = Some(key).filter(|key| key.len() <= MAX_KEY).and_then(|key| std::str::from_utf8(key).ok());
        let key = key.and_then(|key| key.strip_prefix(&self.root)).ok_or(Refusal::Key)?;
        let mut parts = key.split('/');
        let mut part = || parts.next().map(decode);
        let key = match (part(), part(), part(), part()) {
            (Some(host), Some(Some(kind)), None, None) if &*kind == "host" => Key::Host(host.ok_or(Refusal::Key)?),
            (Some(host), Some(Some(kind)), Some(network), Some(id)) if &*kind == "e" => {
                let place = network.zip(id).map(|(network, id)| Place { network, id }).ok_or(Refusal::Key)?;
                Key::Endpoint(host.ok_or(Refusal::Key)?, place)
            }
            _ => return Err(Refusal::Key),
        };
        let (Key::Host(host) | Key::Endpoint(host, _)) = &key;
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        let is_host = host.len() <= 253 && host.bytes().all(is_plain) && host.split('.').all(is_host_label);
        if parts.next().is_some() || !is_host {
            return Err(Refusal::Key);
        }
        Ok(key)
    }
}

fn is_host_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.id)
    }
}

fn is_bare(octet: u8) -> bool {
    matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-')
}

/// One part of a key.
fn encode(text: &str) -> Cow<'_, str> {
    if text.bytes().all(is_bare) {
        return Cow::Borrowed(text);
    }
    let coded = text.bytes().map(|octet| match octet {
        _ if is_bare(octet) => char::from(octet).to_string(),
        _ => format!("%{octet:02X}"),
    });
    Cow::Owned(coded.collect())
}

/// What one part of a key stands for; `None` if it is empty, or not as [`encode`] would write it.
fn decode(part: &str) -> Option<Box<str>> {
    let mut octets = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit()?, digit()?);
                (high * 16 + low) as u8
            }
            _ => octet,
        });
    }
    let text = String::from_utf8(octets).ok()?;
    (!text.is_empty() && encode(&text) == part).then(|| text.into())
}

/// A host, as it describes itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HostRecord {
    /// The version of the format.
    pub v: u32,
    /// A hash of the machine's id: the same host after a reboot, and another one of the same name.
    #[serde(default)]
    pub machine: String,
    /// Which boot of it.
    #[serde(default)]
    pub boot: String,
    /// Which run of callsign.
    #[serde(default)]
    pub instance: String,
    /// The lease of all its keys.
    #[serde(default)]
    pub lease: i64,
    /// Counts its writes.
    #[serde(default)]
    pub seq: u64,
    /// Counts its signs of life.
    #[serde(default)]
    pub beat: u64,
    /// Seconds without a sign of life until its keys go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Where what it publishes is reached.
    #[serde(default)]
    pub addr: Vec<IpAddr>,
    /// Its callsign.
    #[serde(default)]
    pub version: String,
    /// The networks that it shares.
    #[serde(default)]
    pub networks: BTreeMap<String, SharedNetwork>,
    /// False while more of its first set is to come: what was known of it before stays until then.
    #[serde(default)]
    pub complete: bool,
    /// True if it stops on purpose.
    #[serde(default, skip_serializing_if = "is_false")]
    pub leaving: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !value
}

/// A shared network of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SharedNetwork {
    pub share: Share,
    #[serde(default)]
    pub subnets: Vec<IpNet>,
}

/// [`Reach`], in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Share {
    Container,
    Host,
}

impl From<Reach> for Share {
    fn from(reach: Reach) -> Share {
        if reach == Reach::Host { Share::Host } else { Share::Container }
    }
}

impl From<Share> for Reach {
    fn from(share: Share) -> Reach {
        match share {
            Share::Container => Reach::Container,
            Share::Host => Reach::Host,
        }
    }
}

impl HostRecord {
    pub(super) const VERSION: u32 = VERSION;

    /// What a value says.
    ///
    /// # Errors
    /// [`Refusal::Value`], [`Refusal::Version`].
    pub(super) fn parse(value: &[u8]) -> Result<HostRecord, Refusal> {
        #[derive(Deserialize)]
        struct Versioned {
            v: u32,
        }
        if value.len() > MAX_VALUE {
            return Err(Refusal::Value);
        }
        let Versioned { v } = serde_json::from_slice(value).map_err(|_| Refusal::Value)?;
        if v != VERSION {
            return Err(Refusal::Version);
        }
        let record: HostRecord = serde_json::from_slice(value).map_err(|_| Refusal::Value)?;
        let is_sane = record.networks.len() <= MAX_NETWORKS && record.addr.len() <= MAX_ADDRESSES;
        let is_sane = is_sane && record.addr.iter().all(|&address| is_reachable(address));
        if is_sane { Ok(record) } else { Err(Refusal::Value) }
    }

    pub(super) fn to_value(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// True if another host may be reached at an address: one of one host, beyond the link.
pub(super) fn is_reachable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_unspecified()
                || v4.is_loopback()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_link_local()
                || v4.octets()[0] == 0)
        }
        IpAddr::V6(v6) => {
            !(v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || v6.to_ipv4_mapped().is_some())
        }
    }
}

/// An endpoint, as its host describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndpointRecord {
    /// Names, the canonical one first.
    #[serde(default)]
    pub n: Box<[Box<str>]>,
    /// Addresses on the network.
    #[serde(default)]
    pub a: Box<[IpAddr]>,
    #[serde(default, skip_serializing_if = "<[PortRecord]>::is_empty")]
    pub p: Box<[PortRecord]>,
    #[serde(default)]
    pub s: State,
    #[serde(default)]
    pub h: Fitness,
    /// When it was first seen on its host, in seconds since 1970. It tells two records of one container apart, and nothing else.
    #[serde(default)]
    pub since: u64,
}

/// A port: its service's name, its number, its transport, and the port of the host that leads to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PortRecord(
    pub Option<Box<str>>,
    pub u16,
    pub Transport,
    #[serde(default, skip_serializing_if = "Option::is_none")] pub Option<u16>,
);

/// [`Protocol`], in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Transport {
    Tcp,
    Udp,
    Sctp,
}

/// [`EndpointState`], in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    #[default]
    Up,
    Starting,
    Down,
}

/// [`Health`], in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fitness {
    #[default]
    Healthy,
    Unhealthy,
    Starting,
}

impl From<Transport> for Protocol {
    fn from(transport: Transport) -> Protocol {
        match transport {
            Transport::Tcp => Protocol::Tcp,
            Transport::Udp => Protocol::Udp,
            Transport::Sctp => Protocol::Sctp,
        }
    }
}

impl From<Protocol> for Transport {
    fn from(protocol: Protocol) -> Transport {
        match protocol {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
            Protocol::Sctp => Transport::Sctp,
        }
    }
}

impl From<State> for EndpointState {
    fn from(state: State) -> EndpointState {
        match state {
            State::Up => EndpointState::Up,
            State::Starting => EndpointState::Starting,
            State::Down => EndpointState::Down,
        }
    }
}

impl From<EndpointState> for State {
    fn from(state: EndpointState) -> State {
        match state {
            EndpointState::Up => State::Up,
            EndpointState::Starting => State::Starting,
            EndpointState::Down => State::Down,
        }
    }
}

impl From<Fitness> for Health {
    fn from(fitness: Fitness) -> Health {
        match fitness {
            Fitness::Healthy => Health::Healthy,
            Fitness::Unhealthy => Health::Unhealthy,
            Fitness::Starting => Health::Starting,
        }
    }
}

impl From<Health> for Fitness {
    fn from(health: Health) -> Fitness {
        match health {
            Health::Healthy => Fitness::Healthy,
            Health::Unhealthy => Fitness::Unhealthy,
            Health::Starting => Fitness::Starting,
        }
    }
}

impl EndpointRecord {
    /// What a value says.
    ///
    /// # Errors
    /// [`Refusal::Value`], [`Refusal::Address`], [`Refusal::Name`], [`Refusal::Limit`].
    pub(super) fn parse(value: &[u8]) -> Result<EndpointRecord, Refusal> {
        if value.len() > MAX_VALUE {
            return Err(Refusal::Value);
        }
        let record: EndpointRecord = serde_json::from_slice(value).map_err(|_| Refusal::Value)?;
        let EndpointRecord { n: names, a: addresses, p: ports, .. } = &record;
        if names.len() > MAX_NAMES || addresses.len() > MAX_ADDRESSES || ports.len() > MAX_PORTS {
            return Err(Refusal::Limit);
        }
        if !addresses.iter().all(|&address| is_reachable(address)) {
            return Err(Refusal::Address);
        }
        if !names.iter().all(|name| relative_names(name).is_ok()) {
            return Err(Refusal::Name);
        }
        let is_port = |PortRecord(name, number, _, published): &PortRecord| {
            *number != 0 && *published != Some(0) && name.as_deref().is_none_or(is_service)
        };
        if ports.iter().all(is_port) { Ok(record) } else { Err(Refusal::Value) }
    }

    pub(super) fn to_value(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The same with no more than others take.
    pub(super) fn bounded(mut self) -> EndpointRecord {
        fn cut<T>(list: &mut Box<[T]>, most: usize) {
            if list.len() > most {
                let mut all = std::mem::take(list).into_vec();
                all.truncate(most);
                *list = all.into();
            }
        }
        cut(&mut self.n, MAX_NAMES);
        cut(&mut self.a, MAX_ADDRESSES);
        cut(&mut self.p, MAX_PORTS);
        self
    }
}

/// A label that stands for a service (RFC 2782).
fn is_service(name: &str) -> bool {
    (1..=62).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.' && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new("/callsign", "Host-A")
    }

    #[test]
    fn keys_begin_with_the_host_and_are_percent_coded() {
        let keys = keys();
        assert_eq!(keys.own_host(), "/callsign/v1/host-a/host");
        let key = keys.own_endpoint("Shop/front", "Größe%1");
        assert_eq!(key, "/callsign/v1/host-a/e/shop%2Ffront/%47r%C3%B6%C3%9Fe%251");
        let place = Place { network: "shop/front".into(), id: "Größe%1".into() };
        assert_eq!(keys.parse(key.as_bytes()), Ok(Key::Endpoint("host-a".into(), place)));
        assert!(keys.is_own(key.as_bytes()) && keys.is_own(b"/callsign/v1/host-a/host"));
        assert!(!keys.is_own(b"/callsign/v1/host-ab/host") && !keys.is_own(b"/callsign/v1/host-a"));
        assert_eq!(Keys::new("/callsign/", "a").root(), "/callsign/v1/");
    }

    #[test]
    fn each_thing_has_one_key() {
        for key in [
            "/callsign/v1/",
            "/callsign/v1/host-b",
            "/callsign/v1//host",
            "/callsign/v1/host-b/hosts",
            "/callsign/v1/host-b/host/x",
            "/callsign/v1/Host-b/host",
            "/callsign/v1/%68ost-b/host",
            "/callsign/v1/host b/host",
            "/callsign/v1/host%2Fb/host",
            "/callsign/v1/host..b/host",
            "/callsign/v1/host-b/e/shop",
            "/callsign/v1/host-b/e/shop/",
            "/callsign/v1/host-b/e//id",
            "/callsign/v1/host-b/e/shop/id/more",
            "/callsign/v1/host-b/e/shop/%2f",
            "/callsign/v1/host-b/e/shop/%",
            "/callsign/v1/host-b/e/shop/%FF",
            "/callsign/v1/host-b/e/sh%6Fp/id",
            "/callsign/v2/host-b/host",
            "/other/v1/host-b/host",
        ] {
            assert_eq!(keys().parse(key.as_bytes()), Err(Refusal::Key), "{key}");
        }
        let long = format!("/callsign/v1/host-b/e/shop/{}", "a".repeat(MAX_KEY));
        assert_eq!(keys().parse(long.as_bytes()), Err(Refusal::Key));
        assert_eq!(keys().parse(b"/callsign/v1/\xff/host"), Err(Refusal::Key));
    }

    #[test]
    fn an_endpoint_is_what_its_value_says() {
        let text = r#"{"n":["web","api"],"a":["10.88.2.11"],"p":[["http",8080,"tcp",30080],[null,53,"udp"]],"s":"up","h":"healthy","since":1795549129,"later":{}}"#;
        let record = EndpointRecord::parse(text.as_bytes()).unwrap();
        let port = PortRecord(Some("http".into()), 8080, Transport::Tcp, Some(30080));
        assert_eq!((&*record.n[1], record.a[0], &record.p[0]), ("api", "10.88.2.11".parse().unwrap(), &port));
        assert_eq!(EndpointRecord::parse(&record.to_value()), Ok(record));
    }

    #[test]
    fn a_bad_value_is_refused_whole() {
        let refused = |text: &str| EndpointRecord::parse(text.as_bytes()).unwrap_err();
        for text in ["", "{", "null", "\u{0}", r#"{"n":"web"}"#, r#"{"a":["10.0.0.300"]}"#, r#"{"s":"gone"}"#] {
            assert_eq!(refused(text), Refusal::Value, "{text}");
        }
        for address in
            ["0.0.0.0", "127.0.0.1", "::1", "::", "224.0.0.1", "255.255.255.255", "fe80::1", "::ffff:10.0.0.1"]
        {
            assert_eq!(refused(&format!(r#"{{"a":["{address}"]}}"#)), Refusal::Address, "{address}");
        }
        for name in ["*", "", ".", "a..b", &"a".repeat(64)] {
            assert_eq!(refused(&format!(r#"{{"n":["{name}"]}}"#)), Refusal::Name, "{name}");
        }
        for port in
            [r#"[null,0,"tcp"]"#, r#"["",80,"tcp"]"#, r#"["a.b",80,"tcp"]"#, r#"[null,80,"tcp",0]"#, "[null,80]"]
        {
            assert_eq!(refused(&format!(r#"{{"p":[{port}]}}"#)), Refusal::Value, "{port}");
        }
        let many = |what: &str, one: &str, count: usize| format!(r#"{{"{what}":[{}]}}"#, vec![one; count].join(","));
        assert_eq!(refused(&many("n", "\"web\"", MAX_NAMES + 1)), Refusal::Limit);
        assert_eq!(refused(&many("a", "\"10.0.0.1\"", MAX_ADDRESSES + 1)), Refusal::Limit);
        assert_eq!(refused(&many("p", "[null,80,\"tcp\"]", MAX_PORTS + 1)), Refusal::Limit);
        assert_eq!(refused(&format!(r#"{{"later":"{}"}}"#, "a".repeat(MAX_VALUE))), Refusal::Value);
        assert_eq!(refused(&"[".repeat(MAX_VALUE)), Refusal::Value, "deep nesting");
    }

    #[test]
    fn another_version_is_told_from_a_bad_value() {
        assert_eq!(HostRecord::parse(br#"{"v":2,"addr":"elsewhere"}"#), Err(Refusal::Version));
        assert_eq!(HostRecord::parse(br#"{"addr":[]}"#), Err(Refusal::Value));
        assert_eq!(HostRecord::parse(br#"{"v":1,"addr":["127.0.0.1"]}"#), Err(Refusal::Value));
        let networks = BTreeMap::from([(
            "shop".to_owned(),
            SharedNetwork { share: Share::Container, subnets: vec!["10.88.2.0/24".parse().unwrap()] },
        )]);
        let record = HostRecord { v: 1, seq: 41, networks, complete: true, ..HostRecord::default() };
        assert_eq!(HostRecord::parse(&record.to_value()), Ok(record));
    }

    #[test]
    fn what_we_write_is_what_others_take() {
        let record = EndpointRecord {
            n: (0..100).map(|number| format!("n{number}").into()).collect(),
            a: (0..100).map(|number| IpAddr::from([10, 0, 0, number])).collect(),
            p: (0..100).map(|number| PortRecord(None, number + 1, Transport::Tcp, None)).collect(),
            ..EndpointRecord::default()
        };
        assert!(EndpointRecord::parse(&record.bounded().to_value()).is_ok());
    }
}
