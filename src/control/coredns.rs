//! The names that CoreDNS has for what is counted here, for the dashboards and alerts that are made for it.
//!
//! `server` is one label for all listeners, as dashboards offer it for choice; `zone` is a network. A name for which nothing is
//! counted here is 0, so that a query over it has an answer; a histogram of which nothing is measured is left out.

use std::collections::BTreeMap;

use crate::server::{ListenerCounts, Origin, Status};

use super::look;
use super::metrics::{Bars, Family, Labels, Measured, durations, sizes};

/// The label of all listeners.
const SERVER: &str = "dns://.:53";

/// `server`, `zone` and `view`, which every family has.
fn base(zone: &str) -> Labels {
    vec![("server", SERVER.to_owned()), ("zone", zone.to_owned()), ("view", String::new())]
}

fn with(mut labels: Labels, more: &[(&'static str, &str)]) -> Labels {
    labels.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    labels
}

/// Which of CoreDNS' plugins would have answered.
fn plugin(origin: Origin) -> &'static str {
    match origin {
        Origin::Local => "hosts",
        Origin::Cache | Origin::Stale => "cache",
        Origin::Upstream => "forward",
        Origin::Refused | Origin::Dropped => "acl",
    }
}

/// Sums of samples with the same labels.
fn sums(samples: impl Iterator<Item = (Labels, f64)>) -> Vec<(Labels, f64)> {
    let mut sums: BTreeMap<Labels, f64> = BTreeMap::new();
    samples.for_each(|(labels, value)| *sums.entry(labels).or_default() += value);
    sums.into_iter().collect()
}

/// The families, of counts by network, transport and family of addresses.
pub(super) fn families(all: &[ListenerCounts], status: &Status, failed_reloads: u64) -> Vec<Family> {
    let family = |ipv6: bool| if ipv6 { "2" } else { "1" };
    let requests = all.iter().flat_map(|counts| {
        counts.counts.queries.iter().map(move |query| {
            let labels =
                [("proto", look::transport(counts.tcp)), ("family", family(counts.ipv6)), ("type", query.rtype)];
            (with(base(&counts.network), &labels), query.count as f64)
        })
    });
    let responses = all.iter().flat_map(|counts| {
        let answered = counts.counts.queries.iter().filter(|query| query.origin != Origin::Dropped);
        answered.map(|query| {
            let labels = [("rcode", query.rcode), ("plugin", plugin(query.origin))];
            (with(base(&counts.network), &labels), query.count as f64)
        })
    });
    let dnssec_ok = all.iter().map(|counts| (base(&counts.network), counts.counts.dnssec_ok as f64));
    let refused = all.iter().flat_map(|counts| {
        let refused = counts.counts.queries.iter().filter(|query| query.origin == Origin::Refused);
        refused.map(|query| (base(&counts.network), query.count as f64))
    });
    let by_proto = |of: fn(&ListenerCounts) -> Measured| {
        let sized = all.iter().map(|counts| {
            let (sum, buckets) = of(counts);
            (with(base(&counts.network), &[("proto", look::transport(counts.tcp))]), sum, buckets)
        });
        distributions(sized)
    };
    let durations = all.iter().map(|counts| {
        let (sum, buckets) = durations(&counts.counts.durations);
        (base(&counts.network), sum, buckets)
    });
    let forwarding = &status.forwarding;
    let cache = |value: u64| vec![(with(zones(), &[]), value as f64)];
    let typed = |kind: &str, value: f64| (with(cache_labels(), &[("type", kind), ("zones", "."), ("view", "")]), value);
    let to = |value: fn(&crate::forward::UpstreamStatus) -> u64| {
        status.upstreams.iter().map(|each| (vec![("to", each.upstream.to_string())], value(each) as f64)).collect()
    };
    let proxied = |value: fn(&crate::forward::UpstreamStatus) -> u64| {
        let proxy = status.upstreams.iter().map(|each| {
            let labels = vec![("proxy_name", "forward".to_owned()), ("to", each.upstream.to_string())];
            (labels, value(each) as f64)
        });
        proxy.collect::<Vec<_>>()
    };
    // CoreDNS counts what was served to clients by the code, not by the upstream; with one upstream the two are the same.
    let by_code = |only_forwarded: fn(Origin) -> bool| {
        let to: Vec<String> = status.upstreams.iter().map(|each| each.upstream.to_string()).collect();
        let [to] = &to[..] else { return Vec::new() };
        let forwarded =
            all.iter().flat_map(|counts| &counts.counts.queries).filter(|query| only_forwarded(query.origin));
        sums(forwarded.map(|query| (vec![("to", to.clone()), ("rcode", query.rcode.to_owned())], query.count as f64)))
    };
    let zero_by_zone = || sums(all.iter().map(|counts| (base(&counts.network), 0.0)));
    let allowed = all.iter().flat_map(|counts| {
        let let_in =
            counts.counts.queries.iter().filter(|query| !matches!(query.origin, Origin::Refused | Origin::Dropped));
        let_in.map(|query| (base(&counts.network), query.count as f64))
    });
    let dropped = all.iter().flat_map(|counts| {
        let gone = counts.counts.queries.iter().filter(|query| query.origin == Origin::Dropped);
        gone.map(|query| (base(&counts.network), query.count as f64))
    });
    let enabled = ["acl", "cache", "forward", "health", "hosts", "prometheus", "ready", "reload"];
    let enabled = enabled.map(|name| (with(base("."), &[("name", name)]), 1.0)).to_vec();
    let version = vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("revision", String::new()),
        ("goversion", String::new()),
    ];
    vec![
        Family::gauges("coredns_build_info", "The program's version", vec![(version, 1.0)]),
        Family::counter("coredns_panics", "Always 0: a panic costs one query and is logged", 0),
        Family::counters("coredns_dns_requests", "Queries", sums(requests)),
        Family::counters("coredns_dns_responses", "Replies", sums(responses)),
        Family::counters("coredns_dns_do_requests", "Queries with DO", sums(dnssec_ok)),
        Family::histograms(
            "coredns_dns_request_duration_seconds",
            "Time from a query's arrival to its reply",
            distributions(durations),
        ),
        Family::histograms(
            "coredns_dns_request_size_bytes",
            "Sizes of queries",
            by_proto(|counts| sizes(&counts.counts.query_sizes)),
        ),
        Family::histograms(
            "coredns_dns_response_size_bytes",
            "Sizes of replies",
            by_proto(|counts| sizes(&counts.counts.reply_sizes)),
        ),
        Family::gauges(
            "coredns_cache_entries",
            "Answers in the cache; those that deny a name are among them, and not told apart",
            vec![typed("success", forwarding.entries as f64), typed("denial", 0.0)],
        ),
        Family::counters("coredns_cache_hits", "Queries answered from the cache", by_denial(all)),
        Family::counters(
            "coredns_cache_requests",
            "Queries that the cache was asked for",
            cache(
                forwarding.hits
                    + forwarding.stale
                    + forwarding.cached_failures
                    + forwarding.misses
                    + forwarding.coalesced,
            ),
        ),
        Family::counters("coredns_cache_misses", "Queries for which upstreams were asked", cache(forwarding.misses)),
        Family::counters(
            "coredns_cache_prefetch",
            "Answers asked for again before they expired",
            cache(forwarding.prefetched),
        ),
        Family::counters(
            "coredns_cache_served_stale",
            "Queries answered from the cache past the TTL",
            cache(forwarding.stale),
        ),
        Family::counters("coredns_cache_evictions", "Always 0: what is evicted is not counted", {
            vec![typed("success", 0.0), typed("denial", 0.0)]
        }),
        Family::counters("coredns_cache_drops", "Always 0: a reply to another question is never cached", cache(0)),
        Family::counters("coredns_forward_requests", "Queries sent to the upstream", to(|each| each.queries)),
        Family::counters(
            "coredns_forward_responses",
            "Forwarded queries by what was answered, or replies of each upstream where there are several",
            match by_code(|origin| origin == Origin::Upstream) {
                codes if codes.is_empty() => to(|each| each.replies),
                codes => codes,
            },
        ),
        Family::counters(
            "coredns_proxy_healthcheck_failures",
            "Queries that the upstream failed, or had not answered when their time was over",
            proxied(|each| each.failures + each.timeouts),
        ),
        Family::counters(
            "coredns_proxy_conn_cache_misses",
            "Connections that were made to the upstream",
            proxied(|each| each.connections)
                .into_iter()
                .map(|(labels, value)| (with(labels, &[("proto", "tcp")]), value))
                .collect(),
        ),
        Family::counter(
            "coredns_forward_healthcheck_broken",
            "Always 0: upstreams that all fail are asked all the same",
            0,
        ),
        Family::gauges("coredns_plugin_enabled", "What callsign does that CoreDNS has a plugin for", enabled),
        Family::counters("coredns_acl_allowed_requests", "Queries that were answered", sums(allowed)),
        Family::counters("coredns_acl_filtered_requests", "Always 0: no answer is emptied", zero_by_zone()),
        Family::counters(
            "coredns_acl_dropped_requests",
            "Queries that got no reply",
            sums(dropped.chain(zero_by_zone())),
        ),
        Family::counter("coredns_reload_failed", "Readings of the configuration that failed", failed_reloads),
        Family::counter("coredns_local_localhost_requests", "Always 0: localhost is answered as any other name", 0),
        Family::counter(
            "coredns_forward_max_concurrent_rejects",
            "Queries turned down because too many were waiting",
            forwarding.overloaded,
        ),
        Family::counters(
            "coredns_acl_blocked_requests",
            "Queries that were refused",
            sums(refused.chain(zero_by_zone())),
        ),
    ]
}

