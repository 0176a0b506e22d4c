//! The numbers of the DNS that this crate speaks of, by their IANA names.

/// Response codes (RFC 1035 §4.1.1, RFC 6891 §9 for the extended ones).
pub mod rcode {
    /// No error.
    pub const NOERROR: u16 = 0;
    /// The query could not be understood.
    pub const FORMERR: u16 = 1;
    /// The server could not get an answer.
    pub const SERVFAIL: u16 = 2;
    /// The name does not exist.
    pub const NXDOMAIN: u16 = 3;
    /// This kind of query is not done here.
    pub const NOTIMP: u16 = 4;
    /// Not for this client, or not this question.
    pub const REFUSED: u16 = 5;
    /// EDNS version not known (extended: needs an OPT).
    pub const BADVERS: u16 = 16;

    /// The IANA mnemonic, for people; `RCODE17` and the like for those without one here.
    pub fn mnemonic(rcode: u16) -> std::borrow::Cow<'static, str> {
        match rcode {
            NOERROR => "NOERROR".into(),
            FORMERR => "FORMERR".into(),
            SERVFAIL => "SERVFAIL".into(),
            NXDOMAIN => "NXDOMAIN".into(),
            NOTIMP => "NOTIMP".into(),
            REFUSED => "REFUSED".into(),
            BADVERS => "BADVERS".into(),
            other => format!("RCODE{other}").into(),
        }
    }
}

/// Record and question types.
pub mod rtype {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Delegation.
    pub const NS: u16 = 2;
    /// Alias.
    pub const CNAME: u16 = 5;
    /// Start of authority.
    pub const SOA: u16 = 6;
    /// Name of an address.
    pub const PTR: u16 = 12;
    /// Text.
    pub const TXT: u16 = 16;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// Service: priority, weight, port, target (RFC 2782).
    pub const SRV: u16 = 33;
    /// EDNS (RFC 6891).
    pub const OPT: u16 = 41;
    /// Transaction signature (RFC 8945).
    pub const TSIG: u16 = 250;
    /// Incremental zone transfer.
    pub const IXFR: u16 = 251;
    /// Zone transfer.
    pub const AXFR: u16 = 252;
    /// Any type.
    pub const ANY: u16 = 255;

    /// The IANA mnemonic, or `TYPE65280` (RFC 3597 §5).
    pub fn mnemonic(rtype: u16) -> String {
        match hickory_proto::rr::RecordType::from(rtype) {
            hickory_proto::rr::RecordType::Unknown(number) => format!("TYPE{number}"),
            known => known.to_string(),
        }
    }

    /// The type of a mnemonic in any case, or of `TYPE65280`.
    pub fn parse(text: &str) -> Option<u16> {
        let text = text.to_ascii_uppercase();
        match text.strip_prefix("TYPE") {
            Some(number) => number.parse().ok(),
            None => text.parse::<hickory_proto::rr::RecordType>().ok().map(u16::from),
        }
    }
}

/// Classes.
pub mod class {
    /// The Internet.
    pub const IN: u16 = 1;
    /// Chaos: `version.bind` and its like.
    pub const CH: u16 = 3;
    /// Any class.
    pub const ANY: u16 = 255;
}

/// Extended errors (RFC 8914 §4).
pub mod ede {
    /// See the text.
    pub const OTHER: u16 = 0;
    /// An answer past its TTL.
    pub const STALE_ANSWER: u16 = 3;
    /// A failure that was remembered.
    pub const CACHED_ERROR: u16 = 13;
    /// The server does not know enough yet.
    pub const NOT_READY: u16 = 14;
    /// Not to be answered, by policy of this server.
    pub const BLOCKED: u16 = 15;
    /// Not for this client.
    pub const PROHIBITED: u16 = 18;
    /// The server has no authority for the question.
    pub const NOT_AUTHORITATIVE: u16 = 20;
    /// No upstream could be reached.
    pub const NO_REACHABLE_AUTHORITY: u16 = 22;
    /// An error of the network on the way to an upstream.
    pub const NETWORK_ERROR: u16 = 23;
}

/// EDNS options.
pub mod option {
    /// Name server identifier (RFC 5001).
    pub const NSID: u16 = 3;
    /// Client subnet (RFC 7871).
    pub const CLIENT_SUBNET: u16 = 8;
    /// Cookie (RFC 7873).
    pub const COOKIE: u16 = 10;
    /// TCP keepalive (RFC 7828).
    pub const TCP_KEEPALIVE: u16 = 11;
    /// Padding (RFC 7830).
    pub const PADDING: u16 = 12;
    /// Extended error (RFC 8914).
    pub const EXTENDED_ERROR: u16 = 15;
}
