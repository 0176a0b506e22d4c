//! A connection to one member of the cluster, and the calls that are made over it.
//!
//! One member at a time, and no reconnecting: whoever uses it knows when it fails, and takes the next one. Every call has a
//! deadline, HTTP/2 pings find out that a member is dead, and with `hasleader` a member without a leader says so, instead of
//! being silent.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_stream::Stream;
use tonic::client::{Grpc, GrpcService};
use tonic::metadata::{AsciiMetadataValue, MetadataValue};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::proto::{
    AuthenticateRequest, AuthenticateResponse, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest,
    LeaseKeepAliveResponse, LeaseRevokeRequest, LeaseRevokeResponse, RangeRequest, RangeResponse, TxnRequest,
    TxnResponse, WatchRequest, WatchResponse,
};
use super::state_file;
use crate::settings::StoreOptions;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
const PING_INTERVAL: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// A watch says all that was missed in one message: 50,000 endpoints are 14 MB.
pub(super) const MAX_MESSAGE: usize = 64 << 20;
/// What may be under way on a connection, and on one stream of it.
const WINDOW: u32 = 4 << 20;

/// One member, as it is written in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    uri: Uri,
    host: String,
    port: u16,
    is_tls: bool,
}

impl Member {
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Member, String> {
        let wrong = || format!("\"{text}\" is no address of etcd; write https://10.77.0.1:2379");
        let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        // A port that is no number is none for `Uri`, and no error.
        let has_port = uri.authority().is_some_and(|authority| authority.as_str().len() > host.len());
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || has_port && uri.port_u16().is_none() {
            return Err(wrong());
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(2379);
        Ok(Member { host, port, is_tls, uri })
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        match self.host.parse::<IpAddr>() {
            Ok(ip) => write!(f, "{scheme}://{}", SocketAddr::new(ip, self.port)),
            Err(_) => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

/// Why a member does not do what it should.
#[derive(Debug, Clone)]
pub(super) enum ClientError {
    /// It is not reached, or the connection to it broke. What was asked may have been done.
    Unreachable(String),
    /// It did not answer in time. What was asked may have been done.
    Silent(&'static str),
    /// It refuses.
    Refused(&'static str, Code, String),
    /// What we have to tell it about ourselves is not there.
    Local(String),
}

impl ClientError {
    /// True if the token that we have counts no more.
    pub(super) fn is_token(&self) -> bool {
        matches!(self, ClientError::Refused(_, Code::Unauthenticated, _))
            || matches!(self, ClientError::Refused(_, _, message) if message.contains("invalid auth token"))
    }

    /// True if our user may not do that.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, ClientError::Refused(_, Code::PermissionDenied, _))
            || matches!(self, ClientError::Refused(_, _, message) if message.contains("user name is empty"))
    }

    /// True if the lease is gone.
    pub(super) fn is_lease(&self) -> bool {
        matches!(self, ClientError::Refused(_, _, message) if message.contains("requested lease not found"))
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Unreachable(what) | ClientError::Local(what) => f.write_str(what),
            ClientError::Silent(call) => write!(f, "no answer to {call} within {} s", CALL_TIMEOUT.as_secs()),
            ClientError::Refused(call, code, message) if message.is_empty() => {
                write!(f, "{call} was refused ({code:?})")
            }
            ClientError::Refused(call, _, message) => {
                // etcd says who it is each time.
                write!(f, "{call} was refused: {}", message.trim_start_matches("etcdserver: "))
            }
        }
    }
}

impl Error for ClientError {}

/// How members are connected to: TLS, and who we are.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    tls: Option<Arc<ClientConfig>>,
    has_certificate: bool,
    user: Option<(String, std::path::PathBuf)>,
}

impl Credentials {
    /// Reads the certificates; again for each connection, since they are replaced as the host lives.
    ///
    /// # Errors
    /// Which file is not as it should be.
    pub(super) fn read(options: &StoreOptions) -> io::Result<Credentials> {
        let is_tls = options.etcd.iter().any(|member| member.starts_with("https:"));
        let tls = if is_tls { Some(Arc::new(tls(options)?)) } else { None };
        Ok(Credentials { tls, has_certificate: options.certificate.is_some(), user: options.user.clone() })
    }
}

fn tls(options: &StoreOptions) -> io::Result<ClientConfig> {
    let unreadable =
        |path: &Path, error: rustls::pki_types::pem::Error| io::Error::other(format!("{}: {error}", path.display()));
    let mut roots = RootCertStore::empty();
    match &options.ca {
        Some(path) => {
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, error))? {
                roots.add(certificate.map_err(|error| unreadable(path, error))?).map_err(io::Error::other)?;
            }
            if roots.is_empty() {
                return Err(io::Error::other(format!("{}: no certificate in it", path.display())));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(io::Error::other("no certificate authorities on this system; set `ca` in [store]"));
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let builder = builder.with_root_certificates(roots);
    let mut config = match &options.certificate {
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_file_iter(certificate).map_err(|error| unreadable(certificate, error))?;
            let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|error| unreadable(certificate, error))?;
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error))?;
            builder.with_client_auth_cert(chain, key_der).map_err(|error| {
                io::Error::other(format!("{} and {}: {error}", certificate.display(), key.display()))
            })?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// A connection to one member.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    grpc: Grpc<Http2>,
    token: Option<AsciiMetadataValue>,
    /// Our address on it.
    local: IpAddr,
    /// Ends the task that drives it.
    _driver: Arc<Driver>,
}

#[derive(Debug)]
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Connects, and says who we are.
    pub(super) async fn open(member: &Member, credentials: &Credentials) -> Result<Connection, ClientError> {
        let unreachable = |what: String| ClientError::Unreachable(format!("{member}: {what}"));
        let connected = timeout(CONNECT_TIMEOUT, connect(member, credentials)).await;
        let (io, local) = match connected {
            Ok(connected) => connected.map_err(|error| unreachable(explain(&error, credentials)))?,
            Err(_) => return Err(unreachable(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()))),
        };
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let handshake = timeout(CONNECT_TIMEOUT, builder.handshake(TokioIo::new(io))).await;
        let (sender, connection) = match handshake {
            Ok(shaken) => shaken.map_err(|error| unreachable(explain(&error, credentials)))?,
            Err(_) => return Err(unreachable("no HTTP/2".to_owned())),
        };
        // What it ends with is told by the calls that fail.
        let driver = tokio::spawn(async move { drop(connection.await) });
        let grpc = Grpc::with_origin(Http2(sender), member.uri.clone());
        let grpc = grpc.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
        let driver = Arc::new(Driver(driver.abort_handle()));
        let mut connection = Connection { grpc, token: None, local, _driver: driver };
        connection.authenticate(credentials).await.map_err(|error| match error {
            ClientError::Unreachable(what) if member.is_tls && !credentials.has_certificate => {
                unreachable(format!("{what}; does etcd want a client certificate? Set `cert` and `key` in [store]"))
            }
            ClientError::Unreachable(what) => unreachable(what),
            error => error,
        })?;
        Ok(connection)
    }

