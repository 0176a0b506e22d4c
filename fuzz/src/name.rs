//! Names: no octets and no text make the parsers panic, what they accept is valid, and it survives every round trip.

use callsign::wire::{MAX_LABEL, MAX_NAME, Name};

/// Takes the input as wire form and, where it is UTF-8, as text.
pub fn run(input: &[u8]) {
    if let Ok(name) = Name::from_wire(input) {
        // answers.md P7: byte for byte after ASCII lower-casing.
        assert_eq!(name.as_wire(), input.to_ascii_lowercase());
        is_sound(&name);
    }
    if let Ok(name) = std::str::from_utf8(input).map_err(drop).and_then(|text| text.parse().map_err(drop)) {
        is_sound(&name);
    }
}

fn is_sound(name: &Name) {
    let wire = name.as_wire();
    assert!(wire.len() <= MAX_NAME);
    assert_eq!(wire, wire.to_ascii_lowercase());
    assert!(name.labels().all(|label| (1..=MAX_LABEL).contains(&label.len())));
    assert_eq!(name.labels().map(|label| 1 + label.len()).sum::<usize>() + 1, wire.len());

    assert_eq!(Name::from_wire(wire).as_ref(), Ok(name));
    let text = name.to_string();
    assert_eq!(text.parse().as_ref(), Ok(name), "{text}");
    // Printable, whatever its octets: names end up in logs and on terminals.
    assert!(text.bytes().all(|octet| octet.is_ascii_graphic()), "{text:?}");

    assert!(name.is_below(name) && name.is_below(&Name::root()));
    match name.parent() {
        Some(parent) => {
            assert!(name.is_below(&parent) && !parent.is_below(name));
            let first = [&wire[..1 + wire[0] as usize], &[0]].concat();
            assert_eq!(Name::from_wire(&first).unwrap().join(&parent).as_ref(), Ok(name));
        }
        None => assert!(name.is_root()),
    }
}
