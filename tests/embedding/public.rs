//! The public items of the library, as rustdoc sees them: what an embedder builds on stays what it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Crates whose types may be in signatures: std, and `ipnet` for `IpNet`, which is re-exported.
const CRATES: [&str; 4] = ["std", "core", "alloc", "ipnet"];

/// What goes over the control socket is JSON by serde, with the names of openapi.json, which a test of its own holds.
const CONTROL: &str = "control::";

/// Types that others may take apart or make by hand, for good.
const CLOSED: [(&str, &str); 14] = [
    ("responder::Verdict", "whoever drives a responder does something for each"),
    ("wire::message::Section", "a message has no other (RFC 1035 §4.1)"),
    ("wire::message::Header", "12 octets (RFC 1035 §4.1.1)"),
    ("wire::message::Malformed", "it says all there is to say"),
    ("wire::reply::FailureReply", "made by hand"),
    ("wire::reply::ReplyEdns", "made by hand"),
    ("wire::relay::Asked", "made by hand"),
    ("wire::relay::AskedEdns", "made by hand"),
    ("forward::Asked", "the same"),
    ("forward::AskedEdns", "the same"),
    ("forward::Question", "made by hand"),
    ("settings::ForwardOptions", "made by hand, with ..Default::default()"),
    ("settings::Route", "made by hand"),
    ("forward::Route", "the same"),
];

/// rustdoc's JSON, and the public paths of each item.
struct Api {
    json: Value,
    paths: BTreeMap<String, BTreeSet<String>>,
}

impl Api {
    /// `None` where rustdoc cannot make it.
    fn read() -> Option<Api> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        // A directory of its own: what else is built knows nothing of RUSTC_BOOTSTRAP.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rustdoc-json");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(root).env("RUSTC_BOOTSTRAP", "1").args(["rustdoc", "--lib", "--all-features", "--offline"]);
        cargo.arg("--target-dir").arg(&target).args(["--", "-Zunstable-options", "--output-format", "json"]);
        let output = cargo.output().ok()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            crate::support::needs::skip(
                "rustdoc's JSON",
                &format!("the public items: {}", text.lines().last().unwrap_or_default()),
            );
            return None;
        }
        let json = std::fs::read_to_string(target.join("doc/callsign.json")).unwrap();
        let mut api = Api { json: serde_json::from_str(&json).unwrap(), paths: BTreeMap::new() };
        let root = api.json["root"].to_string();
        api.walk(&root, "");
        Some(api)
    }

    fn item(&self, id: &str) -> &Value {
        &self.json["index"][id]
    }

    fn walk(&mut self, module: &str, path: &str) {
        let items = self.item(module)["inner"]["module"]["items"].as_array().cloned().unwrap_or_default();
        for id in items.iter().map(Value::to_string) {
            let item = self.item(&id);
            let named = |name: &Value| format!("{path}{}", name.as_str().unwrap_or_default());
            if item["attrs"].to_string().contains("doc(hidden)") {
                continue;
            }
            if !item["inner"]["module"].is_null() {
                let path = named(&item["name"]) + "::";
                self.walk(&id, &path);
            } else if !item["inner"]["use"].is_null() {
                let import = &item["inner"]["use"];
                let (id, path) = (import["id"].to_string(), named(&import["name"]));
                self.paths.entry(id).or_default().insert(path);
            } else if item["name"].is_string() {
                let path = named(&item["name"]);
                self.paths.entry(id).or_default().insert(path);
            }
        }
    }

    /// The crate of an item that is not ours.
    fn foreign(&self, id: &Value) -> Option<&str> {
        let number = self.json["paths"][id.to_string()]["crate_id"].as_u64().filter(|&number| number > 0)?;
        self.json["external_crates"][number.to_string()]["name"].as_str()
    }

    /// Notes the crates of all types in a part of a signature.
    fn crates<'a>(&'a self, part: &'a Value, place: &str, found: &mut BTreeSet<(String, &'a str)>) {
        match part {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let named = match key.as_str() {
                        "resolved_path" => value.get("id"),
                        "trait_bound" => value["trait"].get("id"),
                        _ => None,
                    };
                    if let Some(name) = named.and_then(|id| self.foreign(id)) {
                        found.insert((place.to_owned(), name));
                    }
                    self.crates(value, place, found);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.crates(value, place, found)),
            _ => {}
        }
    }

    /// The same of an item and all that is public in it.
    fn signatures<'a>(&'a self, id: &Value, place: &str, found: &mut BTreeSet<(String, &'a str)>) {
        let item = self.item(&id.to_string());
        if item.is_null() || !matches!(item["visibility"].as_str(), Some("public" | "default")) {
            return;
        }
        let place = format!("{place}::{}", item["name"].as_str().unwrap_or("_"));
        let Some((kind, inner)) = item["inner"].as_object().and_then(|inner| inner.iter().next()) else { return };
        let within = |list: &Value, found: &mut _| {
            list.as_array().into_iter().flatten().for_each(|id| self.signatures(id, &place, found));
        };
        match kind.as_str() {
            "struct" => {
                within(&inner["kind"]["plain"]["fields"], found);
                within(&inner["kind"]["tuple"], found);
            }
            "enum" => within(&inner["variants"], found),
            "variant" => {
                within(&inner["kind"]["tuple"], found);
                within(&inner["kind"]["struct"]["fields"], found);
            }
            "trait" => within(&inner["items"], found),
            _ => self.crates(inner, &place, found),
        }
        self.crates(&inner["generics"], &place, found);
        for id in inner["impls"].as_array().into_iter().flatten() {
            let block = &self.item(&id.to_string())["inner"]["impl"];
            let is_ours = block["is_synthetic"] == false && block["blanket_impl"].is_null();
            if is_ours && block["trait"].is_null() {
                within(&block["items"], found);
            } else if is_ours {
                self.crates(&block["trait"], &place, found);
                if let Some(name) = self.foreign(&block["trait"]["id"]) {
                    found.insert((place.clone(), name));
                }
            }
        }
    }

    /// True if nobody outside can name all that it consists of.
    fn is_open(&self, id: &str) -> bool {
        let item = self.item(id);
        let kind = &item["inner"]["struct"]["kind"];
        let has_private = kind["plain"]["has_stripped_fields"] == true
            || kind["tuple"].as_array().is_some_and(|fields| fields.iter().any(Value::is_null));
        has_private || item["attrs"].to_string().contains("non_exhaustive")
    }
}

