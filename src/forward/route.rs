//! Which servers a question goes to (answers.md F2), before any of our own addresses are left out of them.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::cache::CachePolicy;
use super::request::QueryOptions;
use super::resolv_conf::{NameServers, ResolvConf, SystemOptions};
use crate::settings::Upstream;
use crate::settings::{Destination, ForwardOptions, Unanswered, Upstreams};
use crate::wire::Name;

/// The servers for a question, and the rule that named them. `Display` says it for people:
/// `route corp.example: 10.0.0.53:53`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Choice {
    /// The rule.
    pub reason: Reason,
    /// The servers in the order to be asked; empty if blocked, or if there is none that may be asked.
    pub servers: Arc<[Upstream]>,
    /// What the file says about asking them, if it is a resolv.conf that names them.
    pub system: Option<SystemOptions>,
}

impl Choice {
    /// True if the AD bit of these servers' replies is passed on. Servers that are configured here are trusted as they
    /// are; for those of a resolv.conf, and the way to them, its `trust-ad` says so (resolv.conf(5)).
    pub(super) fn trusts_ad(&self) -> bool {
        self.system.is_none_or(|system| system.trust_ad)
    }
}

/// The rule that named the servers for a question (answers.md F2).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The route of this domain.
    Route(Arc<Name>),
    /// The route of this domain, which leads nowhere.
    Blocked(Arc<Name>),
    /// The client's endpoint or its networks have servers of their own.
    Preferred,
    /// The default: the name servers of this file.
    System(Arc<Path>),
    /// The default: the servers listed in the options.
    Listed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Route(domain) | Reason::Blocked(domain) => write!(f, "route {domain}"),
            Reason::Preferred => f.write_str("upstreams of the endpoint or its networks"),
            Reason::System(path) => write!(f, "{}", path.display()),
            Reason::Listed => f.write_str("default upstreams"),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.reason)?;
        if let Reason::Blocked(_) = self.reason {
            return f.write_str("blocked");
        }
        for (index, server) in self.servers.iter().enumerate() {
            write!(f, "{}{server}", if index > 0 { ", " } else { "" })?;
        }
        if self.servers.is_empty() { f.write_str("no upstream") } else { Ok(()) }
    }
}

/// The options in the form that questions are looked up in.
#[derive(Debug)]
pub(super) struct CompiledOptions {
    /// How a question is asked.
    pub(super) query: QueryOptions,
    pub(super) rules: CachePolicy,
    pub(super) stale_after: Duration,
    pub(super) in_flight: usize,
    pub(super) unanswered: Unanswered,
    fallback: Fallback,
    routes: HashMap<Name, (Arc<Name>, Destination), foldhash::fast::RandomState>,
}

/// The default servers, at hand.
#[derive(Debug)]
enum Fallback {
    System(Arc<ResolvConf>),
    List(Arc<[Upstream]>),
}

impl CompiledOptions {
    /// From options; what `previous` has read of the same resolv.conf is kept.
    pub(super) fn new(options: ForwardOptions, previous: Option<&CompiledOptions>) -> CompiledOptions {
        let query =
            QueryOptions { timeout: options.timeout, order: options.order, randomize_case: options.case_randomization };
        let rules = CachePolicy::new(&options);
        let fallback = match options.upstreams {
            Upstreams::List(list) => Fallback::List(distinct(list.iter())),
            Upstreams::System(path) => {
                let known = match previous {
                    Some(CompiledOptions { fallback: Fallback::System(system), .. }) if *system.path == path => {
                        (**system.known()).clone()
                    }
                    _ => NameServers::default(),
                };
                Fallback::System(Arc::new(ResolvConf::follow(path.into(), options.recheck, known)))
            }
        };
        let routes = options.routes.into_iter().map(|route| {
            let to = match route.to {
                Destination::Servers(servers) => Destination::Servers(distinct(servers.iter())),
                to => to,
            };
            (route.domain.clone(), (Arc::new(route.domain), to))
        });
        CompiledOptions {
            query,
            rules,
            stale_after: options.stale_after,
            in_flight: options.in_flight,
            unanswered: options.unanswered,
            fallback,
            routes: routes.collect(),
        }
    }

    /// See [`Forwarder::choose`](super::Forwarder::choose).
    pub(super) fn choose(&self, name: &[u8], preferred: &[Arc<[Upstream]>]) -> Choice {
        if let Some((domain, to)) = self.route(name) {
            return match to {
                Destination::Servers(servers) if servers.is_empty() => {
                    Choice { reason: Reason::Blocked(domain.clone()), servers: servers.clone(), system: None }
                }
                Destination::Servers(servers) => {
                    Choice { reason: Reason::Route(domain.clone()), servers: servers.clone(), system: None }
                }
                Destination::System => Choice { reason: Reason::Route(domain.clone()), ..self.fallback() },
            };
        }
        let mut lists = preferred.iter().filter(|list| !list.is_empty());
        match (lists.next(), lists.next()) {
            (None, _) => self.fallback(),
            (Some(only), None) => Choice { reason: Reason::Preferred, servers: only.clone(), system: None },
            _ => {
                let servers = distinct(preferred.iter().flat_map(|list| list.iter()));
                Choice { reason: Reason::Preferred, servers, system: None }
            }
        }
    }

    /// Lets the resolv.conf that named these servers be looked at by the next question: they do not answer.
    pub(super) fn recheck(&self, choice: &Choice) {
        if let (Fallback::System(system), Some(_)) = (&self.fallback, choice.system) {
            system.look_again();
        }
    }

    /// All lists of servers that stand in the options.
    pub(super) fn configured(&self) -> impl Iterator<Item = Arc<[Upstream]>> {
        let routes = self.routes.values().filter_map(|(_, to)| match to {
            Destination::Servers(servers) => Some(servers.clone()),
            Destination::System => None,
        });
        routes.chain([self.fallback().servers])
    }

    /// The route of the longest domain that `name` is below: its suffixes are looked up from the longest.
    fn route(&self, name: &[u8]) -> Option<&(Arc<Name>, Destination)> {
        if self.routes.is_empty() {
            return None;
        }
        let mut suffix = name;
        loop {
            if let Some(route) = self.routes.get(suffix) {
                return Some(route);
            }
            let &label = suffix.first().filter(|&&label| label > 0)?;
            suffix = suffix.get(1 + label as usize..)?;
        }
    }

    fn fallback(&self) -> Choice {
        match &self.fallback {
            Fallback::System(system) => {
                let read = system.refresh();
                let (servers, options) = (read.servers.clone(), Some(read.options));
                Choice { reason: Reason::System(system.path.clone()), servers, system: options }
            }
            Fallback::List(servers) => Choice { reason: Reason::Listed, servers: servers.clone(), system: None },
        }
    }
}

/// Each server once, where it first stands.
pub(super) fn distinct<'a>(servers: impl Iterator<Item = &'a Upstream>) -> Arc<[Upstream]> {
    let mut once: Vec<Upstream> = Vec::new();
    for server in servers {
        if !once.contains(server) {
            once.push(server.clone());
        }
    }
    once.into()
}
