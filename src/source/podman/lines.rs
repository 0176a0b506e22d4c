//! A file's lines, read in pieces: a file of many megabytes costs one small buffer.

use std::io::{self, ErrorKind, Read};

/// How much is read at once.
const PIECE: usize = 64 * 1024;
/// A line longer than this is cut there, and marked: names are compared each with each.
pub(super) const LONGEST_LINE: usize = 64 * 1024;

/// What lines are read from.
pub(super) trait Source: Read {
    /// At its end: true if what stands behind the last line end is a line, and not the beginning of one.
    fn is_finished(&self) -> bool;
}

/// Reads lines from `S`, one after the other, each with its number.
#[derive(Debug)]
pub(super) struct Lines<S> {
    from: S,
    buffer: Vec<u8>,
    /// What of the buffer was read and not given out yet.
    start: usize,
    end: usize,
    number: usize,
    is_at_end: bool,
    /// True if the beginning of a line was left out at the end.
    has_rest: bool,
}

/// One line, without its end: `\n`, or `\r\n`, which no container runtime writes but an editor may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'l> {
    /// From 1 on.
    pub(super) number: usize,
    pub(super) text: &'l [u8],
    /// True if more than [`LONGEST_LINE`] octets stood there; the rest is left out.
    pub(super) is_cut: bool,
}

impl<'l> Line<'l> {
    /// What stands before the first space.
    pub(super) fn first_column(&self) -> &'l [u8] {
        &self.text[..memchr::memchr(b' ', self.text).unwrap_or(self.text.len())]
    }
}

impl<S: Source> Lines<S> {
    pub(super) fn new(from: S) -> Lines<S> {
        Lines { from, buffer: vec![0; PIECE], start: 0, end: 0, number: 0, is_at_end: false, has_rest: false }
    }

    /// What is read from.
    pub(super) fn source(&self) -> &S {
        &self.from
    }

    /// True unless something stands at the end that is no line yet.
    pub(super) fn is_whole(&self) -> bool {
        !self.has_rest
    }

    /// The next line that is not empty.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            self.number += 1;
            let Some((from, to, has_end, is_cut)) = self.find_line()? else { return Ok(None) };
            if !has_end && !self.from.is_finished() {
                self.has_rest = true;
                return Ok(None);
            }
            let to = if self.buffer[from..to].ends_with(b"\r") { to - 1 } else { to };
            if from < to {
                let text = &self.buffer[from..to];
                return Ok(Some(Line { number: self.number, text, is_cut }));
            }
        }
    }

    /// Where the next line lies in the buffer, without its `\n`; whether that was there; whether the line is too long.
    fn find_line(&mut self) -> io::Result<Option<(usize, usize, bool, bool)>> {
        let mut searched = self.start;
        loop {
            if let Some(length) = memchr::memchr(b'\n', &self.buffer[searched..self.end]) {
                let (from, to) = (self.start, searched + length);
                self.start = to + 1;
                return Ok(Some((from, to.min(from + LONGEST_LINE), true, to - from > LONGEST_LINE)));
            }
            if self.end - self.start > LONGEST_LINE {
                return self.cut_line().map(Some);
            }
            searched = self.end;
            if !self.fill(&mut searched)? {
                let line = (self.start, self.end, false, false);
                self.start = self.end;
                return Ok((line.0 < line.1).then_some(line));
            }
        }
    }

    /// The beginning of a line that is too long; the rest of it is passed over.
    fn cut_line(&mut self) -> io::Result<(usize, usize, bool, bool)> {
        let (from, to) = (self.start, self.start + LONGEST_LINE);
        // The line stays where it is: what follows is read behind it, again and again.
        loop {
            let rest = to..self.end;
            if let Some(length) = memchr::memchr(b'\n', &self.buffer[rest]) {
                self.start = to + length + 1;
                return Ok((from, to, true, true));
            }
            self.end = to;
            if !self.read_more()? {
                self.start = to;
                return Ok((from, to, false, true));
            }
        }
    }

    /// Reads a piece behind what is there, after making room; false at the end of the file. `searched` moves with it.
    fn fill(&mut self, searched: &mut usize) -> io::Result<bool> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            *searched -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        self.read_more()
    }

    fn read_more(&mut self) -> io::Result<bool> {
        if self.end == self.buffer.len() {
            self.buffer.resize(self.end + PIECE.max(self.end), 0);
        }
        while !self.is_at_end {
            match self.from.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.is_at_end = true,
                Ok(count) => {
                    self.end += count;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives so many octets at a time.
    struct Trickle<'t>(&'t [u8], usize, bool);

    impl Source for Trickle<'_> {
        fn is_finished(&self) -> bool {
            self.2
        }
    }

    impl Read for Trickle<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(into.len());
            let (now, later) = self.0.split_at(count);
            self.0 = later;
            into[..count].copy_from_slice(now);
            Ok(count)
        }
    }

    fn all(text: &[u8], piece: usize, is_finished: bool) -> (Vec<(usize, Vec<u8>, bool)>, bool) {
        let mut lines = Lines::new(Trickle(text, piece, is_finished));
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push((line.number, line.text.to_vec(), line.is_cut));
        }
        (all, lines.is_whole())
    }

    #[test]
    fn lines_are_the_same_however_they_are_read() {
        let text = b"\none\n\n\r\ntwo\r\nthree\rx\nfour";
        for piece in 1..=text.len() {
            let mut expected = vec![
                (2, b"one".to_vec(), false),
                (5, b"two".to_vec(), false),
                (6, b"three\rx".to_vec(), false),
                (7, b"four".to_vec(), false),
            ];
            assert_eq!(all(text, piece, true), (expected.clone(), true), "{piece} octets at a time");
            expected.pop();
            assert_eq!(all(text, piece, false), (expected, false), "{piece} octets at a time");
        }
        assert_eq!(all(b"", 1, false), (vec![], true));
        assert!(all(b"x\n", 1, false).1);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_the_next_one_is_whole() {
        for extra in [1, PIECE, 5 * PIECE + 1] {
            let text = [&vec![b'x'; LONGEST_LINE + extra][..], b"\nnext\n"].concat();
            for piece in [PIECE, PIECE - 1, 7 * PIECE] {
                let (lines, is_whole) = all(&text, piece, false);
                assert_eq!((lines.len(), is_whole), (2, true));
                assert_eq!((lines[0].0, lines[0].1.len(), lines[0].2), (1, LONGEST_LINE, true));
                assert_eq!(lines[1], (2, b"next".to_vec(), false));
                assert_eq!(all(&text[..LONGEST_LINE + extra], piece, false), (vec![], false));
            }
        }
        let longest = [&vec![b'x'; LONGEST_LINE][..], b"\n"].concat();
        assert!(!all(&longest, PIECE, true).0[0].2);
    }
}
