//! Which path gives what, and who may ask for it.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::server::{ListenerState, Server};
use crate::table::NameTable;
use crate::wire::{Name, NameError, reverse, rtype};

use super::http::{Accept, Asked, Handler, Reply, Weight};
use super::hub::{Filter, Only, Pattern};
use super::peer::Peer;
use super::shapes::{self, AddedNames, LogLevel, VERSION};
use super::{Inquiry, OPENAPI, Reads, Sample, State, World, explain, hosts, look, time, watch};

/// The shortest time over which queries a second are counted, and the longest.
const SHORTEST_SAMPLE: Duration = Duration::from_millis(500);
const LONGEST_SAMPLE: Duration = Duration::from_secs(10);
/// How long an upstream may take to answer for an explanation, and a reload.
const PATIENCE: Duration = Duration::from_secs(10);
const RELOAD_PATIENCE: Duration = Duration::from_secs(60);
/// Entries of the cache that are listed.
const MAX_ENTRIES: usize = 1000;
/// Chunks of a watch that wait to be sent.
const CHUNKS: usize = 2;

/// The control socket.
pub(super) struct Unix(pub(super) UnixListener);

impl Accept for Unix {
    type Stream = UnixStream;
    type Peer = Option<Peer>;

    async fn next(&mut self) -> std::io::Result<(UnixStream, Option<Peer>)> {
        let (stream, _) = self.0.accept().await?;
        let peer = Peer::of(&stream);
        Ok((stream, peer))
    }
}

/// A reply, or the refusal that takes its place.
pub(super) type Answer = Result<Reply, Reply>;

impl Handler for State {
    type Peer = Option<Peer>;

    /// Who may change things is not kept out by those who may not.
    fn weight(&self, peer: &Option<Peer>, asked: &Asked) -> Weight {
        match asked.weight() {
            Weight::Streaming => Weight::Streaming,
            _ if self.may_change(peer.as_ref()) => Weight::Trusted,
            weight => weight,
        }
    }

    async fn answer(&self, peer: Option<Peer>, asked: Asked) -> Reply {
        self.route(peer, &asked).await.unwrap_or_else(|refusal| refusal)
    }
}

impl State {
    fn may_change(&self, peer: Option<&Peer>) -> bool {
        peer.is_some_and(|peer| peer.may_change(self.group.as_deref()))
    }

    async fn route(&self, peer: Option<Peer>, asked: &Asked) -> Answer {
        let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
        let method = &asked.method;
        // HTTP leaves the body out by itself.
        let is_read = *method == get || *method == Method::HEAD;
        if !is_read && !self.may_change(peer.as_ref()) {
            let who = peer.as_ref().map_or_else(|| "an unknown user".to_owned(), |peer| peer.describe());
            let text = format!(
                "{who} may only read; changes need root, the server's own user or a member of `control_group` (in [control])"
            );
            return Err(Reply::refusal(StatusCode::FORBIDDEN, text));
        }
        if is_read && let Some(answer) = self.reads.answer(asked).await {
            return answer;
        }
        match &*asked.path {
            "/v1/cache" if *method == delete => self.flush(asked),
            "/v1/added" if is_read => Ok(ok(&self.added.list())),
            "/v1/added" if *method == post => {
                let added = self.added.add(body(asked)?).map_err(unprocessable)?;
                Ok(ok(&AddedNames { api: VERSION, added: vec![added] }))
            }
            "/v1/added" if *method == delete => {
                let name = asked.required("name")?;
                let added = self.added.remove(asked.parameter("network"), name).map_err(unprocessable)?;
                if added.is_empty() {
                    let text = format!("{name} was not added; `callsign name list` shows those that were");
                    return Err(Reply::refusal(StatusCode::NOT_FOUND, text));
                }
                Ok(ok(&AddedNames { api: VERSION, added }))
            }
            "/v1/reload" if *method == post => match tokio::time::timeout(RELOAD_PATIENCE, self.reads.host.reload())
                .await
            {
                Ok(reloaded) if reloaded.errors.is_empty() => Ok(ok(&reloaded)),
                Ok(reloaded) => Ok(Reply::json(StatusCode::UNPROCESSABLE_ENTITY, &reloaded)),
                Err(_) => Err(Reply::refusal(StatusCode::GATEWAY_TIMEOUT, "the reload takes too long; see the log")),
            },
            "/v1/log" if *method == put => {
                let LogLevel { level } = body(asked)?;
                self.reads.host.set_log_level(&level).map_err(unprocessable)?;
                Ok(ok(&LogLevel { level }))
            }
            path if PATHS.contains(&path) => {
                Err(Reply::refusal(StatusCode::METHOD_NOT_ALLOWED, format!("{path} does not take {method}")))
            }
            path => Err(Reply::refusal(
                StatusCode::NOT_FOUND,
                format!("there is nothing at {path}; /v1/openapi.json says what there is"),
            )),
        }
    }

