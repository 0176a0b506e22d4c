//! One table of the file, read key by key. A value of the wrong kind becomes a problem and reads as if it were absent.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::source::seconds_of;
use crate::table::TableError;

use super::error::Problem;
use super::schema::{TableSchema, ValueKind};
use super::text::Text;

/// A table, what it should have in it, and where it stands.
pub(super) struct Section<'t> {
    text: &'t Text<'t>,
    schema: &'static TableSchema,
    table: &'t DeTable<'t>,
    at: Range<usize>,
}

impl<'t> Section<'t> {
    /// The file itself.
    pub(super) fn root(text: &'t Text<'t>, schema: &'static TableSchema, table: &'t DeTable<'t>) -> Section<'t> {
        Section::new(text, schema, table, 0..0)
    }

    fn new(text: &'t Text<'t>, schema: &'static TableSchema, table: &'t DeTable<'t>, at: Range<usize>) -> Section<'t> {
        for key in table.keys().filter(|key| !schema.has(key.get_ref())) {
            text.problem(&key.span(), schema.unknown(key.get_ref()));
        }
        Section { text, schema, table, at }
    }

    /// An item of a list, if it is a table.
    pub(super) fn of_item(
        text: &'t Text<'t>,
        schema: &'static TableSchema,
        item: &'t Spanned<DeValue<'t>>,
    ) -> Option<Section<'t>> {
        Some(Section::new(text, schema, item.get_ref().as_table()?, item.span()))
    }

    /// Where it stands.
    pub(super) fn at(&self) -> &Range<usize> {
        &self.at
    }

    /// The table itself.
    pub(super) fn raw(&self) -> &'t DeTable<'t> {
        self.table
    }

    /// The file, as its problems call it.
    pub(super) fn origin(&self) -> &str {
        self.text.origin()
    }

    /// The line of a place.
    pub(super) fn line(&self, at: &Range<usize>) -> usize {
        self.text.line(at.start)
    }

    /// Notes a problem at a place.
    pub(super) fn problem(&self, at: &Range<usize>, message: impl AsRef<str>) {
        self.text.problem(at, message);
    }

    /// Notes what is allowed, and most likely a mistake.
    pub(super) fn warning(&self, at: &Range<usize>, message: impl AsRef<str>) {
        self.text.warning(at, message);
    }

    /// The same, by the number of the line.
    pub(super) fn warning_in(&self, line: usize, message: impl AsRef<str>) {
        self.text.warning_in(line, message);
    }

    /// What may have to be said of a place.
    pub(super) fn note(&self, at: &Range<usize>, message: impl AsRef<str>) -> Problem {
        self.text.note(at, message)
    }

    /// The text that it is of.
    pub(super) fn text(&self) -> &'t Text<'t> {
        self.text
    }

    /// The value, or the problem at its place.
    pub(super) fn check<T>(&self, key: &str, at: &Range<usize>, value: Result<T, impl Into<TableError>>) -> Option<T> {
        let complain = |error: TableError| match error {
            TableError::Name(error) => self.problem(at, format!("{error}; write {}", self.example(key))),
            // These say what to write by themselves.
            other => self.problem(at, other.to_string()),
        };
        value.map_err(|error| complain(error.into())).ok()
    }

    /// A value of any kind.
    pub(super) fn value(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        debug_assert!(self.schema.has(key), "{key} is in the schema of {}", self.schema.heading);
        self.table.get(key)
    }

    /// How a key is written.
    pub(super) fn example(&self, key: &str) -> &'static str {
        self.schema.example(key)
    }

    fn wrong_kind(&self, key: &str, value: &Spanned<DeValue<'_>>) {
        let message = format!("`{key}` cannot be {}; write {}", kind(value.get_ref()), self.example(key));
        self.problem(&value.span(), message);
    }

