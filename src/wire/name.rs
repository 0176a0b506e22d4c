//! Domain names, in the one form that the rest of the crate compares and hashes.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// The longest name in wire form, root label included (RFC 1035 §3.1): 255 octets.
pub const MAX_NAME: usize = 255;
/// The longest label (RFC 1035 §3.1): 63 octets.
pub const MAX_LABEL: usize = 63;

/// A domain name: lower-cased (ASCII), uncompressed wire form, at most 255 octets, valid by construction.
///
/// A name is bytes (answers.md P7): any octet may stand in a label; nothing is IDNA-converted but by
/// [`a_labels`](Name::a_labels). Text form uses the escapes
/// of RFC 1035 §5.1: `\.` for a dot inside a label and `\DDD` (decimal) for any octet.
///
/// ```
/// use callsign::wire::Name;
///
/// let name: Name = "DB.Internal".parse()?;
/// assert_eq!(name.as_wire(), b"\x02db\x08internal\x00");
/// assert_eq!(name.to_string(), "db.internal");
/// assert!(name.is_below(&"internal".parse()?));
/// # Ok::<(), callsign::wire::NameError>(())
/// ```
#[derive(Clone)]
pub struct Name(Octets);

/// Most names are short, and a table has many of them: those need no memory of their own.
#[derive(Clone)]
enum Octets {
    Short { len: u8, octets: [u8; SHORT] },
    Long(Box<[u8]>),
}

/// What fits beside the length where a long name has its pointer.
const SHORT: usize = 22;

/// Why a text or a sequence of octets is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is nothing between two dots, or nothing at all.
    #[error("\"{0}\" has an empty label")]
    EmptyLabel(String),
    /// A label is longer than 63 octets.
    #[error("\"{0}\" has a label of more than 63 octets")]
    LabelTooLong(String),
    /// The name is longer than 255 octets in wire form.
    #[error("\"{0}\" is longer than 255 octets")]
    TooLong(String),
    /// A backslash is followed by neither three decimal digits up to 255 nor one other character.
    #[error("\"{0}\" has a bad escape; write \\. for a dot and \\DDD (decimal) for any octet")]
    BadEscape(String),
    /// A label has octets outside ASCII, and no A-label that stands for them.
    #[error(
        "\"{0}\" has no A-labels (IDNA 2008, UTS 46), which programs ask for; write it in letters and digits of a language"
    )]
    NoALabels(String),
    /// The octets end before the name does, hold a compression pointer, or go on after it.
    #[error("not one whole uncompressed name in wire form")]
    Wire,
}

impl Name {
    /// The root, `.`.
    pub fn root() -> Name {
        Name::of(&[0])
    }

    /// The octets of a name, which are right.
    fn of(wire: &[u8]) -> Name {
        if wire.len() > SHORT {
            return Name(Octets::Long(wire.into()));
        }
        let mut octets = [0; SHORT];
        octets[..wire.len()].copy_from_slice(wire);
        Name(Octets::Short { len: wire.len() as u8, octets })
    }

    /// A name from exactly its uncompressed wire form, in any case.
    ///
    /// # Errors
    /// [`NameError::Wire`] when `wire` is not one whole name.
    pub fn from_wire(wire: &[u8]) -> Result<Name, NameError> {
        match wire_len(wire) {
            Some(len) if len == wire.len() => Ok(Name::of(&wire.to_ascii_lowercase())),
            _ => Err(NameError::Wire),
        }
    }

    /// A name from wire form that the caller has checked and lower-cased.
    pub(crate) fn from_checked(wire: &[u8]) -> Name {
        debug_assert_eq!(wire_len(wire), Some(wire.len()));
        Name::of(wire)
    }

    /// The wire form: lower-cased labels and the root, at most 255 octets.
    pub fn as_wire(&self) -> &[u8] {
        match &self.0 {
            Octets::Short { len, octets } => &octets[..usize::from(*len)],
            Octets::Long(octets) => octets,
        }
    }

