//! `[[forward]]`.

use toml::Spanned;
use toml::de::DeValue;

use crate::settings::{Destination, Route, Upstream};
use crate::table::spellings;
use crate::wire::Name;

use super::duplicate_check::DuplicateCheck;
use super::schema::FORWARD;
use super::section::{Section, kind};

/// The three ways to write `to`.
const WAYS: &str = "to = [\"10.0.0.53\"], to = \"system\" for the default servers, or to = [] to block the names";

pub(super) fn read(root: &Section<'_>) -> Vec<Route> {
    let mut domains = DuplicateCheck::default();
    let sections = root.tables("forward", &FORWARD);
    sections.iter().flat_map(|section| route(section, &mut domains)).collect()
}

/// The route, once for each spelling of its domain (answers.md N12).
fn route(section: &Section<'_>, domains: &mut DuplicateCheck<Name>) -> Vec<Route> {
    let to = target(section);
    let Some(text) = section.required("domain") else { return Vec::new() };
    let names = section.check("domain", &text.span(), spellings(text.get_ref())).unwrap_or_default();
    if let Some(domain) = names.first()
        && let Err(line) = domains.add(domain.clone(), section.line(&text.span()))
    {
        section.problem(&text.span(), format!("`{domain}` has a route already (line {line}); write one for it"));
    }
    let Some(to) = to else { return Vec::new() };
    names.into_iter().map(|domain| Route { domain, to: to.clone() }).collect()
}

fn target(section: &Section<'_>) -> Option<Destination> {
    let Some(value) = section.value("to") else {
        section.problem(section.at(), format!("[[forward]] has no `to`; write {WAYS}"));
        return None;
    };
    match value.get_ref() {
        DeValue::String(word) if word == "system" => Some(Destination::System),
        DeValue::String(word) => {
            section.problem(&value.span(), format!("`to` is {word:?}; write {WAYS}"));
            None
        }
        DeValue::Array(_) => {
            let servers = section.list("to", str::parse::<Upstream>);
            Some(Destination::Servers(servers.into_iter().map(Spanned::into_inner).collect()))
        }
        other => {
            section.problem(&value.span(), format!("`to` cannot be {}; write {WAYS}", kind(other)));
            None
        }
    }
}
