//! The engine's HTTP API, over its unix socket or, for socket proxies, over TCP. Only GET is ever sent, and only of `/_ping`,
//! `/events`, `/containers/…` and `/networks/…`, so that a proxy need allow no more.
//!
//! Each request has a connection of its own: none is stale after the engine was restarted, and none is kept while nothing
//! happens.

use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
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
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::events::FILTERS;

/// The newest API that is known to say what is read of it, and the oldest that has all of it.
const NEWEST: Version = Version(1, 52);
const OLDEST: Version = Version(1, 24);
/// How long an answer may take. An inspection waits while its container is started or stopped.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an answer to `/_ping` may take, which waits for no container.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer, octets: the list of 100,000 containers.
const MAX_ANSWER: usize = 256 << 20;
/// The longest event, octets: it has all labels of a container.
const MAX_EVENT: usize = 4 << 20;
/// What is read at a time, octets.
const CHUNK: usize = 16 << 10;

/// Where the engine listens, unless said otherwise.
const SOCKET: &str = "/var/run/docker.sock";
/// The TCP port of an engine or a socket proxy, unless said otherwise.
const TCP_PORT: u16 = 2375;

/// Where an engine, or a proxy before it, listens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// Plain HTTP, as socket proxies speak it.
    Tcp {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
}

impl EngineAddress {
    /// Reads a path, `unix:///PATH` or `tcp://HOST:PORT`; `by` says for errors where `text` was found.
    ///
    /// # Errors
    /// [`EngineError::Host`], [`EngineError::Tls`].
    pub fn parse(by: &str, text: &str) -> Result<EngineAddress, EngineError> {
        let wrong = || EngineError::Host { by: by.to_owned(), host: text.to_owned() };
        if text.starts_with("tcp://") {
            let uri: hyper::Uri = text.parse().map_err(|_| wrong())?;
            let authority = uri.authority().ok_or_else(wrong)?;
            let host = authority.host().trim_start_matches('[').trim_end_matches(']');
            let has_user = authority.as_str().contains('@');
            let has_port = authority.as_str().len() > authority.host().len();
            let port = if has_port { authority.port_u16() } else { Some(TCP_PORT) };
            return match port {
                Some(port) if port > 0 && !host.is_empty() && matches!(uri.path(), "" | "/") && !has_user => {
                    Ok(EngineAddress::Tcp { host: host.to_owned(), port })
                }
                _ => Err(wrong()),
            };
        }
        if text.starts_with("https://") {
            return Err(EngineError::Tls { by: by.to_owned(), host: text.to_owned() });
        }
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if path.starts_with('/') { Ok(EngineAddress::Unix(path.into())) } else { Err(wrong()) }
    }

    /// Why this is a dangerous way to an engine, if it is.
    pub fn warning(&self) -> Option<String> {
        let EngineAddress::Tcp { host, .. } = self else { return None };
        let is_loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        (!is_loopback).then(|| {
            format!(
                "{self} is not on loopback: the connection is not encrypted, and whoever reaches that port has what it allows, \
                 which is root on its host unless it is a proxy that allows only reading; publish it on 127.0.0.1"
            )
        })
    }
}

impl std::fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EngineAddress::Unix(path) => path.display().fmt(f),
            EngineAddress::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            EngineAddress::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

/// Why the engine could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The configuration, `DOCKER_HOST` or a context names neither a unix socket nor a TCP address.
    #[error(
        "{by} says {host:?}; callsign needs a unix socket or plain HTTP: write unix://{SOCKET}, or tcp://127.0.0.1:{TCP_PORT} for a socket proxy"
    )]
    Host {
        /// The key, the variable or the context.
        by: String,
        /// What it says.
        host: String,
    },
    /// The engine is to be reached by TLS.
    #[error(
        "{by} asks for {host:?} by TLS, which callsign does not speak; run callsign on the engine's host, with DOCKER_HOST=unix://{SOCKET} (and without DOCKER_TLS_VERIFY)"
    )]
    Tls {
        /// The key, the variable or the context.
        by: String,
        /// What it says.
        host: String,
    },
    /// The context that `DOCKER_CONTEXT` or Docker's configuration names is not there.
    #[error("there is no Docker context {0:?}; see `docker context ls`")]
    Context(String),
    /// Nothing listens there, or this user may not connect.
    #[error("{address}: {cause}{}", remedy(address, cause))]
    Connect {
        /// Where.
        address: EngineAddress,
        /// Why.
        cause: io::Error,
    },
    /// The connection failed.
    #[error("{0}")]
    Http(String),
    /// No answer came in time.
    #[error("no answer to {path} within {} s", after.as_secs())]
    Silent {
        /// What was asked.
        path: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The engine, or a proxy before it, refused.
    #[error("{path}: {}{}{message}{}", said(*status), if message.is_empty() { "" } else { ": " }, permission(*status))]
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

    /// What it is, without what to do if the engine was never there.
    pub(super) fn brief(&self) -> String {
        match self {
            EngineError::Connect { address, cause } if cause.kind() != io::ErrorKind::PermissionDenied => {
                format!("{address}: {cause}")
            }
            other => other.to_string(),
        }
    }
}

