//! The configuration's words, as the options of forwarder, responder and server.

use std::time::Duration;

use callsign::forward::{Destination, ForwardOptions, Order, Route, Unanswered, Upstreams};
use callsign::responder::ResponderOptions;
use callsign::server::Limits;
use callsign::source::config::{
    CacheConfig, OrderConfig, RouteConfig, RouteTarget, ServerConfig, UnansweredConfig, UpstreamsConfig,
};

/// What a configuration says of forwarding.
pub(super) fn forwarding(server: &ServerConfig, cache: &CacheConfig, routes: &[RouteConfig]) -> ForwardOptions {
    let upstreams = match &server.upstreams {
        UpstreamsConfig::ResolvConf(path) => Upstreams::System(path.clone()),
        UpstreamsConfig::List(list) => Upstreams::List(list.clone()),
    };
    let routes = routes.iter().map(|route| {
        let to = match &route.to {
            RouteTarget::System => Destination::System,
            RouteTarget::Servers(servers) => Destination::Servers(servers.clone().into()),
        };
        Route { domain: route.domain.clone(), to }
    });
    let defaults = ForwardOptions::default();
    let seconds =
        |seconds: Option<u32>, default| seconds.map_or(default, |seconds| Duration::from_secs(seconds.into()));
    let order = match server.order {
        OrderConfig::Fastest => Order::Fastest,
        OrderConfig::RoundRobin => Order::RoundRobin,
        OrderConfig::Strict => Order::Strict,
        _ => Order::Listed,
    };
    let unanswered = match server.unanswered {
        UnansweredConfig::Silence => Unanswered::Silence,
        _ => Unanswered::ServFail,
    };
    ForwardOptions {
        order,
        unanswered,
        case_randomization: server.case_randomization,
        timeout: server.timeout.unwrap_or(defaults.timeout),
        upstreams,
        routes: routes.collect(),
        cache_size: cache.size.unwrap_or(defaults.cache_size),
        min_ttl: seconds(cache.min_ttl, defaults.min_ttl),
        max_ttl: seconds(cache.max_ttl, defaults.max_ttl),
        stale_for: seconds(cache.stale_for, defaults.stale_for),
        ..defaults
    }
}

/// What a configuration says of the answers of all networks.
pub(super) fn responder(server: &ServerConfig) -> ResponderOptions {
    let mut options = ResponderOptions::default();
    options.never_forward = server.never_forward.clone();
    options.version = server.version.clone();
    options.identity = server.identity.clone();
    options.udp_size = server.udp_size;
    options
}

/// What a configuration says of limits.
pub(super) fn limits(server: &ServerConfig) -> Limits {
    let (mut limits, wanted) = (Limits::default(), &server.limits);
    limits.tcp_connections = wanted.tcp_connections.unwrap_or(limits.tcp_connections);
    limits.tcp_connections_per_client = wanted.tcp_connections_per_client.unwrap_or(limits.tcp_connections_per_client);
    limits.tcp_queries_per_connection = wanted.tcp_queries_per_connection.unwrap_or(limits.tcp_queries_per_connection);
    limits.forwards = wanted.forwards.unwrap_or(limits.forwards);
    limits.forwards_per_client = wanted.forwards_per_client.unwrap_or(limits.forwards_per_client);
    limits.tcp_idle = wanted.tcp_idle.unwrap_or(limits.tcp_idle);
    limits
}
