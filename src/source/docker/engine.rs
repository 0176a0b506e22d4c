//! Asking the engine: HTTP/1.1 over its socket. Only GET is ever sent, and only of `/_ping`, `/events`, `/containers/…` and
//! `/networks/…`, so that a socket proxy need allow no more.
//!
//! Each question has a connection of its own: none is stale when the engine was restarted, and none is kept while nothing
//! happens.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Buf, Incoming};
use hyper::client::conn::http1;
use hyper::rt::ReadBufCursor;
use hyper::{Request, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::events::FILTERS;

/// The newest API that is known to say what is read of it, and the oldest that has all of it.
const NEWEST: Version = Version(1, 52);
const OLDEST: Version = Version(1, 24);
/// How long an answer may take. An inspection waits while its container is started or stopped.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer, octets: the list of 100,000 containers.
const MAX_ANSWER: usize = 256 << 20;
/// The longest event, octets: it has all labels of a container.
const MAX_EVENT: usize = 4 << 20;
/// What is read at a time, octets.
const CHUNK: usize = 16 << 10;

/// Where the engine listens, unless said otherwise.
const SOCKET: &str = "/var/run/docker.sock";

/// Why the engine could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// `DOCKER_HOST` or a context names what is no socket of this machine.
    #[error(
        "{by} says {host:?}; callsign follows an engine of this machine, at a unix socket: write socket = \"{SOCKET}\" in [docker], or DOCKER_HOST=unix://{SOCKET}"
    )]
    Host {
        /// The variable or the context.
        by: String,
        /// What it says.
        host: String,
    },
    /// The context that `DOCKER_CONTEXT` or Docker's configuration names is not there.
    #[error("there is no Docker context {0:?}; see `docker context ls`")]
    Context(String),
    /// Nobody listens at the socket, or this user may not connect.
    #[error("{}: {cause}{}", socket.display(), remedy(cause))]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The connection failed.
    #[error("{0}")]
    Http(String),
    /// No answer came in time.
    #[error("no answer to {0} within 30 s")]
    Silent(String),
    /// The engine refused.
    #[error("{path}: {}{}{message}", said(*status), if message.is_empty() { "" } else { ": " })]
    Refused {
        /// What was asked.
        path: String,
        /// The status code of HTTP.
        status: u16,
        /// What it says of it.
        message: String,
    },
    /// The answer is not what it should be.
    #[error("{path}: {cause}")]
    Answer {
        /// What was asked.
        path: String,
        /// What is wrong.
        cause: String,
    },
    /// The engine is too old.
    #[error("the engine speaks API {0}; callsign needs {OLDEST} or later")]
    Old(Version),
}

/// A status code, and what it means.
fn said(status: u16) -> String {
    StatusCode::from_u16(status).map_or_else(|_| status.to_string(), |status| status.to_string())
}

fn broken(error: hyper::Error) -> EngineError {
    EngineError::Http(error.to_string())
}

impl EngineError {
    /// True if what was asked for is not there.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, EngineError::Refused { status: 404, .. })
    }
}

fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => {
            "; is Docker installed and running? If its socket is elsewhere, write it as `socket` in [docker]"
        }
        io::ErrorKind::PermissionDenied => "; run callsign as root or in the socket's group (often `docker`)",
        _ => "",
    }
}

/// A version of the API, such as 1.41.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u16, u16);

