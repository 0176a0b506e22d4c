//! The other hosts, and the store that connects them, in the shapes and in metrics.

use std::collections::BTreeMap;

use crate::settings::{ClaimStatus, HostState, HostStatus, LinkStatus, StoreStatus};

use super::metrics::{Family, seconds_since_1970};
use super::shapes::{self, VERSION};
use super::time;

/// The states, each with the count of hosts that are so.
fn by_state(store: &StoreStatus) -> impl Iterator<Item = (HostState, usize)> {
    use HostState::{Held, Leaving, Live, Lost, Missing};
    let count = |state| store.hosts.values().filter(|host| host.state == state).count();
    [Live, Missing, Held, Lost, Leaving].into_iter().map(move |state| (state, count(state)))
}

/// How the store stands.
pub(super) fn store(store: &StoreStatus) -> shapes::Store {
    let (link, since, error) = match &store.link {
        LinkStatus::Starting => ("starting", None, None),
        LinkStatus::Live { since } => ("live", Some(*since), None),
        LinkStatus::Away { since, error } => ("away", Some(*since), Some(error.clone())),
    };
    let (claim, reason) = match &store.claim {
        ClaimStatus::Unclaimed => ("unclaimed", None),
        ClaimStatus::Claimed { .. } => ("claimed", None),
        ClaimStatus::Doubtful => ("doubtful", None),
        ClaimStatus::Refused { reason } => ("refused", Some(reason.clone())),
    };
    shapes::Store {
        state: link.to_owned(),
        since: since.map(time::rfc3339),
        error,
        member: store.member.clone(),
        revision: store.revision,
        synced: store.synced.map(time::rfc3339),
        from_file: store.is_from_file,
        host: store.host.clone(),
        claim: claim.to_owned(),
        claim_error: reason,
        published: store.published,
        hosts: by_state(store).map(|(state, count)| (state.as_str().to_owned(), count)).collect(),
        remote_containers: store.remote_endpoints,
        holding: store.is_holding,
        conflicts: store.conflicts.clone(),
        refused: store.refused.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
    }
}

/// The other hosts; no store is followed if there is none.
pub(super) fn hosts(store: Option<&StoreStatus>) -> shapes::Hosts {
    let host = |(name, status): (&String, &HostStatus)| shapes::RemoteHost {
        name: name.clone(),
        state: status.state.as_str().to_owned(),
        seconds: status.since.as_secs(),
        addresses: status.addresses.clone(),
        version: status.version.clone(),
        networks: status.networks.clone(),
        containers: status.endpoints,
        served: status.in_force,
        refused: status.refused,
        remark: status.remark.clone(),
    };
    shapes::Hosts {
        api: VERSION,
        store: store.map(self::store),
        hosts: store.iter().flat_map(|store| &store.hosts).map(host).collect(),
    }
}

/// What is wrong with the store, in words.
pub(super) fn problems(store: &shapes::Store) -> Vec<String> {
    let mut problems = Vec::new();
    let as_of = match (store.from_file, &store.synced) {
        (true, Some(synced)) => format!("names of other hosts are those of the state file, as of {synced}"),
        (true, None) => "names of other hosts are those of the state file".to_owned(),
        (false, Some(synced)) => format!("names of other hosts are as they were at {synced}"),
        (false, None) => "no names of other hosts are known".to_owned(),
    };
    let error = store.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
    match (&*store.state, &store.since) {
        ("away", Some(since)) => problems.push(format!("etcd does not answer since {since}{error}; {as_of}")),
        ("away", None) | ("starting", _) => problems.push(format!("etcd has not answered yet{error}; {as_of}")),
        _ => {}
    }
    if store.claim == "refused" {
        let reason = store.claim_error.as_deref().unwrap_or("another one has its name");
        problems.push(format!("this host publishes nothing as {}: {reason}", store.host));
    }
    if store.holding {
        problems.push("many hosts vanished from etcd at once; their names are still answered".to_owned());
    }
    problems.extend(store.conflicts.iter().cloned());
    problems
}

/// The store's metrics.
pub(super) fn families(store: &StoreStatus) -> Vec<Family> {
    let labelled = |label: &'static str, counts: &BTreeMap<&'static str, u64>| {
        counts.iter().map(|(word, count)| (vec![(label, (*word).to_owned())], *count as f64)).collect::<Vec<_>>()
    };
    let is_live = matches!(store.link, LinkStatus::Live { .. });
    let is_claimed = matches!(store.claim, ClaimStatus::Claimed { .. });
    let hosts = by_state(store).map(|(state, count)| (vec![("state", state.as_str().to_owned())], count as f64));
    vec![
        Family::gauge("callsign_store_up", "1 while etcd is followed", f64::from(u8::from(is_live))),
        Family::gauge(
            "callsign_store_claimed",
            "1 while this host's names are published",
            f64::from(u8::from(is_claimed)),
        ),
        Family::gauges(
            "callsign_store_last_sync_timestamp_seconds",
            "When the names of other hosts were last known to be all that there are",
            store.synced.map(|at| (Vec::new(), seconds_since_1970(at))).into_iter().collect(),
        ),
        Family::counters(
            "callsign_store_resyncs",
            "How often all that etcd has was read, by reason",
            labelled("reason", &store.resyncs),
        ),
        Family::gauges("callsign_store_hosts", "Other hosts, by state", hosts.collect()),
        Family::gauge(
            "callsign_store_holding",
            "1 while names are kept of many hosts that vanished at once",
            f64::from(u8::from(store.is_holding)),
        ),
        Family::gauge(
            "callsign_store_conflicts",
            "Networks whose settings collide with another host's",
            store.conflicts.len() as f64,
        ),
        Family::gauge(
            "callsign_store_remote_endpoints",
            "Containers of other hosts that are served",
            store.remote_endpoints as f64,
        ),
        Family::gauge(
            "callsign_store_published_endpoints",
            "Containers of this host that are in etcd",
            store.published as f64,
        ),
        Family::counters(
            "callsign_store_refused",
            "Values and names of other hosts that were not taken, by reason",
            labelled("reason", &store.refused),
        ),
        Family::counters(
            "callsign_store_publishes",
            "Writes to etcd, by what came of them",
            labelled("result", &store.publishes),
        ),
        Family::gauges(
            "callsign_store_propagation_seconds",
            "How long the last change of this host took until it was in etcd",
            store.propagation.map(|time| (Vec::new(), time.as_secs_f64())).into_iter().collect(),
        ),
    ]
}