/// What to do about a status.
fn permission(status: u16) -> &'static str {
    match status {
        403 => {
            "; a socket proxy has to allow GET of /_ping, /events, /containers and /networks (often PING, EVENTS, CONTAINERS \
             and NETWORKS set to 1)"
        }
        _ => "",
    }
}

fn remedy(address: &EngineAddress, cause: &io::Error) -> &'static str {
    if let EngineAddress::Tcp { .. } = address {
        return "; is the socket proxy running, and its port published at that address?";
    }
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
/// [`EngineError::Host`], [`EngineError::Tls`], [`EngineError::Context`].
pub fn find_engine(
    configured: Option<&str>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<EngineAddress, EngineError> {
    let text = |name: &str| variable(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty());
    if let Some(configured) = configured {
        return EngineAddress::parse("`socket` in [docker]", configured);
    }
    if let Some(host) = text("DOCKER_HOST") {
        let address = given("DOCKER_HOST", &host)?;
        let has_tls = text("DOCKER_TLS_VERIFY").or_else(|| text("DOCKER_TLS")).is_some();
        return without_tls("DOCKER_HOST", address, has_tls);
    }
    let directory =
        text("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(Path::new(&text("HOME")?).join(".docker")));
    if let Some(directory) = directory {
        let context = text("DOCKER_CONTEXT").or_else(|| current_context(&directory));
        if let Some(name) = context.filter(|name| name != "default") {
            let (host, has_tls) = context_host(&directory, &name).ok_or_else(|| EngineError::Context(name.clone()))?;
            let by = format!("the Docker context {name:?}");
            return without_tls(&by, given(&by, &host)?, has_tls);
        }
    }
    let rootless = text("XDG_RUNTIME_DIR").map(|runtime| Path::new(&runtime).join("docker.sock"));
    let usual = PathBuf::from(SOCKET);
    Ok(EngineAddress::Unix(match rootless {
        Some(rootless) if !usual.exists() && rootless.exists() => rootless,
        _ => usual,
    }))
}

/// What Docker's client is told, which has a scheme always.
fn given(by: &str, host: &str) -> Result<EngineAddress, EngineError> {
    match host.contains("://") {
        true => EngineAddress::parse(by, host),
        false => Err(EngineError::Host { by: by.to_owned(), host: host.to_owned() }),
    }
}

fn without_tls(by: &str, address: EngineAddress, has_tls: bool) -> Result<EngineAddress, EngineError> {
    match address {
        EngineAddress::Tcp { .. } if has_tls => Err(EngineError::Tls { by: by.to_owned(), host: address.to_string() }),
        address => Ok(address),
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

/// The host of a context, and whether it has certificates. Each context has a directory, whose name is the SHA-256 of its own.
fn context_host(directory: &Path, name: &str) -> Option<(String, bool)> {
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
        let has_tls = directory.join("contexts/tls").join(entry.file_name()).join("docker").exists();
        Some((meta.endpoints.remove("docker")?.host?, has_tls))
    })
}

/// An engine that has answered.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    address: EngineAddress,
    version: Version,
}

impl Engine {
    /// Asks the engine which API it speaks.
    pub(super) async fn connect(address: EngineAddress) -> Result<Engine, EngineError> {
        let mut engine = Engine { address, version: OLDEST };
        let ping = async {
            let response = engine.send("/_ping").await?;
            let status = response.status();
            if !status.is_success() {
                let message = message_of(&whole("/_ping", response.into_body()).await?);
                return Err(EngineError::Refused { path: "/_ping".to_owned(), status: status.as_u16(), message });
            }
            let header = response.headers().get("Api-Version").and_then(|value| value.to_str().ok());
            // Engines before 1.12 do not say.
            Ok(header.and_then(Version::parse).unwrap_or(OLDEST))
        };
        let theirs = within("/_ping", PING_TIMEOUT, ping).await?;
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
        within(path, ANSWER_TIMEOUT, async {
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
        let fail = |cause| EngineError::Connect { address: self.address.clone(), cause };
        let (mut sender, connection) = match &self.address {
            EngineAddress::Unix(path) => handshake(UnixStream::connect(path).await.map_err(fail)?).await?,
            EngineAddress::Tcp { host, port } => {
                handshake(TcpStream::connect((host.as_str(), *port)).await.map_err(fail)?).await?
            }
        };
        let mut request = Request::new(String::new());
        *request.uri_mut() =
            path.parse().map_err(|error| EngineError::Answer { path: path.to_owned(), cause: format!("{error}") })?;
        request.headers_mut().insert("Host", hyper::header::HeaderValue::from_static("docker"));
        let response = sender.send_request(request).await.map_err(broken)?;
        Ok(response.map(|body| Answer { body, _connection: connection }))
    }
}

type Answering = Response<Answer>;

async fn handshake<S>(stream: S) -> Result<(http1::SendRequest<String>, Connection), EngineError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) =
        http1::Builder::new().max_buf_size(CHUNK * 4).handshake(Socket(stream)).await.map_err(broken)?;
    let connection = Connection(tokio::spawn(async move {
        // Its errors are those of the answer.
        let _ = connection.await;
    }));
    Ok((sender, connection))
}

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

async fn within<T>(
    path: &str,
    after: Duration,
    ask: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    timeout(after, ask).await.unwrap_or_else(|_| Err(EngineError::Silent { path: path.to_owned(), after }))
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

/// A connection, as hyper wants it.
struct Socket<S>(S);

impl<S: AsyncRead + Unpin> hyper::rt::Read for Socket<S> {
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

impl<S: AsyncWrite + Unpin> hyper::rt::Write for Socket<S> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_engines() {
        let parse = |text: &str| EngineAddress::parse("DOCKER_HOST", text);
        let tcp = |host: &str, port| EngineAddress::Tcp { host: host.to_owned(), port };
        for (text, address) in [
            ("/run/docker.sock", EngineAddress::Unix("/run/docker.sock".into())),
            ("unix:///run/docker.sock", EngineAddress::Unix("/run/docker.sock".into())),
            ("tcp://127.0.0.1:2375", tcp("127.0.0.1", 2375)),
            ("tcp://localhost", tcp("localhost", 2375)),
            ("tcp://socket-proxy:80/", tcp("socket-proxy", 80)),
            ("tcp://[::1]:2375", tcp("::1", 2375)),
        ] {
            assert_eq!(parse(text).unwrap(), address, "{text}");
        }
        assert_eq!(parse("tcp://[::1]").unwrap().to_string(), "tcp://[::1]:2375");
        for text in [
            "docker.sock",
            "unix://docker.sock",
            "tcp://",
            "tcp://:1",
            "tcp://h:x",
            "tcp://h:99999",
            "tcp://h:0",
            "tcp://h:",
            "tcp://a@h:1",
            "tcp://h:1/v1",
            "ssh://host",
            "npipe:////./pipe/docker_engine",
            "",
        ] {
            assert!(matches!(parse(text), Err(EngineError::Host { .. })), "{text}: {:?}", parse(text));
        }
        assert!(matches!(parse("https://h:2376"), Err(EngineError::Tls { .. })));
    }

    #[test]
    fn tcp_off_loopback_is_warned_of() {
        let warning = |text: &str| EngineAddress::parse("DOCKER_HOST", text).unwrap().warning();
        for text in ["/run/docker.sock", "tcp://127.0.0.1:1", "tcp://127.1.2.3:1", "tcp://localhost:1", "tcp://[::1]:1"]
        {
            assert_eq!(warning(text), None, "{text}");
        }
        for text in ["tcp://10.0.0.1:2375", "tcp://[fd00::1]:2375", "tcp://proxy:2375"] {
            let warning = warning(text).unwrap();
            assert!(
                warning.starts_with(text) && warning.contains("not encrypted") && warning.contains("root"),
                "{warning}"
            );
        }
    }

    #[test]
    fn tls_is_an_error_that_says_what_to_do() {
        let find = |variables: &'static [(&str, &str)]| {
            find_engine(None, move |name| {
                variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into())
            })
        };
        let error = find(&[("DOCKER_HOST", "tcp://h:2376"), ("DOCKER_TLS_VERIFY", "1")]).unwrap_err().to_string();
        assert!(error.contains("tcp://h:2376") && error.contains("DOCKER_HOST=unix:///var/run/docker.sock"), "{error}");
        assert!(find(&[("DOCKER_HOST", "tcp://h:2376"), ("DOCKER_TLS", "1")]).is_err());
        assert!(find(&[("DOCKER_HOST", "tcp://h:2375"), ("DOCKER_TLS_VERIFY", "")]).is_ok());
        assert!(find(&[("DOCKER_HOST", "unix:///s"), ("DOCKER_TLS_VERIFY", "1")]).is_ok(), "as Docker's client has it");
        assert!(find(&[("DOCKER_HOST", "/s")]).is_err(), "so has it this");
    }

    #[test]
    fn a_context_with_certificates_is_one_with_tls() {
        let home = tempfile::TempDir::new().unwrap();
        let meta = home.path().join("contexts/meta/0a1b");
        std::fs::create_dir_all(&meta).unwrap();
        let text = r#"{"Name": "far", "Metadata": {}, "Endpoints": {"docker": {"Host": "tcp://h:2376"}}}"#;
        std::fs::write(meta.join("meta.json"), text).unwrap();
        let config = home.path().as_os_str().to_owned();
        let find = || {
            find_engine(None, |name| match name {
                "DOCKER_CONFIG" => Some(config.clone()),
                "DOCKER_CONTEXT" => Some("far".into()),
                _ => None,
            })
        };
        assert!(matches!(find(), Ok(EngineAddress::Tcp { .. })));
        std::fs::create_dir_all(home.path().join("contexts/tls/0a1b/docker")).unwrap();
        assert!(matches!(find(), Err(EngineError::Tls { .. })));
    }
}