    async fn authenticate(&mut self, credentials: &Credentials) -> Result<(), ClientError> {
        let Some((name, file)) = credentials.user.clone() else {
            // Whether a certificate is wanted is known with the first answer.
            let ping = RangeRequest { key: b"\0".to_vec(), limit: 1, serializable: true, ..RangeRequest::default() };
            return match self.range_of_any(ping).await {
                Err(error @ (ClientError::Unreachable(_) | ClientError::Silent(_))) => Err(error),
                _ => Ok(()),
            };
        };
        let password = state_file::read_secret(&file)
            .map_err(|error| ClientError::Local(format!("{}: {error}", file.display())))?;
        let request = AuthenticateRequest { name, password };
        let answer: Result<AuthenticateResponse, ClientError> =
            self.call("/etcdserverpb.Auth/Authenticate", "Authenticate", request, false).await;
        match answer {
            Ok(answer) => {
                let token = MetadataValue::try_from(answer.token)
                    .map_err(|_| ClientError::Unreachable("etcd's token is no text".to_owned()))?;
                self.token = Some(token);
                Ok(())
            }
            // Nobody has to say who he is.
            Err(ClientError::Refused(_, _, message)) if message.contains("authentication is not enabled") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Our address, as the member sees it.
    pub(super) fn local(&self) -> IpAddr {
        self.local
    }

    async fn call<Q, R>(
        &self,
        path: &'static str,
        name: &'static str,
        request: Q,
        needs_leader: bool,
    ) -> Result<R, ClientError>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        let mut grpc = self.grpc.clone();
        let request = self.request(request, needs_leader);
        let call = async {
            grpc.ready().await.map_err(|error| broken(&error))?;
            let codec = ProstCodec::<Q, R>::default();
            let answer = grpc.unary(request, PathAndQuery::from_static(path), codec).await;
            answer.map(tonic::Response::into_inner).map_err(|status| failed(name, &status))
        };
        timeout(CALL_TIMEOUT, call).await.unwrap_or(Err(ClientError::Silent(name)))
    }

    fn request<Q>(&self, message: Q, needs_leader: bool) -> Request<Q> {
        let mut request = Request::new(message);
        if needs_leader {
            request.metadata_mut().insert("hasleader", AsciiMetadataValue::from_static("true"));
        }
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }

    async fn range_of_any(&self, request: RangeRequest) -> Result<RangeResponse, ClientError> {
        self.call("/etcdserverpb.KV/Range", "Range", request, false).await
    }

    /// `needs_leader`: false for what a member knows that has none.
    pub(super) async fn range(&self, request: RangeRequest, needs_leader: bool) -> Result<RangeResponse, ClientError> {
        self.call("/etcdserverpb.KV/Range", "Range", request, needs_leader).await
    }

    pub(super) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, ClientError> {
        self.call("/etcdserverpb.KV/Txn", "Txn", request, true).await
    }

    pub(super) async fn grant(&self, ttl: Duration) -> Result<LeaseGrantResponse, ClientError> {
        let request = LeaseGrantRequest { ttl: i64::try_from(ttl.as_secs().max(1)).unwrap_or(i64::MAX) };
        self.call("/etcdserverpb.Lease/LeaseGrant", "LeaseGrant", request, true).await
    }

    pub(super) async fn revoke(&self, id: i64) -> Result<(), ClientError> {
        let request = LeaseRevokeRequest { id };
        let answer: Result<LeaseRevokeResponse, _> =
            self.call("/etcdserverpb.Lease/LeaseRevoke", "LeaseRevoke", request, true).await;
        answer.map(drop)
    }

    /// A watch, and where its requests go.
    pub(super) async fn watch(
        &self,
        first: WatchRequest,
    ) -> Result<Box<Talk<WatchRequest, WatchResponse>>, ClientError> {
        self.talk("/etcdserverpb.Watch/Watch", "Watch", first).await
    }

    /// A lease's signs of life, and where they go.
    pub(super) async fn keep_alive(
        &self,
        first: LeaseKeepAliveRequest,
    ) -> Result<Box<Talk<LeaseKeepAliveRequest, LeaseKeepAliveResponse>>, ClientError> {
        self.talk("/etcdserverpb.Lease/LeaseKeepAlive", "LeaseKeepAlive", first).await
    }

    /// A stream is answered with its first answer, so the first request goes ahead.
    async fn talk<Q, R>(&self, path: &'static str, name: &'static str, first: Q) -> Result<Box<Talk<Q, R>>, ClientError>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        let (sender, receiver) = mpsc::channel(16);
        // There is room.
        let _ = sender.try_send(first);
        let mut grpc = self.grpc.clone();
        let request = self.request(Requests(receiver), true);
        let call = async {
            grpc.ready().await.map_err(|error| broken(&error))?;
            let codec = ProstCodec::<Q, R>::default();
            let answers = grpc.streaming(request, PathAndQuery::from_static(path), codec).await;
            answers.map(tonic::Response::into_inner).map_err(|status| failed(name, &status))
        };
        let answers = timeout(CALL_TIMEOUT, call).await.unwrap_or(Err(ClientError::Silent(name)))?;
        Ok(Box::new(Talk { name, requests: sender, answers }))
    }
}

