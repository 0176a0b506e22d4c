//! `callsign cache`: what is kept of upstreams' answers.

use std::process::ExitCode;

use callsign::control::client::Call;
use callsign::control::shapes::{Cache, Flushed};

use super::arguments::{self, CacheCommand, What};
use super::text::{Style, Table, number};
use super::{show, state};

pub(in crate::cli) fn run(arguments: &arguments::Cache) -> ExitCode {
    match &arguments.command {
        CacheCommand::Show { name, target } => {
            show::<Cache>(target, &Call::get("/v1/cache").with("name", name.as_ref()), |cache, style| {
                (table(cache, style), 0)
            })
        }
        CacheCommand::Flush(flush) => {
            let What { name, zone, all } = &flush.what;
            let call = Call::delete("/v1/cache")
                .with("name", name.as_ref())
                .with("zone", zone.as_ref())
                .with("all", all.then_some("yes"));
            show::<Flushed>(&flush.target, &call, |flushed, _| {
                let answers = if flushed.removed == 1 { "answer" } else { "answers" };
                (format!("{} {answers} flushed\n", number(flushed.removed as u64)), 0)
            })
        }
    }
}

fn table(cache: &Cache, style: Style) -> String {
    if cache.entries.is_empty() {
        return "nothing is cached\n".to_owned();
    }
    let mut table = Table::new(style, &["name", "type", "state", "for", "answer"]);
    for entry in &cache.entries {
        let left = if entry.ttl >= 0 { format!("{} s", entry.ttl) } else { format!("over for {} s", -entry.ttl) };
        let answer = if entry.answers.is_empty() { entry.rcode.clone() } else { entry.answers.join(", ") };
        table.row([
            entry.name.clone().into(),
            entry.rtype.clone().into(),
            state(&entry.state, style),
            left.into(),
            answer.into(),
        ]);
    }
    let mut text = table.text();
    if cache.matching > cache.entries.len() {
        text.push_str(&format!("and {} more\n", number((cache.matching - cache.entries.len()) as u64)));
    }
    text
}
