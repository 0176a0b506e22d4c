//! What is said of a network besides where it listens and who is on it: the part of `[[network]]` that both kinds of file
//! have. It is read into steps of a builder, so that it can be said of a network that comes later, too: one of Podman's, or
//! one of Docker's.

use std::fmt;

use toml::Spanned;

use crate::table::{Clients, HealthPolicy, Merge, Network, NetworkBuilder, ReverseNames, TableError};
use crate::wire::Name;

use super::duplicate_check::DuplicateCheck;
use super::error::Problem;
use super::section::Section;
use super::{record, store};

/// The name that stands for every network of the engine.
pub(super) const ANY: &str = "*";

/// One step of a builder.
pub(super) type Step = Box<dyn Fn(NetworkBuilder) -> NetworkBuilder + Send + Sync>;

/// What a `[[network]]` says of a network that somebody else makes.
pub struct NetworkPolicy {
    name: String,
    /// Where the name stands.
    pub(super) line: usize,
    steps: Vec<Step>,
    /// What to say if there is no such network.
    absent: Problem,
}

impl NetworkPolicy {
    /// The network's name, or `*` for every network.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True if it is about every network.
    pub fn is_for_all(&self) -> bool {
        self.name == ANY
    }

    /// Lets a network be as it says.
    pub fn apply(&self, builder: NetworkBuilder) -> NetworkBuilder {
        self.steps.iter().fold(builder, |builder, step| step(builder))
    }
}

impl fmt::Debug for NetworkPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkPolicy").field("name", &self.name).field("steps", &self.steps.len()).finish()
    }
}

/// What a file adds to the networks of a container engine, in the order of the file.
#[derive(Debug, Default)]
pub struct NetworkPolicies {
    policies: Vec<NetworkPolicy>,
    /// This host's name, where networks are shared with others.
    host: Option<Name>,
}

impl NetworkPolicies {
    /// Each section.
    pub fn iter(&self) -> impl Iterator<Item = &NetworkPolicy> {
        self.policies.iter()
    }

    /// True if nothing is added to any network.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// True if others add the same, wherever they stand in their file.
    pub fn is_same(&self, other: &NetworkPolicies) -> bool {
        let added = |policy: &NetworkPolicy| {
            let network = policy.apply(Network::builder(ANY)).build().ok()?;
            let snapshot = network.snapshot();
            Some((snapshot.settings().clone(), snapshot.records().to_vec()))
        };
        let is_same =
            |(one, other): (&NetworkPolicy, &NetworkPolicy)| one.name() == other.name() && added(one) == added(other);
        let count = self.policies.len();
        self.host == other.host && count == other.policies.len() && self.iter().zip(other.iter()).all(is_same)
    }

    /// What to say of those whose network is not there.
    pub fn unmatched(&self, exists: impl Fn(&str) -> bool) -> Vec<Problem> {
        let unmatched = self.iter().filter(|policy| !policy.is_for_all() && !exists(policy.name()));
        unmatched.map(|policy| policy.absent.clone()).collect()
    }

    /// Adds to a network what the file says of every network, then what it says of this one.
    pub fn apply(&self, network: &str, builder: NetworkBuilder) -> NetworkBuilder {
        let of_all = self.iter().filter(|policy| policy.is_for_all());
        let of_this = self.iter().filter(|policy| !policy.is_for_all() && policy.name() == network);
        let builder = of_all.chain(of_this).fold(builder, |builder, policy| policy.apply(builder));
        builder.edit_sharing(|sharing| sharing.host = self.host.clone())
    }

    pub(super) fn new(policies: Vec<NetworkPolicy>) -> NetworkPolicies {
        NetworkPolicies { policies, host: None }
    }

    /// Says what this host is called where networks are shared.
    pub(super) fn name_host(&mut self, host: &Name) {
        self.host = Some(host.clone());
    }
}