/// A stream of requests, and one of answers.
#[derive(Debug)]
pub(super) struct Talk<Q, R> {
    name: &'static str,
    requests: mpsc::Sender<Q>,
    answers: Streaming<R>,
}

impl<Q, R> Talk<Q, R> {
    /// Says something; nothing if there is no room, as with a member that does not listen any more.
    pub(super) fn say(&self, request: Q) {
        // Its silence is noticed.
        let _ = self.requests.try_send(request);
    }

    /// The next answer. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Result<R, ClientError> {
        match self.answers.message().await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(ClientError::Unreachable(format!("the member has ended {}", self.name))),
            Err(status) => Err(failed(self.name, &status)),
        }
    }
}

/// Requests as a stream.
struct Requests<Q>(mpsc::Receiver<Q>);

impl<Q> Stream for Requests<Q> {
    type Item = Q;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Q>> {
        self.0.poll_recv(context)
    }
}

/// The connection's sender as what tonic calls.
#[derive(Debug, Clone)]
struct Http2(http2::SendRequest<tonic::body::Body>);

impl GrpcService<tonic::body::Body> for Http2 {
    type ResponseBody = hyper::body::Incoming;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<hyper::body::Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// What is read and written: TCP, or TLS over it.
trait Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Io for T {}

async fn connect(member: &Member, credentials: &Credentials) -> io::Result<(Box<dyn Io>, IpAddr)> {
    let stream = TcpStream::connect((member.host.as_str(), member.port)).await?;
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?.ip();
    let Some(tls) = credentials.tls.as_ref().filter(|_| member.is_tls) else { return Ok((Box::new(stream), local)) };
    let name = match member.host.parse::<IpAddr>() {
        Ok(ip) => ServerName::IpAddress(ip.into()),
        Err(_) => ServerName::try_from(member.host.clone()).map_err(io::Error::other)?,
    };
    let stream = TlsConnector::from(tls.clone()).connect(name, stream).await?;
    Ok((Box::new(stream), local))
}

fn broken(error: &dyn Error) -> ClientError {
    ClientError::Unreachable(chain(error))
}

fn failed(call: &'static str, status: &Status) -> ClientError {
    // What the connection says comes as a status, too.
    match status.source() {
        Some(source) => ClientError::Unreachable(chain(source)),
        None if matches!(status.code(), Code::Cancelled | Code::Unknown) && status.message().is_empty() => {
            ClientError::Unreachable("the connection is gone".to_owned())
        }
        None => ClientError::Refused(call, status.code(), status.message().to_owned()),
    }
}

fn explain(error: &dyn Error, credentials: &Credentials) -> String {
    let text = chain(error);
    let wants_certificate = text.contains("CertificateRequired") || text.contains("HandshakeFailure");
    match wants_certificate && !credentials.has_certificate {
        true => format!("{text}; does etcd want a client certificate? Set `cert` and `key` in [store]"),
        false => text,
    }
}

/// An error with what caused it, each once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_addresses_with_a_scheme() {
        for (text, shown) in [
            ("https://10.77.0.1:2379", "https://10.77.0.1:2379"),
            ("http://127.0.0.1/", "http://127.0.0.1:2379"),
            ("https://[fd00::1]:23", "https://[fd00::1]:23"),
            ("https://etcd-1.example.net", "https://etcd-1.example.net:2379"),
        ] {
            assert_eq!(Member::parse(text).unwrap().to_string(), shown);
        }
        for text in ["10.77.0.1:2379", "ftp://10.77.0.1", "https://", "https://a:b", "http://a/b", "http://a?b", ""] {
            assert!(Member::parse(text).unwrap_err().contains("write https://"), "{text}");
        }
    }
}