    /// The labels from the left, without the root.
    pub fn labels(&self) -> Labels<'_> {
        Labels(self.as_wire())
    }

    /// True for `.`.
    pub fn is_root(&self) -> bool {
        self.as_wire().len() == 1
    }

    /// The name without its first label; `None` for the root.
    pub fn parent(&self) -> Option<Name> {
        let wire = self.as_wire();
        let first = wire[0] as usize;
        (first > 0).then(|| Name::of(&wire[1 + first..]))
    }

    /// True if this name is `ancestor` or lies below it.
    pub fn is_below(&self, ancestor: &Name) -> bool {
        is_below(self.as_wire(), ancestor.as_wire())
    }

    /// This name followed by `suffix`: `db` and `internal` make `db.internal`.
    ///
    /// # Errors
    /// [`NameError::TooLong`] when the whole has more than 255 octets.
    pub fn join(&self, suffix: &Name) -> Result<Name, NameError> {
        let (own, suffix_wire) = (self.as_wire(), suffix.as_wire());
        let own = &own[..own.len() - 1];
        if own.len() + suffix_wire.len() > MAX_NAME {
            return Err(NameError::TooLong(format!("{self}.{suffix}")));
        }
        Ok(Name::of(&[own, suffix_wire].concat()))
    }

    /// The name in A-labels, which programs ask for where people write letters outside ASCII (answers.md N12): `xn--bcher-kva`
    /// for `bücher`. `None` if all of the name is ASCII.
    ///
    /// ```
    /// use callsign::wire::Name;
    ///
    /// let name: Name = "Bücher.internal".parse()?;
    /// assert_eq!(name.a_labels()?, Some("xn--bcher-kva.internal".parse()?));
    /// # Ok::<(), callsign::wire::NameError>(())
    /// ```
    ///
    /// # Errors
    /// [`NameError::NoALabels`] when a label is no UTF-8, or letters that no A-label can stand for, and
    /// [`NameError::LabelTooLong`] or [`NameError::TooLong`] when the A-labels are.
    pub fn a_labels(&self) -> Result<Option<Name>, NameError> {
        if self.as_wire().is_ascii() {
            return Ok(None);
        }
        let text = || self.labels().map(String::from_utf8_lossy).collect::<Vec<_>>().join(".");
        let mut wire = Vec::new();
        let mut push = |label: &[u8]| {
            match label.len() {
                0 => return Err(NameError::NoALabels(text())),
                1..=MAX_LABEL => wire.push(label.len() as u8),
                _ => return Err(NameError::LabelTooLong(text())),
            }
            wire.extend_from_slice(label);
            Ok(())
        };
        for label in self.labels() {
            if label.is_ascii() {
                push(label)?;
                continue;
            }
            let ascii = Uts46::new().to_ascii(label, AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Ignore);
            // Other dots than the ASCII one part labels, too (UTS 46 §4).
            ascii.map_err(|_| NameError::NoALabels(text()))?.split('.').try_for_each(|label| push(label.as_bytes()))?;
        }
        wire.push(0);
        if wire.len() > MAX_NAME { Err(NameError::TooLong(text())) } else { Ok(Some(Name::of(&wire))) }
    }

    /// True if the first label is `*` (RFC 4592 §2.1.1).
    pub fn is_wildcard(&self) -> bool {
        self.as_wire().starts_with(b"\x01*")
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        if text == "." {
            return Ok(Name::root());
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        wire.push(0);
        let mut length_at = 0;
        let mut end_label = |wire: &mut Vec<u8>| {
            let len = wire.len() - length_at - 1;
            match len {
                0 => return Err(NameError::EmptyLabel(text.to_owned())),
                1..=MAX_LABEL => wire[length_at] = len as u8,
                _ => return Err(NameError::LabelTooLong(text.to_owned())),
            }
            length_at = wire.len();
            wire.push(0);
            Ok(())
        };
        let mut octets = text.bytes();
        let mut open = true;
        while let Some(octet) = octets.next() {
            open = true;
            match octet {
                b'.' => {
                    end_label(&mut wire)?;
                    open = false;
                }
                b'\\' => wire.push(unescape(&mut octets).ok_or_else(|| NameError::BadEscape(text.to_owned()))?),
                _ => wire.push(octet.to_ascii_lowercase()),
            }
        }
        if open {
            end_label(&mut wire)?;
        }
        if wire.len() > MAX_NAME {
            return Err(NameError::TooLong(text.to_owned()));
        }
        Ok(Name::of(&wire))
    }
}

