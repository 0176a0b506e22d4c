//! Tables, colours and numbers for people.

use std::io::IsTerminal;

/// The colours that are used, or none.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Style {
    is_coloured: bool,
}

impl Style {
    /// Colours on a terminal, unless the environment says otherwise (<https://no-color.org>).
    pub(in crate::cli) fn of_stdout() -> Style {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Style { is_coloured: std::io::stdout().is_terminal() && !is_unwanted && !is_dumb }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.is_coloured && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(in crate::cli) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(in crate::cli) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(in crate::cli) fn doubtful(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(in crate::cli) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(in crate::cli) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }
}

/// A cell, as it is seen and as it is written.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    width: usize,
    written: String,
}

impl Cell {
    /// A painted cell.
    pub(super) fn painted(text: &str, paint: impl FnOnce(&str) -> String) -> Cell {
        Cell { width: text.chars().count(), written: paint(text) }
    }

    /// What is written.
    pub(super) fn text(self) -> String {
        self.written
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        let written = text.into();
        Cell { width: written.chars().count(), written }
    }
}

/// Rows of cells below a heading, in columns.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new(style: Style, heading: &[&str]) -> Table {
        Table { rows: vec![heading.iter().map(|text| Cell::painted(text, |text| style.dim(text))).collect()] }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The table as text, a line a row.
    pub(super) fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
        let mut text = String::new();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                text.push_str(&cell.written);
                if column + 1 < row.len() {
                    text.extend(std::iter::repeat_n(' ', widths[column] - cell.width + 2));
                }
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }
}

/// A number with its thousands apart.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in its two largest units.
pub(super) fn time(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let parts = units.iter().scan(seconds, |left, (unit, name)| {
        let count = *left / unit;
        *left %= unit;
        Some((count, *name))
    });
    let parts: Vec<String> = parts
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// A moment that was written by RFC 3339, without fractions: `2026-11-24 20:31:30 UTC`.
pub(super) fn moment(rfc3339: &str) -> String {
    rfc3339.get(..19).map_or_else(|| rfc3339.to_owned(), |text| format!("{} UTC", text.replace('T', " ")))
}

/// The time of day of such a moment, with milliseconds: `20:31:30.125Z`, where Z is UTC.
pub(super) fn time_of_day(rfc3339: &str) -> &str {
    rfc3339.get(11..).unwrap_or(rfc3339)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 59, 60, 3661, 90_000].map(time), ["0 s", "59 s", "1 min", "1 h 1 min", "1 d 1 h"]);
        assert_eq!(moment("2026-11-24T20:31:30.125Z"), "2026-11-24 20:31:30 UTC");
        assert_eq!(time_of_day("2026-11-24T20:31:30.125Z"), "20:31:30.125Z");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_colours_take_no_room() {
        let style = Style { is_coloured: true };
        let mut table = Table::new(Style { is_coloured: false }, &["name", "state"]);
        table.row([Cell::painted("db", |text| style.good(text)), "up".into()]);
        table.row(["database".into(), "".into()]);
        assert_eq!(table.text(), "name      state\n\x1b[32mdb\x1b[0m        up\ndatabase\n");
    }
}
