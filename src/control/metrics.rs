//! Metrics, health and readiness over HTTP: `/metrics`, `/health`, `/ready`; and the page, if it is wanted.
//!
//! Everything is read when it is asked for. Labels are bounded: networks and upstreams that there are, types and codes that
//! are usual; never a name that somebody asks for.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::{Method, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::server::{DURATION_BUCKETS, Distribution, ListenerCounts, ListenerState, SIZE_BOUNDS, Server};

use super::http::{self, Accept, Asked, Handler, Reply, Weight};
use super::page::{Page, PageOptions};
use super::{Host, Hub, Reads, look};

/// How long an own query may take to be answered.
const HEALTHY: Duration = Duration::from_secs(1);
/// `localhost A`, which every listener answers by itself.
const QUERY: &[u8] = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x09localhost\0\0\x01\0\x01";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What metrics are served with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsOptions {
    /// Where.
    pub listen: SocketAddr,
    /// With the names that CoreDNS has for them, too.
    pub coredns: bool,
    /// The page at `/`; `None` for none.
    pub page: Option<PageOptions>,
}

/// Metrics that are served; ended when dropped.
#[derive(Debug)]
pub struct Metrics {
    task: JoinHandle<()>,
    address: SocketAddr,
    server: Arc<Server>,
}

impl Metrics {
    /// Listens, and has the server count its queries from here on.
    ///
    /// # Errors
    /// The address cannot be listened at.
    pub fn start(
        server: Arc<Server>,
        host: Arc<dyn Host>,
        hub: Arc<Hub>,
        options: &MetricsOptions,
    ) -> io::Result<Metrics> {
        let listener = std::net::TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        server.count_queries(true);
        let mut registry = Registry::default();
        let page = options.page.clone();
        let page =
            page.map(|page| Page::new(Reads::new(server.clone(), host.clone(), hub.clone()), address.ip(), page));
        let gatherer = Gatherer { server: server.clone(), host: host.clone(), hub, coredns: options.coredns };
        registry.register_collector(Box::new(gatherer));
        let scrapes = Scrapes { server: server.clone(), host, registry, page };
        let task = tokio::spawn(http::serve(Tcp(TcpListener::from_std(listener)?), Arc::new(scrapes)));
        Ok(Metrics { task, address, server })
    }

    /// Ends it; when this returns nothing listens there.
    pub async fn stop(mut self) {
        self.task.abort();
        // It was cut off, which is what was asked for.
        let _ = (&mut self.task).await;
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.task.abort();
        self.server.count_queries(false);
    }
}

struct Tcp(TcpListener);

impl Accept for Tcp {
    type Stream = TcpStream;
    /// The address of ours that the client connected to.
    type Peer = IpAddr;

    async fn next(&mut self) -> io::Result<(TcpStream, IpAddr)> {
        let (stream, _) = self.0.accept().await?;
        let local = stream.local_addr()?.ip();
        Ok((stream, local))
    }
}

struct Scrapes {
    server: Arc<Server>,
    host: Arc<dyn Host>,
    registry: Registry,
    page: Option<Page>,
}

impl Handler for Scrapes {
    type Peer = IpAddr;

    fn weight(&self, _: &IpAddr, asked: &Asked) -> Weight {
        asked.weight()
    }

    async fn answer(&self, local: IpAddr, asked: Asked) -> Reply {
        if !matches!(asked.method, Method::GET | Method::HEAD) {
            return Reply::refusal(StatusCode::METHOD_NOT_ALLOWED, "read-only: use GET");
        }
        match &*asked.path {
            "/metrics" => self.metrics(&asked),
            "/health" => self.health().await,
            "/ready" => self.ready(),
            path => match &self.page {
                Some(page) if Page::has(path) => page.answer(local, &asked).await,
                _ => Reply::refusal(
                    StatusCode::NOT_FOUND,
                    format!("there is nothing at {path}; see /metrics, /health, /ready"),
                ),
            },
        }
    }
}

