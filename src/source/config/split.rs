//! A file in pieces: each `[[network.endpoint]]` by itself, and the rest.
//!
//! The parser takes some ten times the memory of what it reads. A file of hundreds of thousands of endpoints is read one
//! endpoint after the other therefore.

use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// The heading whose tables are read one by one, and that of what they belong to.
const ENDPOINT: [&str; 2] = ["network", "endpoint"];
const NETWORK: [&str; 1] = ["network"];

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Split<'t> {
    /// The file with an empty line for each line of an endpoint.
    pub(super) outline: String,
    /// The endpoints of each `[[network]]`, in the order of the file.
    pub(super) endpoints: Vec<Vec<Block<'t>>>,
}

/// An endpoint's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block<'t> {
    pub(super) text: &'t str,
    /// The number, from 1, of the first line.
    pub(super) line: usize,
}

impl<'t> Split<'t> {
    /// Splits a text. `None` if there is nothing to split off.
    pub(super) fn of(text: &'t str) -> Option<Split<'t>> {
        let mut split = Split::default();
        // What was looked at so far begins here, and is part of an endpoint or not.
        let (mut begin, mut line, mut is_endpoint) = (0, 1, false);
        for heading in headings(text) {
            let next = match (&heading.keys[..], split.endpoints.is_empty()) {
                (keys, false) if keys == ENDPOINT && heading.is_array => true,
                // A table of the endpoint's own.
                (keys, _) if is_endpoint && keys.len() > 2 && keys[..2] == ENDPOINT => continue,
                _ => false,
            };
            line += split.take(&text[begin..heading.start], line, is_endpoint);
            (begin, is_endpoint) = (heading.start, next);
            if heading.keys == NETWORK && heading.is_array {
                split.endpoints.push(Vec::new());
            }
        }
        split.take(&text[begin..], line, is_endpoint);
        split.endpoints.iter().any(|blocks| !blocks.is_empty()).then_some(split)
    }

    /// Adds a piece that begins at a line, and gives the number of its lines.
    fn take(&mut self, piece: &'t str, line: usize, is_endpoint: bool) -> usize {
        let lines = piece.bytes().filter(|&octet| octet == b'\n').count();
        match self.endpoints.last_mut().filter(|_| is_endpoint) {
            Some(blocks) => {
                blocks.push(Block { text: piece, line });
                self.outline.extend(std::iter::repeat_n('\n', lines));
            }
            None => self.outline.push_str(piece),
        }
        lines
    }
}

/// `[a.b]` or `[[a.b]]` at the start of a line.
struct Heading<'t> {
    start: usize,
    keys: Vec<&'t str>,
    is_array: bool,
}

/// The headings of a text, those within strings and arrays of many lines left out. A key in quotes is none that is looked for,
/// and has its quotes here.
fn headings(text: &str) -> impl Iterator<Item = Heading<'_>> {
    let mut tokens = Source::new(text).lex().peekable();
    // How many brackets and braces are open, of a value.
    let mut depth = 0_usize;
    let mut is_line_start = true;
    std::iter::from_fn(move || {
        while let Some(token) = tokens.next() {
            let starts_line = std::mem::replace(&mut is_line_start, token.kind() == TokenKind::Newline);
            match token.kind() {
                TokenKind::Whitespace => is_line_start = starts_line,
                TokenKind::LeftSquareBracket if starts_line && depth == 0 => {
                    let is_array = tokens.next_if(|token| token.kind() == TokenKind::LeftSquareBracket).is_some();
                    let in_heading =
                        |kind| !matches!(kind, TokenKind::RightSquareBracket | TokenKind::Newline | TokenKind::Eof);
                    let mut keys = Vec::new();
                    while let Some(token) = tokens.next_if(|token| in_heading(token.kind())) {
                        if !matches!(token.kind(), TokenKind::Dot | TokenKind::Whitespace) {
                            keys.push(&text[token.span().start()..token.span().end()]);
                        }
                    }
                    while tokens.next_if(|token| token.kind() == TokenKind::RightSquareBracket).is_some() {}
                    return Some(Heading { start: token.span().start(), keys, is_array });
                }
                TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => depth += 1,
                TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_split_off_with_all_that_is_theirs() {
        let text = "\
[[network]]
name = \"a\"
listen = [
  \"10.0.0.1\",
[[network.endpoint]],
]
note = '''
[[network.endpoint]]
'''
  [[network.endpoint]]  # the first
  id = \"1\"
    [[network.endpoint.ports]]
    port = 80
  [[ network . endpoint ]]
  id = \"2\"
[network.aliases]
x = \"y\"
[[network]]
[[network.endpoint]]\r
id = \"3\"\r
[cache]
size = 1";
        let split = Split::of(text).unwrap();
        let [first, second] = &split.endpoints[..] else { panic!("{split:?}") };
        assert_eq!(
            first[..],
            [
                Block {
                    text: "[[network.endpoint]]  # the first\n  id = \"1\"\n    [[network.endpoint.ports]]\n    port = 80\n  ",
                    line: 10
                },
                Block { text: "[[ network . endpoint ]]\n  id = \"2\"\n", line: 14 },
            ]
        );
        assert_eq!(second[..], [Block { text: "[[network.endpoint]]\r\nid = \"3\"\r\n", line: 19 }]);
        assert_eq!(split.outline.matches('\n').count(), text.matches('\n').count());
        assert!(
            split.outline.ends_with("\n\n\n[network.aliases]\nx = \"y\"\n[[network]]\n\n\n[cache]\nsize = 1"),
            "{split:?}"
        );
        assert!(split.outline.contains("note = '''\n[[network.endpoint]]\n'''\n"));
    }

    #[test]
    fn what_belongs_to_no_network_is_not_split_off() {
        for text in
            ["", "[[network]]\nname = \"a\"", "[[network.endpoint]]\nid = \"1\"", "[network]\n[[network.endpoint]]\n"]
        {
            assert_eq!(Split::of(text), None, "{text}");
        }
    }
}
