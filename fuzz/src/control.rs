//! The control socket's query strings, which are read by code of our own: none makes it panic, and what is understood survives
//! being written again.

use callsign::control::parameters;

/// Takes the input as a query string.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some(read) = parameters(text) else { return };
    let escaped = |text: &str| text.bytes().map(|octet| format!("%{octet:02x}")).collect::<String>();
    let written: Vec<String> = read.iter().map(|(key, value)| format!("{}={}", escaped(key), escaped(value))).collect();
    assert_eq!(parameters(&written.join("&")), Some(read), "{text:?}");
}
