//! `[[network.record]]` and `[network.aliases]`: what a network's names have besides endpoints.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::table::{Record, TableError};
use crate::wire::rtype;

use super::duplicate_check::DuplicateCheck;
use super::schema::RECORD;
use super::section::{Section, kind};

/// A name has fewer labels than this: more dotted keys in a row are no name.
const TOO_MANY_LABELS: usize = 128;

/// The records of a network, the aliases among them.
pub(super) fn read(network: &Section<'_>) -> Vec<Record> {
    let mut aliases = DuplicateCheck::default();
    let mut records = Vec::new();
    let mut take = |at: &Range<usize>, record: Option<Record>| {
        let Some(record) = record else { return };
        if record.rtype() == rtype::CNAME
            && let Err(known) = aliases.add(record.name().clone(), network.line(at))
        {
            let name = record.name();
            let message = format!("`{name}` is an alias already (line {known}); write one target for it");
            return network.problem(at, message);
        }
        records.push(record);
    };
    for section in network.tables("record", &RECORD) {
        let (at, record) = static_record(&section);
        take(&at, record);
    }
    if let Some(table) = network.free_table("aliases") {
        for_each_alias(network, table, &mut Vec::new(), &mut |name, target| {
            let at = target.span();
            match Record::parse(name, "CNAME", target.get_ref(), None) {
                Ok(record) => take(&at, Some(record)),
                Err(TableError::Record { reason, .. }) => network.problem(&at, format!("alias \"{name}\": {reason}")),
                Err(error) => network.problem(&at, format!("{error}; write payments = \"payments.example.com\"")),
            }
        });
    }
    records
}

/// A record, and where its value stands.
fn static_record(section: &Section<'_>) -> (Range<usize>, Option<Record>) {
    let [name, kind, value] = ["name", "type", "value"].map(|key| section.required(key));
    let ttl = section.ttl("ttl");
    let (Some(name), Some(kind), Some(value)) = (name, kind, value) else { return (section.at().clone(), None) };
    // Each part is read with the others known to be good, so that an error belongs to the part's own line.
    let name_is_good =
        section.check("name", &name.span(), Record::parse(name.get_ref(), "A", "192.0.2.1", None)).is_some();
    let good_name = if name_is_good { *name.get_ref() } else { "name" };
    let at = if rtype::parse(kind.get_ref()).is_some() { value.span() } else { kind.span() };
    let record = section.check("value", &at, Record::parse(good_name, kind.get_ref(), value.get_ref(), ttl));
    (at, record.filter(|_| name_is_good))
}

/// Calls `visit` with each alias: a name, and its target. `db.prod = "…"` makes a table of a table in TOML, and is meant as
/// the name `db.prod`.
fn for_each_alias<'t>(
    network: &Section<'_>,
    table: &'t DeTable<'t>,
    labels: &mut Vec<&'t str>,
    visit: &mut impl FnMut(&str, Spanned<&'t str>),
) {
    for (key, value) in table {
        labels.push(key.get_ref());
        match value.get_ref() {
            DeValue::String(target) => visit(&labels.join("."), Spanned::new(value.span(), target)),
            DeValue::Table(table) if labels.len() < TOO_MANY_LABELS => for_each_alias(network, table, labels, visit),
            other => {
                let message = format!(
                    "the target of an alias cannot be {}; write {} = \"db.example.com\"",
                    kind(other),
                    labels.join(".")
                );
                network.problem(&value.span(), message);
            }
        }
        labels.pop();
    }
}
