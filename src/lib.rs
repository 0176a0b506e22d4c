//! A DNS server for container networks.
//!
//! Containers find each other by name. callsign answers those names authoritatively, network by network, and forwards
//! everything else. It is a library for a container runtime to link, and a small program, `callsign`, that runs the
//! library next to a runtime that does not link it.
//!
//! ```text
//!      sources (who fills the table)                       clients (who asks)
//!      config file, Podman, a runtime …                 containers, the host
//!             |                                               | UDP, TCP
//!             v                                               v
//!   +------- table -------+                        +------- server --------+
//!   | NameTable > Network |<-----------------------| listeners, workers,   |
//!   |   > Snapshot        |   one snapshot         | limits                |
//!   +---------------------+   a query              +-----------+-----------+
//!             ^                                                v
//!             |                                    +------ responder ------+
//!             +------------------------------------| a query and a client  |
//!                                                  | give Reply | Forward  |
//!                                                  | | Ignore              |
//!                                                  +-----------+-----------+
//!                                                              v Forward
//!                                                  +------- forward -------+
//!                                                  | routes, cache,        |
//!                                                  | upstreams             |
//!                                                  +-----------------------+
//! ```
//!
//! A query sees exactly one snapshot of a network: a change, such as attaching an endpoint, is seen whole or not at all.
//!
//! # Quick start
//!
//! ```
//! # #[cfg(feature = "server")]
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use callsign::forward::Upstreams;
//! use callsign::server::Server;
//! use callsign::table::{Endpoint, Network};
//!
//! // Port 0 lets the kernel choose; a container network's gateway listens on 53, which is the default.
//! let server = Server::builder().port(0).upstreams(Upstreams::system()?).start().await?;
//!
//! let web = Network::builder("web").subnet("172.18.0.0/16").listen("127.0.0.1").build()?;
//! let web = server.add_network(web).await?;
//!
//! web.attach(Endpoint::builder("3f2a9c").address("172.18.0.2").names(["db", "database"]).build()?)?;
//! // From here on every query sees db. Detaching it, or attaching another endpoint, is just as immediate.
//!
//! server.shutdown().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Layers
//!
//! A module uses the modules above it in this list and none below it. The first four are synchronous, take the time as
//! an argument and build without any feature.
//!
//! | module | holds |
//! |---|---|
//! | [`wire`] | DNS on the wire: names, queries, replies, EDNS |
//! | [`settings`] | a server's settings, as plain values |
//! | [`table`] | networks, endpoints, snapshots, changes |
//! | [`responder`] | the decision: what is answered to whom, and why |
//! | `forward` (feature `server`) | forwarding: routes, cache, upstreams |
//! | `server` (feature `server`) | sockets, workers, limits, graceful stop |
//! | `control` (feature `control`) | inspecting and controlling a running server, over a socket |
//! | `source` (features `config`, `docker`, `etcd`, `podman`) | what keeps a table up to date: the configuration file, a Docker engine, Podman's directory, other hosts through etcd |
//!
//! The library installs no logger, panic hook, allocator or signal handler, never ends the process, and stops whatever it
//! started on [`shutdown`](https://docs.rs/callsign/latest/callsign/server/struct.Server.html#method.shutdown). Two
//! servers in one process work.
#![forbid(unsafe_code)]
// What belongs to the host program: to end the process, and to write to its terminal.
#![warn(clippy::exit, clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "control")]
pub mod control;
#[cfg(feature = "server")]
pub mod forward;
pub mod responder;
#[cfg(feature = "server")]
pub mod server;
pub mod settings;
#[cfg(any(feature = "config", feature = "docker", feature = "etcd", feature = "podman"))]
pub mod source;
#[cfg(any(feature = "config", feature = "control"))]
mod spelling;
pub mod table;
pub mod wire;

pub use ipnet::IpNet;

/// The README's library example, compiled.
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The examples of docs/library.md, compiled.
#[cfg(all(doctest, feature = "server", feature = "config"))]
#[doc = include_str!("../docs/library.md")]
struct LibraryPage;
