//! Names of the reverse trees, `in-addr.arpa` and `ip6.arpa` (RFC 1035 §3.5, RFC 3596 §2.5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::name::{Labels, Name, is_below};

const V4: &[u8] = b"\x07in-addr\x04arpa\x00";
const V6: &[u8] = b"\x03ip6\x04arpa\x00";

/// The addresses that a name of the reverse trees stands for: one address as a prefix of full length, a parent of
/// several as a shorter one. `None` for any other name. `name` is lower-cased wire form.
pub fn prefix_of(name: &[u8]) -> Option<IpNet> {
    if is_below(name, V4) {
        let mut octets = [0; 4];
        let labels = labels_of(&name[..name.len() - V4.len()]);
        let count = labels.clone().count();
        for (label, octet) in labels.zip(octets[..count.min(4)].iter_mut().rev()) {
            // Digits only, and no leading zero: `01` is another name than `1`.
            let text = std::str::from_utf8(label).ok().filter(|text| !text.starts_with('+'))?;
            *octet = text.parse().ok()?;
            if text.len() > 1 && text.starts_with('0') {
                return None;
            }
        }
        (count <= 4).then(|| Ipv4Net::new(Ipv4Addr::from(octets), 8 * count as u8).ok().map(IpNet::V4))?
    } else if is_below(name, V6) {
        let mut nibbles = [0; 32];
        let labels = labels_of(&name[..name.len() - V6.len()]);
        let count = labels.clone().count();
        for (label, nibble) in labels.zip(nibbles[..count.min(32)].iter_mut().rev()) {
            let [digit] = label else { return None };
            *nibble = (*digit as char).to_digit(16)? as u8;
        }
        let octets: [u8; 16] = std::array::from_fn(|index| nibbles[2 * index] << 4 | nibbles[2 * index + 1]);
        (count <= 32).then(|| Ipv6Net::new(Ipv6Addr::from(octets), 4 * count as u8).ok().map(IpNet::V6))?
    } else {
        None
    }
}

/// The labels of the front part of a wire form, without a root at its end.
fn labels_of(front: &[u8]) -> Labels<'_> {
    Labels::of_wire(front)
}

/// The reverse name of an address.
pub fn name_of(address: IpAddr) -> Name {
    let mut wire = Vec::with_capacity(74);
    match address {
        IpAddr::V4(v4) => {
            for octet in v4.octets().iter().rev() {
                let digits = octet.to_string();
                wire.push(digits.len() as u8);
                wire.extend_from_slice(digits.as_bytes());
            }
            wire.extend_from_slice(V4);
        }
        IpAddr::V6(v6) => {
            for octet in v6.octets().iter().rev() {
                for nibble in [octet & 15, octet >> 4] {
                    wire.extend_from_slice(&[1, b"0123456789abcdef"[nibble as usize]]);
                }
            }
            wire.extend_from_slice(V6);
        }
    }
    Name::from_checked(&wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Option<String> {
        prefix_of(text.parse::<Name>().unwrap().as_wire()).map(|prefix| prefix.to_string())
    }

    #[test]
    fn t3_reverse_names() {
        assert_eq!(prefix("3.1.10.10.In-Addr.ARPA").as_deref(), Some("10.10.1.3/32"));
        assert_eq!(prefix("1.10.10.in-addr.arpa").as_deref(), Some("10.10.1.0/24"));
        assert_eq!(prefix("in-addr.arpa").as_deref(), Some("0.0.0.0/0"));
        for bad in [
            "1.2.3.4.5.in-addr.arpa",
            "01.2.3.4.in-addr.arpa",
            "256.in-addr.arpa",
            "+1.in-addr.arpa",
            "x.ip6.arpa",
            "aa.ip6.arpa",
            "arpa",
            "xin-addr.arpa",
            "a.in-addr.arpa",
        ] {
            assert_eq!(prefix(bad), None, "{bad}");
        }
        for address in ["10.10.1.3", "0.0.0.0", "255.255.255.255", "fd00:10:1::2", "::"] {
            let address: IpAddr = address.parse().unwrap();
            let name = name_of(address);
            assert_eq!(
                prefix_of(name.as_wire()).map(|prefix| (prefix.addr(), prefix.prefix_len() == prefix.max_prefix_len())),
                Some((address, true))
            );
        }
    }
}