impl Scrapes {
    fn metrics(&self, asked: &Asked) -> Reply {
        let mut out = String::new();
        let wants_open = asked
            .headers
            .get(hyper::header::ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|accept| accept.contains("application/openmetrics-text"));
        let (encoded, content_type) = match wants_open {
            true => (text::encode(&mut out, &self.registry), OPENMETRICS),
            false => (prometheus_text::encode(&mut out, &self.registry), prometheus_text::CONTENT_TYPE),
        };
        match encoded {
            Ok(()) => Reply::whole(StatusCode::OK, content_type, out),
            Err(fmt::Error) => Reply::refusal(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written"),
        }
    }

    /// Alive: an own query is answered.
    async fn health(&self) -> Reply {
        let verdict = match self.host.is_stopping() {
            true => Err("the server is about to stop".to_owned()),
            false => match timeout(HEALTHY, ask_ourselves(&self.server)).await {
                Ok(answered) => answered,
                Err(_) => Err("an own query was not answered within a second".to_owned()),
            },
        };
        match verdict {
            Ok(()) => Reply::whole(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"),
            Err(why) => Reply::whole(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", format!("{why}\n")),
        }
    }

    /// Ready: every listener is bound, and the source was read.
    fn ready(&self) -> Reply {
        let mut missing = Vec::new();
        if self.host.is_stopping() {
            missing.push("the server is about to stop".to_owned());
        }
        let source = self.host.source();
        if source.read.is_none() {
            missing.push(format!("{} {} was not read yet", source.kind, source.path));
        }
        let listeners = self.server.status().listeners;
        let failed = listeners.iter().filter(|listener| !matches!(listener.state, ListenerState::Listening(_)));
        missing.extend(failed.map(ToString::to_string));
        match missing.is_empty() {
            true => Reply::whole(StatusCode::OK, "text/plain; charset=utf-8", "ready\n"),
            false => {
                let text: String = missing.iter().map(|line| format!("{line}\n")).collect();
                Reply::whole(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", text)
            }
        }
    }
}

/// Asks one of our listeners, as any client of this host would. Those that this network namespace does not reach are passed
/// over; where there is none, nothing is wrong with the loop as far as can be told.
async fn ask_ourselves(server: &Server) -> Result<(), String> {
    for listener in server.status().listeners.iter().filter(|listener| !listener.tcp) {
        let ListenerState::Listening(address) = listener.state else { continue };
        if let Some(answered) = ask(server, address).await {
            return answered.map_err(|error| format!("an own query to {address} failed: {error}"));
        }
    }
    Ok(())
}

/// Asks at an address until it answers. `None` if it cannot be reached from here.
///
/// # Errors
/// Nobody listens there.
async fn ask(server: &Server, address: SocketAddr) -> Option<io::Result<()>> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(address).await.ok()?;
    // A probe is no client: it is neither counted nor shown.
    let _own = server.hide_queries_of(socket.local_addr().ok()?);
    let mut reply = [0; 512];
    loop {
        match socket.send(QUERY).await {
            Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => return None,
            Err(error) => return Some(Err(error)),
            Ok(_) => {}
        }
        match socket.recv(&mut reply).await {
            Ok(len) if len >= 12 => {
                // Observers are told after the reply was sent.
                server.responds().await;
                return Some(Ok(()));
            }
            Ok(_) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

/// Reads everything when it is asked for.
struct Gatherer {
    server: Arc<Server>,
    host: Arc<dyn Host>,
    hub: Arc<Hub>,
    coredns: bool,
}

impl fmt::Debug for Gatherer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gatherer").finish_non_exhaustive()
    }
}

/// Labels, in the order in which they are written.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A histogram: its sum, and the bounds with what fell below each and above the one before.
pub(super) type Measured = (f64, Vec<(f64, u64)>);

/// A histogram with its labels.
pub(super) type Bars = (Labels, f64, Vec<(f64, u64)>);

/// A family's samples.
enum Samples {
    Counter(Vec<(Labels, f64)>),
    Gauge(Vec<(Labels, f64)>),
    Histogram(Vec<Bars>),
}

/// Metrics of one name.
pub(super) struct Family {
    /// Of a counter without `_total`, which the format adds.
    name: &'static str,
    help: &'static str,
    samples: Samples,
}

impl Family {
    pub(super) fn counters(name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) -> Family {
        Family { name, help, samples: Samples::Counter(samples) }
    }

    pub(super) fn gauges(name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) -> Family {
        Family { name, help, samples: Samples::Gauge(samples) }
    }

    pub(super) fn counter(name: &'static str, help: &'static str, value: u64) -> Family {
        Family::counters(name, help, vec![(Vec::new(), value as f64)])
    }

    pub(super) fn gauge(name: &'static str, help: &'static str, value: f64) -> Family {
        Family::gauges(name, help, vec![(Vec::new(), value)])
    }

    pub(super) fn histograms(name: &'static str, help: &'static str, samples: Vec<Bars>) -> Family {
        Family { name, help, samples: Samples::Histogram(samples) }
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;
        match &self.samples {
            Samples::Counter(samples) if !samples.is_empty() => {
                let mut metric = encoder.encode_descriptor(self.name, self.help, None, MetricType::Counter)?;
                for (labels, value) in samples {
                    metric.encode_family(labels)?.encode_counter(value, NO_EXEMPLAR)?;
                }
            }
            Samples::Gauge(samples) if !samples.is_empty() => {
                let mut metric = encoder.encode_descriptor(self.name, self.help, None, MetricType::Gauge)?;
                for (labels, value) in samples {
                    metric.encode_family(labels)?.encode_gauge(value)?;
                }
            }
            Samples::Histogram(samples) if !samples.is_empty() => {
                let mut metric = encoder.encode_descriptor(self.name, self.help, None, MetricType::Histogram)?;
                for (labels, sum, buckets) in samples {
                    let count = buckets.iter().map(|(_, count)| count).sum();
                    metric.encode_family(labels)?.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)?;
                }
            }
            // A name without samples says nothing.
            _ => {}
        }
        Ok(())
    }
}

impl Collector for Gatherer {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = merged(self.server.query_counts());
        let status = self.server.status();
        let mut families = queries(&counts);
        families.extend(self.state(&status));
        families.extend(upstreams(&status));
        families.extend(process(self.host.started()));
        if self.coredns {
            families.extend(super::coredns::families(&counts, &status, self.host.reloads().1));
        }
        families.iter().try_for_each(|family| family.encode(&mut encoder))
    }
}

/// Counts by network, transport and family of addresses: a network can have several listeners of each.
pub(super) fn merged(all: Vec<ListenerCounts>) -> Vec<ListenerCounts> {
    let mut merged: Vec<ListenerCounts> = Vec::new();
    for counts in all {
        let key = |counts: &ListenerCounts| (counts.network.clone(), counts.tcp, counts.ipv6);
        match merged.iter_mut().find(|known| key(known) == key(&counts)) {
            Some(known) => known.counts.add(&counts.counts),
            None => merged.push(counts),
        }
    }
    merged
}

fn queries(all: &[ListenerCounts]) -> Vec<Family> {
    let base = |counts: &ListenerCounts| -> Labels {
        vec![
            ("network", counts.network.clone()),
            ("transport", look::transport(counts.tcp).to_owned()),
            ("family", family(counts.ipv6)),
        ]
    };
    let by_kind = all.iter().flat_map(|counts| {
        counts.counts.queries.iter().map(move |query| {
            let mut labels = base(counts);
            labels.push(("type", query.rtype.to_owned()));
            labels.push(("rcode", query.rcode.to_owned()));
            labels.push(("origin", query.origin.as_str().to_owned()));
            (labels, query.count as f64)
        })
    });
    let histogram = |of: fn(&ListenerCounts) -> Measured| {
        all.iter()
            .map(|counts| {
                let (sum, buckets) = of(counts);
                (base(counts), sum, buckets)
            })
            .collect()
    };
    vec![
        Family::counters("callsign_queries", "Queries, by what they were and what came of them", by_kind.collect()),
        Family::histograms(
            "callsign_query_duration_seconds",
            "Time from a query's arrival to its reply",
            histogram(|counts| durations(&counts.counts.durations)),
        ),
        Family::histograms(
            "callsign_query_size_bytes",
            "Sizes of queries",
            histogram(|counts| sizes(&counts.counts.query_sizes)),
        ),
        Family::histograms(
            "callsign_reply_size_bytes",
            "Sizes of replies",
            histogram(|counts| sizes(&counts.counts.reply_sizes)),
        ),
    ]
}

pub(super) fn family(ipv6: bool) -> String {
    if ipv6 { "ipv6" } else { "ipv4" }.to_owned()
}

/// Durations as seconds, with their bounds.
pub(super) fn durations(distribution: &Distribution) -> Measured {
    let bounds = (0..DURATION_BUCKETS).map(|power| 0.000_25 * f64::from(1_u32 << power)).chain([f64::INFINITY]);
    (distribution.sum as f64 / 1e6, bounds.zip(distribution.counts.iter().copied()).collect())
}

/// Sizes with their bounds.
pub(super) fn sizes(distribution: &Distribution) -> Measured {
    let bounds = SIZE_BOUNDS.iter().map(|&bound| f64::from(bound)).chain([f64::INFINITY]);
    (distribution.sum as f64, bounds.zip(distribution.counts.iter().copied()).collect())
}

impl Gatherer {
    fn state(&self, status: &crate::server::Status) -> Vec<Family> {
        let forwarding = &status.forwarding;
        let source = self.host.source();
        let reloads = self.host.reloads();
        let networks = self.server.table().networks();
        let of_network = |count: fn(&crate::table::Snapshot) -> usize| {
            networks
                .iter()
                .map(|network| (vec![("network", network.name().to_owned())], count(&network.snapshot()) as f64))
                .collect()
        };
        let listening =
            status.listeners.iter().filter(|listener| matches!(listener.state, ListenerState::Listening(_))).count();
        let listeners = [("up", listening), ("down", status.listeners.len() - listening)];
        let kind = vec![("kind", source.kind.clone())];
        let activity = self.host.source_activity();
        let hit = status.limits_hit;
        let limits = [
            ("tcp_connections", hit.tcp_connections),
            ("tcp_connections_per_client", hit.tcp_connections_per_client),
            ("tcp_connections_waiting", hit.tcp_connections_waiting),
            ("forwards", hit.forwards),
            ("forwards_per_client", hit.forwards_per_client),
            ("forwards_displaced", hit.forwards_displaced),
        ];
        vec![
            Family::gauges(
                "callsign_build_info",
                "The program's version",
                vec![(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)],
            ),
            Family::gauges(
                "callsign_listeners",
                "Sockets that are listened at (up) and that cannot be bound (down)",
                listeners.map(|(state, count)| (vec![("state", state.to_owned())], count as f64)).to_vec(),
            ),
            Family::gauge("callsign_networks", "Networks that are served", networks.len() as f64),
            Family::gauges(
                "callsign_endpoints",
                "Containers of a network",
                of_network(crate::table::Snapshot::endpoint_count),
            ),
            Family::gauges(
                "callsign_names",
                "Names that a network knows",
                of_network(|snapshot| snapshot.names().count()),
            ),
            Family::gauge("callsign_tcp_connections", "Open TCP connections of clients", status.tcp_connections as f64),
            Family::gauge("callsign_forwards_waiting", "Queries that wait for an upstream", status.forwards as f64),
            Family::gauge(
                "callsign_forwards_in_flight",
                "Questions that upstreams are asked",
                forwarding.in_flight as f64,
            ),
            Family::counter(
                "callsign_forwards_coalesced",
                "Queries that waited for the answer to an identical one",
                forwarding.coalesced,
            ),
            Family::counter(
                "callsign_forwards_stale",
                "Queries answered from the cache past the TTL",
                forwarding.stale,
            ),
            Family::counter(
                "callsign_forwards_prefetched",
                "Answers asked for again before they expired",
                forwarding.prefetched,
            ),
            Family::counter(
                "callsign_forwards_overloaded",
                "Queries turned down because too many were waiting",
                forwarding.overloaded,
            ),
            Family::counter(
                "callsign_replies_dropped",
                "Replies that a full socket did not take",
                status.dropped_replies,
            ),
            Family::gauge("callsign_cache_entries", "Answers in the cache", forwarding.entries as f64),
            Family::gauge("callsign_cache_bytes", "Octets that they take", forwarding.bytes as f64),
            Family::counter("callsign_cache_hits", "Queries answered from the cache", forwarding.hits),
            Family::counter("callsign_cache_misses", "Queries for which upstreams were asked", forwarding.misses),
            Family::counter(
                "callsign_cache_failures",
                "Queries answered with a failure that was remembered",
                forwarding.cached_failures,
            ),
            Family::counters(
                "callsign_reloads",
                "Readings of the configuration or the source, by what came of them",
                vec![
                    (vec![("result", "success".to_owned())], reloads.0 as f64),
                    (vec![("result", "failure".to_owned())], reloads.1 as f64),
                ],
            ),
            Family::gauges(
                "callsign_source_failed",
                "1 while the last reading of the source failed",
                vec![(kind.clone(), f64::from(u8::from(source.failed.is_some())))],
            ),
            Family::gauges(
                "callsign_source_connected",
                "1 while the Docker engine answers; absent for other sources",
                source.connected.map(|connected| (kind.clone(), f64::from(u8::from(connected)))).into_iter().collect(),
            ),
            Family::gauges(
                "callsign_source_last_sync_timestamp_seconds",
                "When the source was last read with success",
                match self.host.last_sync() {
                    Some(at) => vec![(kind.clone(), seconds_since_1970(at))],
                    None => Vec::new(),
                },
            ),
            Family::counters(
                "callsign_source_resyncs",
                "How often all that the source has was read",
                vec![(kind.clone(), activity.resyncs as f64)],
            ),
            Family::gauges(
                "callsign_source_lag_seconds",
                "How long the last change took from the Docker engine's event until it was in force; absent for other sources",
                activity.lag.map(|lag| (kind, lag.as_secs_f64())).into_iter().collect(),
            ),
            Family::counters(
                "callsign_limits_hit",
                "How often a limit was reached: connections that had to wait or were refused, queries turned down or cut short",
                limits.map(|(limit, count)| (vec![("limit", limit.to_owned())], count as f64)).to_vec(),
            ),
            Family::gauge(
                "callsign_watchers",
                "Clients of the control socket that watch queries",
                self.hub.watchers() as f64,
            ),
            Family::counter("callsign_watch_dropped", "Queries that watchers were too slow for", self.hub.dropped()),
            Family::counters(
                "callsign_query_log_dropped",
                "Queries that the query log was too slow for; absent without one",
                self.hub.unlogged().map(|dropped| (Vec::new(), dropped as f64)).into_iter().collect(),
            ),
        ]
        .into_iter()
        .chain(self.dnstap())
        .chain(self.host.store().iter().flat_map(super::hosts::families))
        .collect()
    }

    fn dnstap(&self) -> Vec<Family> {
        let Some(dnstap) = self.hub.dnstap() else { return Vec::new() };
        let status = dnstap.status();
        vec![
            Family::gauge(
                "callsign_dnstap_connected",
                "1 while dnstap has a reader",
                f64::from(u8::from(status.connected)),
            ),
            Family::counter("callsign_dnstap_sent", "Messages that were written as dnstap", status.sent),
            Family::counter(
                "callsign_dnstap_dropped",
                "Messages that dnstap's reader was too slow for",
                status.dropped,
            ),
        ]
    }
}

fn upstreams(status: &crate::server::Status) -> Vec<Family> {
    let of = |value: fn(&crate::forward::UpstreamStatus) -> Option<f64>| {
        status
            .upstreams
            .iter()
            .filter_map(|upstream| Some((vec![("upstream", upstream.upstream.to_string())], value(upstream)?)))
            .collect()
    };
    vec![
        Family::gauges(
            "callsign_upstream_up",
            "1 if the upstream answers",
            of(|upstream| look::is_up(upstream).map(|is_up| f64::from(u8::from(is_up)))),
        ),
        Family::gauges(
            "callsign_upstream_rtt_seconds",
            "The upstream's usual round-trip time",
            of(|upstream| upstream.rtt.map(|rtt| rtt.as_secs_f64())),
        ),
        Family::counters(
            "callsign_upstream_queries",
            "Queries sent to the upstream, with repeats",
            of(|upstream| Some(upstream.queries as f64)),
        ),
        Family::counters(
            "callsign_upstream_replies",
            "Replies of the upstream",
            of(|upstream| Some(upstream.replies as f64)),
        ),
        Family::counters(
            "callsign_upstream_failures",
            "Queries that the upstream failed",
            of(|upstream| Some(upstream.failures as f64)),
        ),
        Family::counters(
            "callsign_upstream_late",
            "Queries that the upstream did not answer within its usual time",
            of(|upstream| Some(upstream.late as f64)),
        ),
        Family::counters(
            "callsign_upstream_timeouts",
            "Queries that the upstream had not answered when their time was over",
            of(|upstream| Some(upstream.timeouts as f64)),
        ),
        Family::counters(
            "callsign_upstream_repeats",
            "Datagrams that were sent to the upstream again, as no reply had come",
            of(|upstream| Some(upstream.repeats as f64)),
        ),
        Family::counters(
            "callsign_upstream_connections",
            "Connections made to the upstream",
            of(|upstream| Some(upstream.connections as f64)),
        ),
    ]
}

pub(super) fn seconds_since_1970(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// What every Prometheus client tells of its process.
fn process(started: SystemTime) -> Vec<Family> {
    let mut families =
        vec![Family::gauge("process_start_time_seconds", "When the process started", seconds_since_1970(started))];
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).ok();
    if let Some(stat) = read("stat") {
        // The second field is the program's name in parentheses and may have spaces in it.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let field =
            |number: usize| fields.get(number - 3).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
        // USER_HZ is 100 and pages are 4 KiB on every architecture that this is built for, unless the kernel says otherwise.
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
        families.push(Family::counters(
            "process_cpu_seconds",
            "Processor time, user and system",
            vec![(Vec::new(), (field(14) + field(15)) / 100.0)],
        ));
        families.push(Family::gauge("process_threads", "Threads", field(20)));
        families.push(Family::gauge("process_virtual_memory_bytes", "Virtual memory", field(23)));
        families.push(Family::gauge("process_resident_memory_bytes", "Resident memory", field(24) * page as f64));
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        families.push(Family::gauge("process_open_fds", "Open descriptors", open.count() as f64));
    }
    if let Ok((soft, _)) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE) {
        families.push(Family::gauge("process_max_fds", "The limit of open descriptors", soft as f64));
    }
    families
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_not_healthy() {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let server = Server::builder().workers(1).start().await.unwrap();
        let silence = timeout(Duration::from_millis(50), ask(&server, address)).await;
        assert!(silence.is_err(), "it listens, and says nothing");
        drop(socket);
        let refused = ask(&server, address).await.unwrap().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
