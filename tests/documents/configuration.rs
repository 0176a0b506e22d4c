//! docs/configuration.md and the JSON Schema of `callsign schema` say what the reader of the file does.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use callsign::source::config::schema::{KeySchema, TableSchema, ValueKind, callsign_toml, podman_toml};
use callsign::source::config::{Config, PodmanConfig};
use jsonschema::Validator;
use serde_json::Value;

use crate::{ROOT, documents, files, read};

const BEGIN: &str = "<!-- written by `callsign schema --format markdown` -->\n";
const END: &str = "<!-- until here -->";

fn schema(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_callsign")).arg("schema").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn validator(arguments: &[&str]) -> Validator {
    let schema: Value = serde_json::from_str(&schema(arguments)).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

/// A TOML text as JSON, if it is one.
fn json(toml: &str) -> Option<Value> {
    toml::from_str(toml).ok()
}

/// What a validator finds wrong with a text that the reader takes.
fn mistakes(validator: &Validator, toml: &str) -> Vec<String> {
    let json = json(toml).expect("the reader has read it");
    validator.iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The page is made anew by `BLESS=1 cargo test --test documents configuration`.
#[test]
fn the_configuration_page_is_that_of_the_schema() {
    let page = read("docs/configuration.md");
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (tables, after) = rest.split_once(END).unwrap();
    let current = schema(&["--format", "markdown"]);
    if env::var_os("BLESS").is_some() {
        fs::write(Path::new(ROOT).join("docs/configuration.md"), [before, BEGIN, &current, END, after].concat())
            .unwrap();
    } else {
        assert!(
            tables == current,
            "docs/configuration.md is stale: run BLESS=1 cargo test --test documents configuration"
        );
    }
}

/// Raw strings of a Rust file: `r#"…"#`.
fn raw_strings(rust: &str) -> impl Iterator<Item = &str> {
    rust.split("r#\"").skip(1).filter_map(|rest| rest.split_once("\"#")).map(|(text, _)| text)
}

/// The texts of a page's `toml` blocks.
fn toml_blocks(page: &str) -> impl Iterator<Item = &str> {
    page.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```")).map(|(text, _)| text)
}

/// Every configuration of the examples, the documents, the tests and the fuzzers that the reader takes is valid by the schema.
#[test]
fn what_the_reader_takes_is_valid_by_the_schema() {
    let (callsign, podman) = (validator(&[]), validator(&["--podman"]));
    let (mut counts, mut wrong) = ([0, 0], Vec::new());
    let mut look = |path: &str, text: &str| {
        let is_podman = PodmanConfig::parse(text, path).is_ok();
        for (index, (takes, validator)) in
            [(Config::parse(text, path).is_ok(), &callsign), (is_podman, &podman)].into_iter().enumerate()
        {
            if takes && json(text).is_some_and(|json| json.as_object().is_some_and(|table| !table.is_empty())) {
                counts[index] += 1;
                wrong.extend(mistakes(validator, text).iter().map(|mistake| format!("{path}: {mistake}\n{text}")));
            }
        }
    };
    for path in ["examples", "contrib", "tests", "fuzz/corpus/config"].into_iter().flat_map(files) {
        let Ok(text) = fs::read_to_string(Path::new(ROOT).join(&path)) else { continue };
        match Path::new(&path).extension().and_then(|extension| extension.to_str()) {
            Some("rs") => raw_strings(&text).for_each(|text| look(&path, text)),
            _ => look(&path, &text),
        }
    }
    for page in documents() {
        toml_blocks(&read(&page)).for_each(|block| look(&page, block));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(counts[0] > 20 && counts[1] > 5, "{counts:?}");
}

/// A text with one key of a table set to a value, in a file that is valid otherwise.
fn with(path: &[(&'static str, bool)], key: &str, value: &str) -> String {
    let mut text = String::new();
    let mut heading = String::new();
    for (name, is_list) in path {
        heading.push_str(if heading.is_empty() { "" } else { "." });
        heading.push_str(name);
        // What is needed in each.
        let needed: &[(&str, &str)] = match *name {
            "network" => &[("name", "\"n\"")],
            "endpoint" => &[("id", "\"e\""), ("addresses", "[\"10.0.0.2\"]")],
            "record" => &[("name", "\"r\""), ("type", "\"TXT\""), ("value", "\"v\"")],
            "forward" => &[("domain", "\"f\""), ("to", "[]")],
            "ports" => &[("port", "1")],
            "store" => &[
                ("etcd", "[\"https://10.0.0.1:2379\"]"),
                ("cert", "\"/c\""),
                ("key", "\"/k\""),
                ("user", "\"u\""),
                ("password_file", "\"/p\""),
            ],
            _ => &[],
        };
        text.push_str(&if *is_list { format!("[[{heading}]]\n") } else { format!("[{heading}]\n") });
        let is_last = heading == path.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(".");
        for (needed, value) in needed.iter().filter(|(needed, _)| !(is_last && *needed == key)) {
            text.push_str(&format!("{needed} = {value}\n"));
        }
    }
    text + &format!("{key} = {value}\n")
}

/// Values that a kind does not have.
fn wrong_values(kind: ValueKind) -> Vec<String> {
    let bounds =
        |least: f64, most: f64| vec![format!("{:.3}", least - 1.0), format!("{:.3}", most + 1.0), "true".to_owned()];
    match kind {
        ValueKind::Text | ValueKind::RequiredText => vec!["1".to_owned(), "[]".to_owned()],
        ValueKind::Flag => vec!["1".to_owned(), "\"true\"".to_owned()],
        ValueKind::Number(least, most) | ValueKind::RequiredNumber(least, most) => {
            vec![(least - 1).to_string(), (most + 1).to_string(), "\"1\"".to_owned(), "1.5".to_owned()]
        }
        ValueKind::Seconds(least, most) => bounds(least, most),
        ValueKind::Octets(most) => vec!["-1".to_owned(), (most + 1).to_string(), "\"16 MB\"".to_owned()],
        ValueKind::Word(_) => vec!["\"nonsense\"".to_owned(), "1".to_owned()],
        ValueKind::Texts | ValueKind::RequiredTexts => vec!["\"one\"".to_owned(), "[1]".to_owned()],
        ValueKind::TextOrTexts => vec!["1".to_owned(), "[1]".to_owned()],
        ValueKind::RequiredTextsOr(_) => vec!["\"one\"".to_owned(), "[1]".to_owned(), "1".to_owned()],
        ValueKind::Map => vec!["1".to_owned(), "{ a = 1 }".to_owned()],
        ValueKind::Table(_) => vec!["1".to_owned(), "{ nonsense = 1 }".to_owned()],
        ValueKind::Tables(_) => vec!["1".to_owned(), "[{ nonsense = 1 }]".to_owned()],
        kind => panic!("no wrong value for {kind:?}"),
    }
}

/// Calls `visit` with each key and the tables that lead to it.
fn each_key(
    table: &TableSchema,
    path: &mut Vec<(&'static str, bool)>,
    visit: &mut impl FnMut(&[(&'static str, bool)], &KeySchema),
) {
    for key in table.own_keys() {
        visit(path, key);
        if let ValueKind::Table(of) | ValueKind::Tables(of) = key.value {
            path.push((key.name, matches!(key.value, ValueKind::Tables(_))));
            each_key(of, path, visit);
            path.pop();
        }
    }
}

/// Each key's example is right for both; wrong kinds, values out of bounds, keys that are not known and keys that are missing
/// are wrong for both.
#[test]
fn the_reader_and_the_schema_refuse_the_same_forms() {
    for (root, arguments) in [(callsign_toml(), &[][..]), (podman_toml(), &["--podman"])] {
        let validator = validator(arguments);
        let is_podman = !arguments.is_empty();
        let reads = |text: &str| match is_podman {
            true => PodmanConfig::parse(text, "test").is_ok(),
            false => Config::parse(text, "test").is_ok(),
        };
        let is_valid = |text: &str| validator.is_valid(&json(text).unwrap_or_else(|| panic!("{text}")));
        let mut count = 0;
        each_key(root, &mut Vec::new(), &mut |path, key| {
            if let Some((name, value)) = key.example.split_once(" = ") {
                assert_eq!(name, key.name);
                let text = with(path, key.name, value);
                assert!(reads(&text) && is_valid(&text), "the example of `{}`:\n{text}", key.name);
            }
            for value in wrong_values(key.value) {
                let text = with(path, key.name, &value);
                assert!(!reads(&text), "the reader takes\n{text}");
                assert!(!is_valid(&text), "the schema takes\n{text}");
                count += 1;
            }
            if key.value.is_required() && !path.is_empty() {
                let text = with(path, key.name, "1").replace(&format!("{} = 1\n", key.name), "");
                assert!(!reads(&text) && !is_valid(&text), "`{}` is missing:\n{text}", key.name);
            }
        });
        let text = with(&[("server", false)], "nonsense", "1");
        assert!(!reads(&text) && !is_valid(&text));
        assert!(count > 100, "{count}");
    }
}
