//! The keys as a JSON Schema, for editors: what the reader refuses for its form is not valid by it. What takes more than one
//! value to see, such as two listeners of one address, is not in it.

use callsign::source::config::schema::{KeySchema, TableSchema, ValueKind};
use serde_json::{Map, Value, json};

/// The JSON Schema (draft 2020-12) of a file.
pub(super) fn schema(root: &TableSchema) -> Value {
    let mut schema = table(root);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = root.heading.into();
    schema
}

fn table(table: &TableSchema) -> Value {
    let properties: Map<String, Value> = table.own_keys().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<&str> = table.own_keys().filter(|key| key.value.is_required()).map(|key| key.name).collect();
    json!({
        "type": "object",
        "description": plain(table.about),
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn property(key: &KeySchema) -> Value {
    let mut schema = value(key.value);
    let default = if key.default.is_empty() { String::new() } else { format!(" Default: {}.", key.default) };
    schema["description"] = plain(&format!("{}{default} Example: {}", key.meaning, key.example)).into();
    schema
}

fn value(kind: ValueKind) -> Value {
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    match kind {
        ValueKind::Text | ValueKind::RequiredText => json!({ "type": "string" }),
        ValueKind::Flag => json!({ "type": "boolean" }),
        ValueKind::Number(least, most) | ValueKind::RequiredNumber(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        ValueKind::Seconds(least, most) => json!({ "anyOf": [
            { "type": "number", "minimum": least, "maximum": most },
            { "type": "string", "pattern": "^[0-9]*\\.?[0-9]+ *m?s$" },
        ] }),
        ValueKind::Octets(most) => json!({ "anyOf": [
            { "type": "integer", "minimum": 0, "maximum": most },
            { "type": "string", "pattern": "^[0-9]+ [KMG]iB$" },
        ] }),
        ValueKind::Word(words) => json!({ "enum": words }),
        ValueKind::Texts | ValueKind::RequiredTexts => texts,
        ValueKind::TextOrTexts => json!({ "anyOf": [{ "type": "string" }, texts] }),
        ValueKind::RequiredTextsOr(word) => json!({ "anyOf": [{ "const": word }, texts] }),
        // A dotted key makes tables of tables.
        ValueKind::Map => json!({ "type": "object", "additionalProperties": { "type": ["string", "object"] } }),
        ValueKind::Table(of) => table(of),
        ValueKind::Tables(of) => json!({ "type": "array", "items": table(of) }),
        _ => json!({}),
    }
}

/// Markdown as text: without the targets of its links and without backquotes.
fn plain(markdown: &str) -> String {
    let mut text = String::with_capacity(markdown.len());
    let mut rest = markdown;
    while let Some((before, link)) = rest.split_once("](") {
        let (before, label) = before.rsplit_once('[').unwrap_or((before, ""));
        text.extend([before, label]);
        rest = link.split_once(')').map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    text.replace('`', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_text() {
        assert_eq!(plain("The [upstreams](#upstreams) of `db`, see [a](b) [c]."), "The upstreams of db, see a [c].");
    }
}