/// Reads what follows a backslash: three decimal digits, or any one other octet.
fn unescape(octets: &mut std::str::Bytes<'_>) -> Option<u8> {
    let first = octets.next()?;
    if !first.is_ascii_digit() {
        return Some(first.to_ascii_lowercase());
    }
    let mut value = u16::from(first - b'0');
    for _ in 0..2 {
        let digit = octets.next().filter(u8::is_ascii_digit)?;
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).ok().map(|octet| octet.to_ascii_lowercase())
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_wire(self.as_wire(), f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        self.as_wire()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.as_wire() == other.as_wire()
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_wire().hash(state);
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        self.as_wire().cmp(other.as_wire())
    }
}

/// The labels of a name from the left, as octets, without the root.
#[derive(Debug, Clone)]
pub struct Labels<'a>(&'a [u8]);

impl<'a> Labels<'a> {
    /// The labels of a valid uncompressed wire form.
    pub(crate) fn of_wire(wire: &'a [u8]) -> Labels<'a> {
        Labels(wire)
    }
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&len, rest) = self.0.split_first()?;
        if len == 0 || rest.len() < len as usize {
            return None;
        }
        let (label, rest) = rest.split_at(len as usize);
        self.0 = rest;
        Some(label)
    }
}

/// The octets that the uncompressed name at the start of `wire` takes, root included; `None` if there is no whole valid
/// name (truncated, a pointer or another reserved length octet, over 255 octets).
pub(crate) fn wire_len(wire: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let len = *wire.get(at)? as usize;
        if len > MAX_LABEL {
            return None;
        }
        at += 1 + len;
        if at > MAX_NAME {
            return None;
        }
        if len == 0 {
            return Some(at);
        }
    }
}

/// True if the valid wire form `name` is `ancestor` or lies below it. Both lower-cased.
pub(crate) fn is_below(name: &[u8], ancestor: &[u8]) -> bool {
    let Some(cut) = name.len().checked_sub(ancestor.len()) else { return false };
    name[cut..] == *ancestor && is_label_start(name, cut)
}

/// True if a label (or the root) of the valid wire form `name` starts at octet `at`.
pub(crate) fn is_label_start(name: &[u8], at: usize) -> bool {
    let mut label = 0;
    while label < at {
        label += 1 + name[label] as usize;
    }
    label == at
}

