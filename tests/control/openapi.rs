//! docs/openapi.json against what the program answers: every path, every method, every field.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use super::*;

/// The first place where a value is not what a schema says.
fn mismatch(document: &Value, schema: &Value, value: &Value, place: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.trim_start_matches('#')).expect(reference);
        return mismatch(document, schema, value, place);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let all: Vec<String> = choices.iter().filter_map(|choice| mismatch(document, choice, value, place)).collect();
        return (all.len() == choices.len()).then(|| all.join("; or "));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        other => panic!("{place}: no type in the schema: {other}"),
    };
    let is_allowed = allowed.contains(&kind) || kind == "integer" && allowed.contains(&"number");
    if !is_allowed {
        return Some(format!("{place} is of type {kind}, not {allowed:?}"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Some(format!("{place} is {value}, not one of {words:?}"));
    }
    if !schema["const"].is_null() && schema["const"] != *value {
        return Some(format!("{place} is {value}, not {}", schema["const"]));
    }
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| mismatch(document, &schema["items"], item, &format!("{place}[{index}]"))),
        Value::Object(fields) if !schema["properties"].is_null() => {
            let required = schema["required"].as_array().expect("a list");
            let missing = required.iter().filter_map(Value::as_str).find(|name| !fields.contains_key(*name));
            if let Some(name) = missing {
                return Some(format!("{place} has no {name}"));
            }
            fields.iter().find_map(|(name, value)| match &schema["properties"][name] {
                Value::Null => Some(format!("{place}.{name} is not in the schema")),
                schema => mismatch(document, schema, value, &format!("{place}.{name}")),
            })
        }
        _ => None,
    }
}

#[test]
fn every_answer_is_what_the_description_says() {
    let (program, port) = started("");
    let socket = program.control();
    let document = get(&socket, "/v1/openapi.json");
    assert_eq!(document, serde_json::from_str::<Value>(include_str!("../../docs/openapi.json")).unwrap());
    addresses(port, "db");
    addresses(port, "www.example");
    let addition =
        r#"{"network":"shop","name":"Legacy","addresses":["10.1.2.3","fd00::3"],"ttl":5,"seconds":600,"persist":true}"#;
    let calls = [
        ("GET", "/v1/openapi.json", "", 200),
        ("GET", "/v1/status", "", 200),
        ("GET", "/v1/names", "", 200),
        ("GET", "/v1/names?network=shop", "", 200),
        ("GET", "/v1/names?network=shpo", "", 404),
        ("GET", "/v1/containers", "", 200),
        ("GET", "/v1/containers?network=shop", "", 200),
        ("GET", "/v1/containers?network=shpo", "", 404),
        ("GET", "/v1/hosts", "", 200),
        ("GET", "/v1/upstreams", "", 200),
        ("GET", "/v1/cache", "", 200),
        ("GET", "/v1/cache?name=www.example", "", 200),
        ("GET", "/v1/cache?name=a..b", "", 400),
        ("GET", "/v1/cache?name=%ff", "", 400),
        ("DELETE", "/v1/cache?name=www.example", "", 200),
        ("DELETE", "/v1/cache?zone=example", "", 200),
        ("DELETE", "/v1/cache?all=yes", "", 200),
        ("DELETE", "/v1/cache", "", 400),
        ("DELETE", "/v1/cache?all=yes&zone=example", "", 400),
        ("GET", "/v1/explain?name=db&from=web", "", 200),
        ("GET", "/v1/explain?name=10.10.1.3&from=10.10.1.2", "", 200),
        ("GET", "/v1/explain?name=db&type=AAAA&from=web", "", 200),
        ("GET", "/v1/explain?name=cms&from=web&network=shop", "", 200),
        ("GET", "/v1/explain?name=worker&from=web", "", 200),
        ("GET", "/v1/explain?name=dbb.internal&from=web", "", 200),
        ("GET", "/v1/explain?name=www.example&from=web&ask=yes", "", 200),
        ("GET", "/v1/explain?name=db", "", 400),
        ("GET", "/v1/explain?name=db&from=wbe", "", 422),
        ("GET", "/v1/watch?only=everything", "", 400),
        ("GET", "/v1/watch?network=shpo", "", 404),
        ("GET", "/v1/watch?from=wbe", "", 422),
        ("POST", "/v1/added", addition, 200),
        ("POST", "/v1/added", r#"{"network":"shop","name":"x","addresses":[]}"#, 422),
        ("POST", "/v1/added", r#"{"network":"shpo","name":"x","addresses":["10.0.0.1"]}"#, 422),
        ("POST", "/v1/added", r#"{"network":"shop","name":"x","adresses":["10.0.0.1"]}"#, 400),
        ("GET", "/v1/added", "", 200),
        ("DELETE", "/v1/added?name=legacy", "", 200),
        ("DELETE", "/v1/added?name=legacy", "", 404),
        ("POST", "/v1/reload", "", 200),
        ("PUT", "/v1/log", r#"{"level":"debug"}"#, 200),
        ("PUT", "/v1/log", r#"{"level":"loud=very"}"#, 422),
    ];
    let mut seen = HashSet::from([("GET".to_owned(), "/v1/watch".to_owned())]);
    for (method, target, body, expected) in calls {
        let (status, answer) = call(&socket, method, target, body);
        assert_eq!(status, expected, "{method} {target}: {answer}");
        let path = target.split('?').next().unwrap();
        seen.insert((method.to_owned(), path.to_owned()));
        let described = &document["paths"][path][method.to_lowercase()]["responses"][status.to_string()];
        assert!(!described.is_null(), "{method} {target}: {status} is not described");
        if path != "/v1/openapi.json" {
            let schema = &described["content"]["application/json"]["schema"];
            assert_eq!(mismatch(&document, schema, &answer, path), None, "{answer:#}");
        }
    }
    let paths = document["paths"].as_object().unwrap();
    let described = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
    });
    for (method, path) in described {
        assert!(seen.contains(&(method.clone(), path.clone())), "{method} {path} was not tried");
    }
    for (method, target, status) in [("GET", "/", 404), ("GET", "/v2/status", 404), ("POST", "/v1/status", 405)] {
        let (code, answer) = call(&socket, method, target, "");
        assert_eq!(code, status, "{answer}");
        assert_eq!(mismatch(&document, &document["components"]["schemas"]["Refusal"], &answer, target), None);
    }
}

#[test]
fn what_is_watched_is_what_the_description_says() {
    let (program, port) = started("");
    let document: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    let mut stream = UnixStream::connect(program.control()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET /v1/watch HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    // The head of the reply comes when the watch is on.
    assert!(lines.by_ref().take_while(|line| !line.is_empty()).any(|line| line.ends_with("application/x-ndjson")));
    addresses(port, "db");
    addresses(port, "nothere.internal");
    let mut objects = lines.filter(|line| line.starts_with('{'));
    for name in ["db", "nothere.internal"] {
        let query: Value = serde_json::from_str(&objects.next().unwrap()).unwrap();
        let schema = &document["components"]["schemas"]["Watched"];
        assert_eq!(mismatch(&document, schema, &query, "query"), None);
        assert_eq!(query["name"], name);
    }
}