impl Version {
    fn parse(text: &str) -> Option<Version> {
        let (major, minor) = text.trim().split_once('.')?;
        Some(Version(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Where the engine listens: as `configured`, else as Docker's own client finds it, by `DOCKER_HOST`, `DOCKER_CONTEXT`, the
/// current context, and the usual places. `variable` looks up the environment.
///
/// # Errors
/// [`EngineError::Host`], [`EngineError::Context`].
pub fn find_socket(
    configured: Option<&str>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, EngineError> {
    let text = |name: &str| variable(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty());
    if let Some(configured) = configured {
        return Ok(configured.strip_prefix("unix://").unwrap_or(configured).into());
    }
    if let Some(host) = text("DOCKER_HOST") {
        return unix_socket("DOCKER_HOST", &host);
    }
    let directory =
        text("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(Path::new(&text("HOME")?).join(".docker")));
    if let Some(directory) = directory {
        let context = text("DOCKER_CONTEXT").or_else(|| current_context(&directory));
        if let Some(name) = context.filter(|name| name != "default") {
            let host = context_host(&directory, &name).ok_or_else(|| EngineError::Context(name.clone()))?;
            return unix_socket(&format!("the Docker context {name:?}"), &host);
        }
    }
    let rootless = text("XDG_RUNTIME_DIR").map(|runtime| Path::new(&runtime).join("docker.sock"));
    let usual = PathBuf::from(SOCKET);
    Ok(match rootless {
        Some(rootless) if !usual.exists() && rootless.exists() => rootless,
        _ => usual,
    })
}

fn unix_socket(by: &str, host: &str) -> Result<PathBuf, EngineError> {
    match host.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(path.into()),
        _ => Err(EngineError::Host { by: by.to_owned(), host: host.to_owned() }),
    }
}

/// Of `config.json` in Docker's configuration.
fn current_context(directory: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "currentContext")]
        current: Option<String>,
    }
    let config: Config = serde_json::from_slice(&std::fs::read(directory.join("config.json")).ok()?).ok()?;
    config.current.filter(|name| !name.is_empty())
}

/// Each context has a directory, whose name is the SHA-256 of its own.
fn context_host(directory: &Path, name: &str) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Meta {
        name: String,
        endpoints: std::collections::BTreeMap<String, Place>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Place {
        host: Option<String>,
    }
    let entries = std::fs::read_dir(directory.join("contexts/meta")).ok()?;
    entries.flatten().find_map(|entry| {
        let mut meta: Meta = serde_json::from_slice(&std::fs::read(entry.path().join("meta.json")).ok()?).ok()?;
        if meta.name != name {
            return None;
        }
        meta.endpoints.remove("docker")?.host
    })
}

/// An engine that has answered.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    socket: PathBuf,
    version: Version,
}

impl Engine {
    /// Asks the engine at a socket which API it speaks.
    pub(super) async fn connect(socket: &Path) -> Result<Engine, EngineError> {
        let mut engine = Engine { socket: socket.to_owned(), version: OLDEST };
        let response = within("/_ping", engine.send("/_ping")).await?;
        let header = response.headers().get("Api-Version").and_then(|value| value.to_str().ok());
        if !response.status().is_success() {
            return Err(EngineError::Refused {
                path: "/_ping".to_owned(),
                status: response.status().as_u16(),
                message: String::new(),
            });
        }
        // Engines before 1.12 do not say.
        let theirs = header.and_then(Version::parse).unwrap_or(OLDEST);
        if theirs < OLDEST {
            return Err(EngineError::Old(theirs));
        }
        engine.version = theirs.min(NEWEST);
        Ok(engine)
    }

