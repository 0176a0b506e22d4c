//! Who may see the page: whatever a browser or an attacker writes into `Host` and `Authorization`, only the server's own
//! names and the token itself are let in.

use std::net::{IpAddr, Ipv4Addr};

use callsign::control::{is_given, is_own};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};

const TOKEN: &[u8] = b"0123456789abcdef";
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));

/// Takes the first line as `Host`, the rest as `Authorization`.
pub fn run(input: &[u8]) {
    let mut lines = input.splitn(2, |octet| *octet == b'\n');
    let (host, credentials) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    if let Ok(host) = std::str::from_utf8(host) {
        visit(host);
    }
    show(credentials);
}

/// Nothing but an own name is one.
fn visit(host: &str) {
    let hosts = ["dns.example.com".to_owned()];
    let is_own = |host: &str| is_own(host, LOCAL, &hosts);
    if is_own(host) {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port),
            _ => (host, ""),
        };
        assert!(port.bytes().all(|octet| octet.is_ascii_digit()), "{host:?}");
        let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let is_address = |address: IpAddr| address.is_loopback() || address == LOCAL;
        let is_known = name.parse().is_ok_and(|address: IpAddr| is_address(address.to_canonical()))
            || ["localhost", "dns.example.com"].contains(&name)
            || name.ends_with(".localhost");
        assert!(is_known, "{host:?}");
        assert!(host.bytes().all(|octet| octet.is_ascii_graphic() && !b"@/?#\\".contains(&octet)), "{host:?}");
    }
    // No attacker's name becomes one by what stands before it.
    for foreign in [format!("{host}.evil.example"), format!("{host}@evil.example"), format!("{host}:1@evil.example")] {
        assert!(!is_own(&foreign), "{foreign:?}");
    }
}

/// Nothing but the token is one.
fn show(credentials: &[u8]) {
    let has = |value: &[u8]| {
        let Ok(value) = HeaderValue::from_bytes(value) else { return false };
        is_given(&HeaderMap::from_iter([(AUTHORIZATION, value)]), TOKEN)
    };
    let is_bearer = credentials.to_ascii_lowercase().starts_with(b"bearer ");
    if has(credentials) && is_bearer {
        assert_eq!(credentials["bearer ".len()..].trim_ascii(), TOKEN, "{}", credentials.escape_ascii());
    }
    let bearer = [b"Bearer ", credentials].concat();
    let is_token = HeaderValue::from_bytes(&bearer).is_ok() && credentials.trim_ascii() == TOKEN;
    assert_eq!(has(&bearer), is_token, "{}", bearer.escape_ascii());
    // As a browser sends a user and a password: the user ends at the first colon.
    let basic = [b"Basic ", base64(credentials).as_bytes()].concat();
    let password = credentials.iter().position(|octet| *octet == b':').map(|colon| &credentials[colon + 1..]);
    assert_eq!(has(&basic), password == Some(TOKEN), "{}", credentials.escape_ascii());
}

/// RFC 4648 §4.
fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in octets.chunks(3) {
        let bits = three.iter().fold(0, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let index = bits >> (18 - 6 * digit) & 63;
            text.push(if digit <= three.len() { DIGITS[index as usize].into() } else { '=' });
        }
    }
    text
}