    /// A string.
    pub(super) fn string(&self, key: &str) -> Option<Spanned<&'t str>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(string) => Some(Spanned::new(value.span(), string)),
            _ => {
                self.wrong_kind(key, value);
                None
            }
        }
    }

    /// A string that has to be there.
    pub(super) fn required(&self, key: &str) -> Option<Spanned<&'t str>> {
        if self.value(key).is_none() {
            self.problem(&self.at, format!("{} has no `{key}`; write {}", self.schema.heading, self.example(key)));
        }
        self.string(key)
    }

    /// A list of strings; `None` if it is not there.
    pub(super) fn strings(&self, key: &str) -> Option<Vec<Spanned<&'t str>>> {
        let value = self.value(key)?;
        let DeValue::Array(array) = value.get_ref() else {
            self.wrong_kind(key, value);
            return None;
        };
        let strings = array.iter().filter_map(|item| match item.get_ref() {
            DeValue::String(string) => Some(Spanned::new(item.span(), &**string)),
            other => {
                let example = self.example(key);
                self.problem(&item.span(), format!("`{key}` cannot have {} in it; write {example}", kind(other)));
                None
            }
        });
        Some(strings.collect())
    }

    /// A list of strings, each read by `parse`; those that it refuses become problems.
    pub(super) fn list<T, E: Into<TableError>>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<Spanned<T>> {
        let strings = self.strings(key).unwrap_or_default();
        let parsed = strings.into_iter().filter_map(|string| {
            self.check(key, &string.span(), parse(string.get_ref())).map(|value| Spanned::new(string.span(), value))
        });
        parsed.collect()
    }

    /// The same, where one alone may stand without a list.
    pub(super) fn one_or_more<T, E: Into<TableError>>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<Spanned<T>> {
        match self.value(key).map(Spanned::get_ref) {
            Some(DeValue::String(_)) => {
                let string = self.string(key);
                let parsed = string.and_then(|string| {
                    let value = self.check(key, &string.span(), parse(string.get_ref()))?;
                    Some(Spanned::new(string.span(), value))
                });
                parsed.into_iter().collect()
            }
            _ => self.list_of_some(key, "leave it out", parse),
        }
    }

    /// The same, where an empty list would say something else than it seems to.
    pub(super) fn list_of_some<T, E: Into<TableError>>(
        &self,
        key: &str,
        instead: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<Spanned<T>> {
        if let Some(value) = self.value(key)
            && value.get_ref().as_array().is_some_and(|array| array.is_empty())
        {
            self.problem(&value.span(), format!("`{key}` is empty; {instead}, or write {}", self.example(key)));
        }
        self.list(key, parse)
    }

    /// True or false.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        let value = self.value(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong_kind(key, value);
        }
        flag
    }

    /// A whole number.
    pub(super) fn number(&self, key: &str) -> Option<i64> {
        let value = self.value(key)?;
        let Some(ValueKind::Number(least, most) | ValueKind::RequiredNumber(least, most)) = self.schema.value(key)
        else {
            unreachable!("the schema says that `{key}` is no number")
        };
        self.number_within(key, value, least..=most)
    }

    fn number_within(&self, key: &str, value: &Spanned<DeValue<'_>>, allowed: RangeInclusive<i64>) -> Option<i64> {
        let DeValue::Integer(integer) = value.get_ref() else {
            self.wrong_kind(key, value);
            return None;
        };
        let number = i64_of(integer).filter(|number| allowed.contains(number));
        if number.is_none() {
            let (least, most) = (allowed.start(), allowed.end());
            let message = format!("`{key}` is {integer}; write a number from {least} to {most}");
            self.problem(&value.span(), message);
        }
        number
    }

    /// A number of octets: whole, or with a unit.
    pub(super) fn octets(&self, key: &str) -> Option<i64> {
        let value = self.value(key)?;
        let Some(ValueKind::Octets(most)) = self.schema.value(key) else {
            unreachable!("the schema says that `{key}` is no number of octets")
        };
        let DeValue::String(text) = value.get_ref() else { return self.number_within(key, value, 0..=most) };
        let units = [(" KiB", 10), (" MiB", 20), (" GiB", 30)];
        let octets = units.into_iter().find_map(|(unit, bits)| {
            let number: i64 = text.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(1 << bits)
        });
        let octets = octets.filter(|octets| (0..=most).contains(octets));
        if octets.is_none() {
            let message =
                format!("`{key}` is {text:?}; write {}, or a number of KiB or GiB, or of octets", self.example(key));
            self.problem(&value.span(), message);
        }
        octets
    }

    /// A time to live, in seconds.
    pub(super) fn ttl(&self, key: &str) -> Option<u32> {
        self.number(key).map(|ttl| ttl as u32)
    }

    /// A time: a number of seconds, or text with a unit such as `"2s"` or `"500ms"`.
    pub(super) fn seconds(&self, key: &str) -> Option<Duration> {
        let value = self.value(key)?;
        let Some(ValueKind::Seconds(least, most)) = self.schema.value(key) else {
            unreachable!("the schema says that `{key}` is no time")
        };
        let (seconds, written): (Option<f64>, String) = match value.get_ref() {
            DeValue::Integer(integer) => (i64_of(integer).map(|seconds| seconds as f64), integer.to_string()),
            DeValue::Float(float) => (float.as_str().parse().ok(), float.to_string()),
            DeValue::String(text) => (seconds_of(text), format!("{text:?}")),
            _ => {
                self.wrong_kind(key, value);
                return None;
            }
        };
        let allowed = seconds.filter(|seconds| (least..=most).contains(seconds));
        if allowed.is_none() {
            let message = format!("`{key}` is {written}; write seconds, from {least} to {most}");
            self.problem(&value.span(), message);
        }
        allowed.map(Duration::from_secs_f64)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        debug_assert!(
            matches!(self.schema.value(key), Some(ValueKind::Word(known)) if known.iter().eq(words.iter().map(|(word, _)| word))),
            "the schema has other words for `{key}`, or another order"
        );
        let word = self.string(key)?;
        let found = words.iter().find(|known| known.0 == *word.get_ref()).map(|known| known.1);
        if found.is_none() {
            let all: Vec<String> = words.iter().map(|known| format!("\"{}\"", known.0)).collect();
            self.problem(&word.span(), format!("`{key}` is {:?}; write {}", word.get_ref(), all.join(" or ")));
        }
        found
    }

    /// A table below this one.
    pub(super) fn table(&self, key: &str, schema: &'static TableSchema) -> Option<Section<'t>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::new(self.text, schema, table, value.span())),
            _ => {
                self.wrong_kind(key, value);
                None
            }
        }
    }

    /// A table below this one whose keys may be any.
    pub(super) fn free_table(&self, key: &str) -> Option<&'t DeTable<'t>> {
        let value = self.value(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_kind(key, value);
        }
        table
    }

    /// A list of tables below this one.
    pub(super) fn tables(&self, key: &str, schema: &'static TableSchema) -> Vec<Section<'t>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            self.wrong_kind(key, value);
            return Vec::new();
        };
        let sections = array.iter().filter_map(|item| match item.get_ref() {
            DeValue::Table(table) => Some(Section::new(self.text, schema, table, item.span())),
            other => {
                let example = self.example(key);
                self.problem(&item.span(), format!("`{key}` cannot have {} in it; write {example}", kind(other)));
                None
            }
        });
        sections.collect()
    }
}

/// What a value is, in words.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn i64_of(integer: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