    /// The API that is spoken.
    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// The JSON at a path.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        within(path, async {
            let response = self.send(&self.versioned(path)).await?;
            let status = response.status();
            let body = whole(path, response.into_body()).await?;
            if !status.is_success() {
                return Err(EngineError::Refused {
                    path: path.to_owned(),
                    status: status.as_u16(),
                    message: message_of(&body),
                });
            }
            serde_json::from_slice(&body)
                .map_err(|error| EngineError::Answer { path: path.to_owned(), cause: error.to_string() })
        })
        .await
    }

    /// Subscribes to events: what is done from here on is among them.
    pub(super) async fn events(&self) -> Result<Events, EngineError> {
        let path = format!("/events?filters={}", escaped(FILTERS));
        let response = self.send(&self.versioned(&path)).await?;
        let status = response.status();
        if !status.is_success() {
            let message = message_of(&whole("/events", response.into_body()).await?);
            return Err(EngineError::Refused { path: "/events".to_owned(), status: status.as_u16(), message });
        }
        Ok(Events { body: response.into_body(), buffer: Vec::new() })
    }

    fn versioned(&self, path: &str) -> String {
        format!("/v{}{path}", self.version)
    }

    async fn send(&self, path: &str) -> Result<Answering, EngineError> {
        let fail = |cause| EngineError::Connect { socket: self.socket.clone(), cause };
        let stream = UnixStream::connect(&self.socket).await.map_err(fail)?;
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(CHUNK * 4).handshake(Socket(stream)).await.map_err(broken)?;
        let connection = Connection(tokio::spawn(async move {
            // Its errors are those of the answer.
            let _ = connection.await;
        }));
        let mut request = Request::new(String::new());
        *request.uri_mut() =
            path.parse().map_err(|error| EngineError::Answer { path: path.to_owned(), cause: format!("{error}") })?;
        request.headers_mut().insert("Host", hyper::header::HeaderValue::from_static("docker"));
        let response = sender.send_request(request).await.map_err(broken)?;
        Ok(response.map(|body| Answer { body, _connection: connection }))
    }
}

type Answering = Response<Answer>;

/// The body of an answer, and the connection that it comes over, which ends with it.
struct Answer {
    body: Incoming,
    _connection: Connection,
}

struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Answer {
    /// Some more octets, or the end.
    async fn next(&mut self) -> Result<Option<hyper::body::Bytes>, hyper::Error> {
        loop {
            let frame = std::future::poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await;
            match frame.transpose()?.map(|frame| frame.into_data()) {
                None => return Ok(None),
                Some(Ok(data)) => return Ok(Some(data)),
                // Trailers.
                Some(Err(_)) => {}
            }
        }
    }
}

async fn whole(path: &str, mut answer: Answer) -> Result<Vec<u8>, EngineError> {
    let mut octets = Vec::new();
    while let Some(data) = answer.next().await.map_err(broken)? {
        if octets.len() + data.remaining() > MAX_ANSWER {
            let cause = format!("the answer is longer than {MAX_ANSWER} octets");
            return Err(EngineError::Answer { path: path.to_owned(), cause });
        }
        octets.extend_from_slice(&data);
    }
    Ok(octets)
}

/// What the engine says of an error: `{"message":"…"}`, or a text.
fn message_of(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    let text = serde_json::from_slice(body)
        .map_or_else(|_| String::from_utf8_lossy(body).into_owned(), |message: Message| message.message);
    text.trim().chars().take(200).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

async fn within<T>(path: &str, ask: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
    timeout(PATIENCE, ask).await.unwrap_or_else(|_| Err(EngineError::Silent(path.to_owned())))
}

/// A text as a part of a path or a query.
pub(super) fn escaped(text: &str) -> String {
    let octet = |octet: u8| match octet {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' | b'.' => char::from(octet).to_string(),
        _ => format!("%{octet:02X}"),
    };
    text.bytes().map(octet).collect()
}

/// The stream of events.
pub(super) struct Events {
    body: Answer,
    buffer: Vec<u8>,
}

impl Events {
    /// Some lines, each an event; `None` at the end of the stream, which the engine cuts when it stops.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let data = self.body.next().await.ok().flatten()?;
            self.buffer.extend_from_slice(&data);
            if let Some(end) = self.buffer.iter().rposition(|&octet| octet == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                return Some(std::mem::replace(&mut self.buffer, rest));
            }
            if self.buffer.len() > MAX_EVENT {
                return None;
            }
        }
    }
}

/// The socket, as hyper wants it.
struct Socket(UnixStream);

impl hyper::rt::Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // By way of memory of our own: hyper's is not initialized, and to hand that on takes `unsafe`.
        let mut octets = [0; CHUNK];
        let len = cursor.remaining().min(CHUNK);
        let mut buffer = ReadBuf::new(&mut octets[..len]);
        ready!(Pin::new(&mut self.0).poll_read(context, &mut buffer))?;
        cursor.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
