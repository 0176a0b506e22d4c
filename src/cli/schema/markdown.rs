//! The keys as Markdown tables: docs/configuration.md.

use std::fmt::Write;

use callsign::source::config::schema::{TableSchema, ValueKind};

/// A section for each table of a file, in the order in which its keys lead there.
pub(super) fn tables(root: &TableSchema) -> String {
    let mut text = String::new();
    for key in root.own_keys() {
        if let ValueKind::Table(of) | ValueKind::Tables(of) = key.value {
            table(&mut text, of);
        }
    }
    // A blank line stands between sections, and none at the end.
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn table(text: &mut String, table_schema: &TableSchema) {
    let _ = write!(text, "### `{}`\n\n{}\n\n", table_schema.heading, table_schema.about);
    text.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
    for key in table_schema.own_keys() {
        let default = if key.value.is_required() { "required" } else { key.default };
        let _ = writeln!(text, "| `{}` | {} | {default} | {} |", key.name, value(key.value), key.meaning);
    }
    text.push('\n');
    for key in table_schema.own_keys() {
        if let ValueKind::Table(of) | ValueKind::Tables(of) = key.value {
            table(text, of);
        }
    }
}

fn value(kind: ValueKind) -> String {
    match kind {
        ValueKind::Text | ValueKind::RequiredText => "string".to_owned(),
        ValueKind::Flag => "`true` or `false`".to_owned(),
        ValueKind::Number(least, most) | ValueKind::RequiredNumber(least, most) => format!("{least} to {most}"),
        ValueKind::Seconds(least, most) => format!("seconds, {least} to {most}, or as in `\"500ms\"`, `\"2s\"`"),
        ValueKind::Octets(_) => "octets, or as in `\"16 MiB\"`".to_owned(),
        ValueKind::Word(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            words.join(", ")
        }
        ValueKind::Texts | ValueKind::RequiredTexts => "list of strings".to_owned(),
        ValueKind::TextOrTexts => "string, or list of strings".to_owned(),
        ValueKind::RequiredTextsOr(word) => format!("list of strings, or `\"{word}\"`"),
        ValueKind::Map => "table of strings".to_owned(),
        ValueKind::Table(of) => format!("table: [below](#{})", anchor(of.heading)),
        ValueKind::Tables(of) => format!("tables: [below](#{})", anchor(of.heading)),
        _ => String::new(),
    }
}

/// The anchor that Markdown gives a heading.
fn anchor(heading: &str) -> String {
    heading.chars().filter(|char| char.is_ascii_alphanumeric() || *char == '_').collect()
}