    fn flush(&self, asked: &Asked) -> Answer {
        let forwarder = self.reads.server.forwarder();
        let is_all = asked.is_set("all");
        let removed = match (asked.parameter("name"), asked.parameter("zone"), is_all) {
            (Some(text), None, false) => {
                let name = name(text)?;
                forwarder.flush_cache(|entry| entry == name.as_wire())
            }
            (None, Some(text), false) => {
                let zone = name(text)?;
                forwarder.flush_cache(|entry| crate::wire::is_below(entry, zone.as_wire()))
            }
            (None, None, true) => forwarder.flush_cache(|_| true),
            _ => {
                let text = "say what to flush, by one of `name`, `zone` and `all`";
                return Err(Reply::refusal(StatusCode::BAD_REQUEST, text));
            }
        };
        Ok(ok(&shapes::Flushed { api: VERSION, removed }))
    }
}

impl Reads {
    /// What a path gives, if it is one of those that read. All of them take GET.
    pub(super) async fn answer(&self, asked: &Asked) -> Option<Answer> {
        Some(match &*asked.path {
            "/v1/openapi.json" => Ok(Reply::whole(StatusCode::OK, "application/json", OPENAPI.as_bytes())),
            "/v1/status" => Ok(ok(&self.status().await)),
            "/v1/names" => self.of_network(asked, look::names),
            "/v1/containers" => self.of_network(asked, look::containers),
            "/v1/hosts" => Ok(ok(&hosts::hosts(self.host.store().as_ref()))),
            "/v1/upstreams" => {
                let upstreams = self.server.status().upstreams.iter().map(look::upstream).collect();
                Ok(ok(&shapes::Upstreams { api: VERSION, upstreams }))
            }
            "/v1/cache" => self.cache(asked),
            "/v1/watch" => self.watch(asked),
            "/v1/explain" => self.explain(asked).await,
            _ => return None,
        })
    }

    /// What is looked up of all networks, or of the one that is asked for.
    fn of_network<T: serde::Serialize>(
        &self,
        asked: &Asked,
        look: fn(&NameTable, Option<&str>) -> Option<T>,
    ) -> Answer {
        let network = asked.parameter("network");
        match look(self.server.table(), network) {
            Some(found) => Ok(ok(&found)),
            None => Err(self.no_network(network.unwrap_or_default())),
        }
    }

    async fn status(&self) -> shapes::Status {
        let queries_per_second = self.rate().await;
        let (status, started) = (self.server.status(), self.host.started());
        let mut shape = shapes::Status {
            api: VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: time::rfc3339(started),
            uptime_seconds: started.elapsed().unwrap_or_default().as_secs(),
            source: self.host.source(),
            problems: Vec::new(),
            queries: status.queries,
            queries_per_second,
            networks: look::networks(&self.server, &status),
            host_view: self.server.host_view().map(|view| look::host_view(&view, &status)),
            upstreams: status.upstreams.iter().map(look::upstream).collect(),
            forwarding: look::forwarding(&status.forwarding),
            tcp_connections: status.tcp_connections,
            waiting: status.forwards,
            confined: self.host.confined(),
            store: self.host.store().as_ref().map(hosts::store),
            dnstap: self.hub.dnstap().map(|dnstap| look::dnstap(&dnstap)),
        };
        shape.problems = look::problems(&shape);
        shape.problems.extend(self.host.problems());
        shape
    }

    /// Queries a second, since somebody last asked for it or over the next half second. Who asks again within that gets the
    /// same.
    async fn rate(&self) -> f64 {
        let count = || self.server.status().queries;
        let sample = || self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sample().filter(|sample| sample.at.elapsed() <= LONGEST_SAMPLE);
        let (at, before) = match known {
            Some(sample) if sample.at.elapsed() < SHORTEST_SAMPLE => return sample.rate,
            Some(sample) => (sample.at, sample.queries),
            None => {
                let start = (Instant::now(), count());
                tokio::time::sleep(SHORTEST_SAMPLE).await;
                start
            }
        };
        let (now, after) = (Instant::now(), count());
        let rate = after.saturating_sub(before) as f64 / (now - at).as_secs_f64();
        let rate = (rate * 10.0).round() / 10.0;
        *sample() = Some(Sample { at: now, queries: after, rate });
        rate
    }

    fn cache(&self, asked: &Asked) -> Answer {
        let name = asked.parameter("name").map(name).transpose()?;
        let (entries, matching) = self
            .server
            .forwarder()
            .cache_entries(MAX_ENTRIES, |entry| name.as_ref().is_none_or(|name| entry == name.as_wire()));
        let entries = entries.iter().map(look::cache_entry).collect();
        Ok(ok(&shapes::Cache { api: VERSION, matching, entries }))
    }