/// Queries answered from the cache: with an answer, or with the word that there is none (NXDOMAIN).
fn by_denial(all: &[ListenerCounts]) -> Vec<(Labels, f64)> {
    let count = |denial: bool| {
        let queries = all.iter().flat_map(|counts| &counts.counts.queries);
        let cached = queries.filter(|query| matches!(query.origin, Origin::Cache | Origin::Stale));
        let wanted = cached.filter(|query| match query.rcode {
            "NXDOMAIN" => denial,
            "NOERROR" => !denial,
            _ => false,
        });
        wanted.map(|query| query.count as f64).sum::<f64>()
    };
    let labels = |kind| with(cache_labels(), &[("type", kind), ("zones", "."), ("view", "")]);
    vec![(labels("success"), count(false)), (labels("denial"), count(true))]
}

fn cache_labels() -> Labels {
    vec![("server", SERVER.to_owned())]
}

fn zones() -> Labels {
    vec![("server", SERVER.to_owned()), ("zones", ".".to_owned()), ("view", String::new())]
}

/// Histograms with the same labels, added up.
fn distributions(all: impl Iterator<Item = Bars>) -> Vec<Bars> {
    let mut merged: BTreeMap<Labels, Measured> = BTreeMap::new();
    for (labels, sum, buckets) in all {
        match merged.get_mut(&labels) {
            Some((known, counts)) => {
                *known += sum;
                counts.iter_mut().zip(&buckets).for_each(|((_, count), (_, more))| *count += more);
            }
            None => _ = merged.insert(labels, (sum, buckets)),
        }
    }
    merged.into_iter().map(|(labels, (sum, buckets))| (labels, sum, buckets)).collect()
}