/// Reads a section that adds to a network of an engine. `names` are those of the file's sections so far.
pub(super) fn read(section: &Section<'_>, names: &mut DuplicateCheck<String>, engine: &str) -> Option<NetworkPolicy> {
    let steps = steps(section);
    let name = section.required("name")?;
    let text = (*name.get_ref()).to_owned();
    if let Err(known) = names.add(text.clone(), section.line(&name.span())) {
        section.problem(&name.span(), format!("network {text:?} is here already (line {known}); say all of it there"));
    }
    if text.is_empty() {
        let message = format!("write the network's name as {engine} has it, or name = \"*\" for every network");
        section.problem(&name.span(), message);
    }
    let absent = section.note(&name.span(), format!("{engine} has no network {text:?}, so this adds to nothing"));
    Some(NetworkPolicy { name: text, line: section.line(&name.span()), steps, absent })
}

/// Everything that a section says, in steps that do not fail: what is wrong with a part is told at its own place, and the
/// part left out.
pub(super) fn steps(section: &Section<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    texts(section, &mut steps);
    choices(section, &mut steps);
    store::steps(section, &mut steps);
    let records = record::read(section);
    if !records.is_empty() {
        steps.push(Box::new(move |builder| records.iter().cloned().fold(builder, NetworkBuilder::record)));
    }
    steps
}

/// A way in which the table reads one text of a list.
type Add = fn(NetworkBuilder, &str) -> NetworkBuilder;
/// What a list replaces of a network that has one already.
type Clear = fn(NetworkBuilder) -> NetworkBuilder;

/// The keys whose values are lists of texts.
fn texts(section: &Section<'_>, steps: &mut Vec<Step>) {
    let lists: [(&str, Add, Clear); 5] = [
        ("subnets", |builder, text| builder.subnet(text), |builder| builder),
        ("gateways", |builder, text| builder.gateway(text), |builder| builder),
        ("domains", |builder, text| builder.domain(text), |builder| builder),
        ("allow", |builder, text| builder.allow(text), NetworkBuilder::without_allow),
        ("upstreams", |builder, text| builder.upstream(text), NetworkBuilder::without_upstreams),
    ];
    for (key, add, clear) in lists {
        let texts = section.list_of_some(key, "leave it out for the default", |text| alone(text, add));
        if !texts.is_empty() {
            let texts: Vec<String> = texts.into_iter().map(Spanned::into_inner).collect();
            steps.push(Box::new(move |builder| texts.iter().fold(clear(builder), |builder, text| add(builder, text))));
        }
    }
    if section.value("host_names").is_some() {
        // None at all turns them off (answers.md N10).
        let names = section.list("host_names", |text| alone(text, |builder, name| builder.host_names([name])));
        let names: Vec<String> = names.into_iter().map(Spanned::into_inner).collect();
        steps.push(Box::new(move |builder| builder.host_names(&names)));
    }
}

/// The table's own reading of one text, alone, so that its error belongs to the text's line.
fn alone(text: &str, add: Add) -> Result<String, TableError> {
    add(Network::builder("alone"), text).build().map(|_| text.to_owned())
}

fn choices(section: &Section<'_>, steps: &mut Vec<Step>) {
    if let Some(internal) = section.flag("internal") {
        steps.push(Box::new(move |builder| builder.internal(internal)));
    }
    if let Some(ttl) = section.ttl("ttl") {
        steps.push(Box::new(move |builder| builder.ttl(ttl)));
    }
    if let Some(ttl) = section.ttl("negative_ttl") {
        steps.push(Box::new(move |builder| builder.negative_ttl(ttl)));
    }
    if let Some(clients) = section.choice(
        "clients",
        &[("identify", Clients::Identify), ("listener", Clients::Listener), ("table", Clients::Table)],
    ) {
        steps.push(Box::new(move |builder| builder.clients(clients)));
    }
    if let Some(merge) = section.choice("merge", &[("nearest", Merge::Nearest), ("all", Merge::All)]) {
        steps.push(Box::new(move |builder| builder.merge(merge)));
    }
    let names = [("canonical", ReverseNames::Canonical), ("all", ReverseNames::All)];
    if let Some(names) = section.choice("ptr", &names) {
        steps.push(Box::new(move |builder| builder.reverse_names(names)));
    }
    let policies =
        [("prefer", HealthPolicy::Prefer), ("ignore", HealthPolicy::Ignore), ("require", HealthPolicy::Require)];
    if let Some(policy) = section.choice("health", &policies) {
        steps.push(Box::new(move |builder| builder.health(policy)));
    }
    if let Some(hold) = section.seconds("hold") {
        steps.push(Box::new(move |builder| builder.hold(hold)));
    }
}