#[test]
fn public_items_have_one_name_no_foreign_types_and_room_to_grow() {
    let Some(api) = Api::read() else { return };
    let mut wrong = Vec::new();
    let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut seen_closed = BTreeSet::new();
    for (id, paths) in &api.paths {
        let kind = &api.item(id)["inner"];
        let is_control = paths.iter().all(|path| path.starts_with(CONTROL));
        let is_type = ["struct", "enum", "trait", "union", "type_alias"].iter().any(|name| !kind[*name].is_null());
        if is_type {
            for path in paths.iter().filter(|path| !path.starts_with("control::shapes::")) {
                named.entry(path.rsplit("::").next().unwrap()).or_default().insert(id);
            }
            let closed = CLOSED.iter().find(|(path, _)| paths.contains(*path));
            seen_closed.extend(CLOSED.iter().map(|(path, _)| *path).filter(|path| paths.contains(*path)));
            let is_closed = ["struct", "enum"].iter().any(|name| !kind[*name].is_null()) && !api.is_open(id);
            if is_closed && closed.is_none() && !is_control {
                wrong.push(format!("{paths:?} is neither non_exhaustive nor built"));
            }
        }
        let mut found = BTreeSet::new();
        let number: Value = id.parse::<u64>().unwrap().into();
        api.signatures(&number, paths.first().unwrap().rsplit_once("::").map_or("", |(path, _)| path), &mut found);
        for (place, name) in found {
            let is_allowed = CRATES.contains(&name) || is_control && name.starts_with("serde");
            if !is_allowed {
                wrong.push(format!("{place} has a type or trait of {name} in its signature"));
            }
        }
    }
    for (name, ids) in named.into_iter().filter(|(_, ids)| ids.len() > 1) {
        let places: Vec<_> = ids.iter().map(|id| &api.paths[*id]).collect();
        wrong.push(format!("{name} is several types: {places:?}"));
    }
    assert!(api.paths.len() > 100, "rustdoc's JSON has another form than this test reads");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unused: Vec<_> = CLOSED.iter().filter(|(path, _)| !seen_closed.contains(path)).collect();
    assert!(unused.is_empty(), "no longer there: {unused:?}");
}
