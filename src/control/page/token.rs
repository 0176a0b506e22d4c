//! The token of the page: where it is kept, and whether a request has it.

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::header::{AUTHORIZATION, HeaderMap};

/// The shortest token, octets: nobody guesses one of these in a lifetime.
const MIN_TOKEN: usize = 16;
/// The largest file, octets.
const MAX_FILE: u64 = 4096;

/// The token in a file, read anew for each request: it may be replaced at any time.
///
/// # Errors
/// The file cannot be read, or holds no token.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text);
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return Err(invalid("it is no file of at most 4096 octets"));
    }
    let token = fs::read(path)?.trim_ascii().to_vec();
    match token.len() < MIN_TOKEN {
        true => Err(invalid("a token has at least 16 octets, as `openssl rand -hex 16` gives them")),
        false => Ok(token),
    }
}

/// True if a request has the token: as a bearer token, or as the password of any user.
pub fn is_given(headers: &HeaderMap, token: &[u8]) -> bool {
    let Some((scheme, credentials)) =
        headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '))
    else {
        return false;
    };
    let credentials = credentials.trim_ascii();
    if scheme.eq_ignore_ascii_case("bearer") {
        return is_same(credentials.as_bytes(), token);
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return false;
    }
    let Ok(pair) = BASE64.decode(credentials) else { return false };
    let password = pair.iter().position(|&octet| octet == b':').map(|colon| &pair[colon + 1..]);
    password.is_some_and(|password| is_same(password, token))
}

/// Compares in a time that tells nothing but the length.
fn is_same(given: &[u8], token: &[u8]) -> bool {
    given.len() == token.len() && given.iter().zip(token).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

/// Base64 (RFC 4648 §4), with its padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_as_bearer_and_as_password() {
        let is_given = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            is_given(&headers, b"0123456789abcdef")
        };
        assert!(is_given("Bearer 0123456789abcdef") && is_given("bearer  0123456789abcdef"));
        // `me:0123456789abcdef`, `:0123456789abcdef`, and without the padding.
        assert!(is_given("Basic bWU6MDEyMzQ1Njc4OWFiY2RlZg==") && is_given("Basic OjAxMjM0NTY3ODlhYmNkZWY="));
        assert!(is_given("basic bWU6MDEyMzQ1Njc4OWFiY2RlZg"));
        for wrong in [
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcdeg",
            "Bearer 0123456789abcdef0",
            "Bearer 0123456789abcde",
            "Basic 0123456789abcdef",
            "Basic bWU6",
            "Basic bWU=",
            "Basic ?",
            "Digest 0123456789abcdef",
            "0123456789abcdef",
        ] {
            assert!(!is_given(wrong), "{wrong}");
        }
        assert!(!super::is_given(&HeaderMap::new(), b"0123456789abcdef"));
    }

    #[test]
    fn a_file_without_a_good_token_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, "short\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("at least 16"));
        fs::write(&path, "x".repeat(5000)).unwrap();
        assert!(read(&path).is_err() && read(directory.path()).is_err());
        fs::write(&path, "0123456789abcdef\n").unwrap();
        assert_eq!(read(&path).unwrap(), b"0123456789abcdef");
    }
}