    fn watch(&self, asked: &Asked) -> Answer {
        let network = asked.parameter("network").map(str::to_owned);
        if let Some(network) = &network
            && self.server.table().network(network).is_none()
        {
            return Err(self.no_network(network));
        }
        let from = asked.parameter("from").map(str::to_owned);
        let only = asked.parameter("only").map(|word| {
            Only::parse(word).ok_or_else(|| {
                let text = format!("`only` is {word:?}; write failed, refused, forwarded or local");
                Reply::refusal(StatusCode::BAD_REQUEST, text)
            })
        });
        let filter = Filter {
            network,
            from: from
                .as_deref()
                .map(|from| watch::followed(self.server.table(), from))
                .transpose()
                .map_err(unprocessable)?,
            name: asked.parameter("name").map(Pattern::new),
            only: only.transpose()?,
        };
        let (body, chunks) = mpsc::channel(CHUNKS);
        tokio::spawn(watch::run(self.server.clone(), from, self.hub.watch(filter), body));
        Ok(Reply::stream("application/x-ndjson", chunks))
    }

    async fn explain(&self, asked: &Asked) -> Answer {
        let (subject, kind) = (asked.required("name")?, asked.parameter("type"));
        let kind = kind.map(|text| {
            let refuse =
                || Reply::refusal(StatusCode::BAD_REQUEST, format!("{text:?} is no record type; write A, AAAA, SRV"));
            rtype::parse(text).ok_or_else(refuse)
        });
        let (name, default) = match subject.parse() {
            Ok(address) if kind.is_none() => (reverse::name_of(address), rtype::PTR),
            _ => (name(subject)?, rtype::A),
        };
        let inquiry = Inquiry {
            name,
            rtype: kind.transpose()?.unwrap_or(default),
            from: asked.required("from")?.to_owned(),
            network: asked.parameter("network").map(str::to_owned),
            note: None,
            called: None,
        };
        let source = self.host.source();
        let outcome = {
            let world = World {
                table: self.server.table(),
                host_view: self.server.host_view(),
                hosts: self.server.hosts(),
                forwarder: self.server.forwarder(),
                responder: self.server.responder_options(),
                listeners: listeners(&self.server),
                port: self.server.port(),
                kind: &source.kind,
                lists: "callsign names",
            };
            explain(&world, &inquiry).map_err(unprocessable)?
        };
        if !asked.is_set("ask") {
            return Ok(ok(&outcome.explained));
        }
        match tokio::time::timeout(PATIENCE, outcome.ask(self.server.forwarder())).await {
            Ok(explained) => Ok(ok(&explained)),
            Err(_) => Err(Reply::refusal(StatusCode::GATEWAY_TIMEOUT, "the upstream takes too long")),
        }
    }

    fn no_network(&self, name: &str) -> Reply {
        let mut known: Vec<String> =
            self.server.table().networks().iter().map(|network| network.name().to_owned()).collect();
        known.sort();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Reply::refusal(StatusCode::NOT_FOUND, format!("there is no network {name:?}; there is {known}"))
    }
}

/// The paths that there are.
const PATHS: [&str; 12] = [
    "/v1/openapi.json",
    "/v1/status",
    "/v1/names",
    "/v1/containers",
    "/v1/hosts",
    "/v1/upstreams",
    "/v1/cache",
    "/v1/watch",
    "/v1/explain",
    "/v1/added",
    "/v1/reload",
    "/v1/log",
];

/// Where each network is answered.
fn listeners(server: &Server) -> Vec<(String, std::net::SocketAddr)> {
    let listening = server.status().listeners.into_iter().filter_map(|listener| match listener.state {
        ListenerState::Listening(address) => Some((listener.network, address)),
        ListenerState::Failed { .. } => None,
    });
    listening.collect()
}

fn ok(value: &impl serde::Serialize) -> Reply {
    Reply::json(StatusCode::OK, value)
}

fn unprocessable(error: String) -> Reply {
    Reply::refusal(StatusCode::UNPROCESSABLE_ENTITY, error)
}

/// A name as programs ask for it: in A-labels, where people write letters outside ASCII (answers.md N12).
fn name(text: &str) -> Result<Name, Reply> {
    let refuse = |error: NameError| Reply::refusal(StatusCode::BAD_REQUEST, error.to_string());
    let name: Name = text.parse().map_err(refuse)?;
    Ok(name.a_labels().ok().flatten().unwrap_or(name))
}

/// The body of a request.
fn body<T: DeserializeOwned>(asked: &Asked) -> Result<T, Reply> {
    serde_json::from_slice(&asked.body)
        .map_err(|error| Reply::refusal(StatusCode::BAD_REQUEST, format!("the body is not what it should be: {error}")))
}

impl Asked {
    /// How much of the connections what is read takes.
    pub(super) fn weight(&self) -> Weight {
        match &*self.path {
            "/v1/watch" => Weight::Streaming,
            "/v1/status" => Weight::Waiting,
            "/v1/explain" if self.is_set("ask") => Weight::Waiting,
            _ => Weight::Quick,
        }
    }

    /// True for a parameter that is there, unless it says no.
    fn is_set(&self, name: &str) -> bool {
        self.parameter(name).is_some_and(|value| !matches!(value, "false" | "no" | "0"))
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    fn required(&self, name: &str) -> Result<&str, Reply> {
        let missing = || Reply::refusal(StatusCode::BAD_REQUEST, format!("the parameter `{name}` is missing"));
        self.parameter(name).filter(|value| !value.is_empty()).ok_or_else(missing)
    }
}
