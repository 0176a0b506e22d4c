//! Server cookies in the interoperable form of RFC 9018: SipHash-2-4 over client cookie, version, time and client address.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

use super::edns::Cookie;

/// A cookie is given again for half an hour, then renewed (RFC 9018 §4.3), seconds.
const RENEW: u32 = 1800;
/// A cookie may be this far in the future (RFC 9018 §4.3), seconds.
const AHEAD: u32 = 300;

/// The server cookie to give to a client: the one that it sent if that is ours and fresh, else a new one.
///
/// `now` is the time in seconds since 1970, modulo 2^32.
pub fn server_cookie(secret: &[u8; 16], cookie: &Cookie, client: IpAddr, now: u32) -> [u8; 16] {
    match cookie.server {
        Some(server) if is_fresh(&server, now) && server == make(secret, &cookie.client, client, time_of(&server)) => {
            server
        }
        _ => make(secret, &cookie.client, client, now),
    }
}

fn time_of(server: &[u8; 16]) -> u32 {
    u32::from_be_bytes([server[4], server[5], server[6], server[7]])
}

fn is_fresh(server: &[u8; 16], now: u32) -> bool {
    // Serial number arithmetic (RFC 1982), as RFC 9018 §4.3 asks for.
    let age = now.wrapping_sub(time_of(server));
    age < RENEW || age.wrapping_neg() <= AHEAD
}

fn make(secret: &[u8; 16], client_cookie: &[u8; 8], client: IpAddr, time: u32) -> [u8; 16] {
    let mut cookie = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    cookie[4..8].copy_from_slice(&time.to_be_bytes());
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(client_cookie);
    hasher.write(&cookie[..8]);
    match client {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()),
    }
    cookie[8..].copy_from_slice(&hasher.finish().to_le_bytes());
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 16] = 0xe5e973e5a6b2a43f48e7dc849e37bfcf_u128.to_be_bytes();
    const CLIENT: [u8; 8] = 0x2464c4abcf10c957_u64.to_be_bytes();

    #[test]
    fn h7_the_example_of_rfc_9018_a1() {
        let cookie = Cookie { client: CLIENT, server: None };
        let server = server_cookie(&SECRET, &cookie, "198.51.100.100".parse().unwrap(), 1_559_731_985);
        assert_eq!(u128::from_be_bytes(server), 0x010000005cf79f111f8130c3eee29480);
    }

    #[test]
    fn h7_a_fresh_cookie_is_kept_an_old_or_foreign_one_renewed() {
        let client = "198.51.100.100".parse().unwrap();
        let first = server_cookie(&SECRET, &Cookie { client: CLIENT, server: None }, client, 1000);
        let again = Cookie { client: CLIENT, server: Some(first) };
        assert_eq!(server_cookie(&SECRET, &again, client, 1000 + RENEW - 1), first);
        assert_eq!(server_cookie(&SECRET, &again, client, 1000 - AHEAD), first);
        assert_ne!(server_cookie(&SECRET, &again, client, 1000 + RENEW), first);
        assert_ne!(server_cookie(&SECRET, &again, client, 1000 - AHEAD - 1), first);
        assert_ne!(server_cookie(&SECRET, &again, "198.51.100.101".parse().unwrap(), 1001), first);
        assert_ne!(server_cookie(&[0; 16], &again, client, 1001), first);
    }
}