/// Writes the valid wire form `wire` as text, with escapes, without a trailing dot except for the root.
pub(crate) fn fmt_wire(wire: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    if wire == [0] {
        return f.write_char('.');
    }
    for (index, label) in Labels(wire).enumerate() {
        if index > 0 {
            f.write_char('.')?;
        }
        for &octet in label {
            match octet {
                b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => write!(f, "\\{}", octet as char)?,
                b'!'..=b'~' => f.write_char(octet as char)?,
                _ => write!(f, "\\{octet:03}")?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn p7_a_name_is_bytes() {
        for (text, wire) in [
            ("_http._tcp.WEB", &b"\x05_http\x04_tcp\x03web\x00"[..]),
            ("a\\.b.c", b"\x03a.b\x01c\x00"),
            ("\\000\\255x", b"\x03\x00\xffx\x00"),
            ("my name", b"\x07my name\x00"),
            ("xn--BCHER-kva", b"\x0dxn--bcher-kva\x00"),
            ("bücher.", b"\x07b\xc3\xbccher\x00"),
            ("\\065", b"\x01a\x00"),
        ] {
            assert_eq!(name(text).as_wire(), wire, "{text}");
            assert_eq!(name(&name(text).to_string()), name(text), "{text} through its text form");
        }
        assert_eq!(name("my name").to_string(), "my\\032name");
    }

    #[test]
    fn n12_a_labels() {
        for (text, expected) in [
            ("Bücher", Some("xn--bcher-kva")),
            ("BÜCHER.shop", Some("xn--bcher-kva.shop")),
            ("*.straße", Some("*.xn--strae-oqa")),
            ("_http._tcp.日本", Some("_http._tcp.xn--wgv71a")),
            // The ideographic full stop is a dot; full-width letters are letters.
            ("日本。ａｐｉ", Some("xn--wgv71a.api")),
            ("a\\.b.ü", Some("a\\.b.xn--tda")),
            ("plain.my name", None),
        ] {
            assert_eq!(name(text).a_labels(), Ok(expected.map(name)), "{text}");
        }
        // A private-use character, a lone accent, bytes that are no text, nothing but what is mapped to nothing.
        for text in ["\u{e000}", "\u{301}a", "\\255", "x.\u{ad}", "ü。。x"] {
            assert!(matches!(name(text).a_labels(), Err(NameError::NoALabels(_))), "{text}");
        }
        assert!(matches!(name(&"ü".repeat(31)).a_labels(), Ok(Some(_))));
        assert!(matches!(name(&"日一".repeat(10)).a_labels(), Ok(Some(_)) | Err(NameError::LabelTooLong(_))));
        let long = format!("{0}.{0}.{0}.{0}", "é".repeat(30));
        assert!(name(&long).a_labels().is_ok());
    }

    #[test]
    fn what_is_no_name() {
        assert_eq!("".parse::<Name>(), Err(NameError::EmptyLabel("".into())));
        assert_eq!("a..b".parse::<Name>(), Err(NameError::EmptyLabel("a..b".into())));
        assert_eq!(".a".parse::<Name>(), Err(NameError::EmptyLabel(".a".into())));
        assert!(matches!("\\25".parse::<Name>(), Err(NameError::BadEscape(_))));
        assert!(matches!("\\256".parse::<Name>(), Err(NameError::BadEscape(_))));
        assert!(matches!("a\\".parse::<Name>(), Err(NameError::BadEscape(_))));
        assert!(matches!("x".repeat(64).parse::<Name>(), Err(NameError::LabelTooLong(_))));
        assert!("x".repeat(63).parse::<Name>().is_ok());
        // Four labels of 62 and one of 1 are 255 octets with the root; one more octet is too many.
        let longest = format!("{0}.{0}.{0}.{0}.a", "x".repeat(62));
        assert_eq!(name(&longest).as_wire().len(), 255);
        assert!(matches!(format!("{longest}a").parse::<Name>(), Err(NameError::TooLong(_))));
        assert_eq!(Name::from_wire(b"\x01a"), Err(NameError::Wire));
        assert_eq!(Name::from_wire(b"\x01a\x00\x00"), Err(NameError::Wire));
        assert_eq!(Name::from_wire(b"\xc0\x0c"), Err(NameError::Wire));
    }

    #[test]
    fn short_and_long_names_are_alike() {
        assert_eq!(size_of::<Name>(), 24);
        for len in 1..=60 {
            let (short, longer) = (name(&"x".repeat(len)), name(&format!("{}.y", "x".repeat(len))));
            assert_eq!(short.as_wire().len(), len + 2);
            assert!(longer.to_string().starts_with(&short.to_string()) && short != longer);
            assert_eq!(longer.parent(), Some(name("y")));
            assert_eq!(short.join(&name("y")).unwrap(), longer);
        }
    }

    #[test]
    fn relations() {
        assert!(name("db.internal").is_below(&name("internal")));
        assert!(name("internal").is_below(&name("internal")));
        assert!(name("a").is_below(&Name::root()));
        assert!(!name("dbinternal").is_below(&name("internal")));
        // The octets of `\x01a` end the first label's octets here: no label starts there.
        assert!(!Name::from_wire(b"\x03x\x01a\x00").unwrap().is_below(&name("a")));
        assert_eq!(name("a.b").parent(), Some(name("b")));
        assert_eq!(Name::root().parent(), None);
        assert_eq!(name("a").join(&name("b.c")).unwrap(), name("a.b.c"));
        assert!(name("*.apps").is_wildcard() && !name("*x.apps").is_wildcard());
    }
}
