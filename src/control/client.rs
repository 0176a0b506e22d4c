//! Asking a server by its control socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::http::encode;
use super::shapes::Refusal;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(70);
/// The longest answer that is read whole, octets.
const MAX_ANSWER: usize = 256 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The socket cannot be used.
    #[error("{path}: {error}")]
    Socket {
        /// The socket.
        path: String,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The server said no.
    #[error("{}", refusal.error)]
    Refused {
        /// The status code.
        status: u16,
        /// What it said.
        refusal: Refusal,
        /// The document that it said it in.
        body: Vec<u8>,
    },
    /// What came is not what a server says.
    #[error("{path}: {reason}")]
    Broken {
        /// The socket.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// A request.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    target: String,
    body: Vec<u8>,
    patience: Duration,
}

impl Call {
    /// To look at something.
    pub fn get(path: &str) -> Call {
        Call { method: Method::GET, target: path.to_owned(), body: Vec::new(), patience: PATIENCE }
    }

    /// To take something away.
    pub fn delete(path: &str) -> Call {
        Call { method: Method::DELETE, ..Call::get(path) }
    }

    /// To do something.
    pub fn post(path: &str, body: &impl Serialize) -> Call {
        // Shapes of our own cannot fail to be written.
        Call { method: Method::POST, body: serde_json::to_vec(body).unwrap_or_default(), ..Call::get(path) }
    }

    /// To set something.
    pub fn put(path: &str, body: &impl Serialize) -> Call {
        Call { method: Method::PUT, ..Call::post(path, body) }
    }

    /// With a parameter, if there is a value for it.
    pub fn with(mut self, name: &str, value: Option<impl AsRef<str>>) -> Call {
        if let Some(value) = value {
            self.target.push(if self.target.contains('?') { '&' } else { '?' });
            self.target.push_str(&format!("{name}={}", encode(value.as_ref())));
        }
        self
    }

    /// With less time for the server to answer.
    pub fn within(self, patience: Duration) -> Call {
        Call { patience, ..self }
    }

    /// Sends it, and reads the whole answer: the shape, and the document that it is of.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send<T: DeserializeOwned>(&self, socket: &Path) -> Result<(T, Vec<u8>), ClientError> {
        let broken = |reason: String| ClientError::Broken { path: socket.display().to_string(), reason };
        let answer = async {
            let response = self.respond(socket).await?;
            let status = response.status();
            let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| broken(error.to_string()))?.to_bytes().to_vec();
            if status != StatusCode::OK {
                return Err(refused(status, body));
            }
            let shape = serde_json::from_slice(&body);
            let shape =
                shape.map_err(|error| broken(format!("not the answer of this version of callsign: {error}")))?;
            Ok((shape, body))
        };
        timeout(self.patience, answer).await.unwrap_or_else(|_| Err(broken("the server does not answer".to_owned())))
    }

    /// Sends it, and gives each line of the answer as it comes, until `line` says to stop or the server ends.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn follow(&self, socket: &Path, mut line: impl FnMut(&str) -> bool) -> Result<(), ClientError> {
        let broken = |reason: String| ClientError::Broken { path: socket.display().to_string(), reason };
        let response = self.respond(socket).await?;
        let status = response.status();
        let mut body = response.into_body();
        if status != StatusCode::OK {
            let body = body.collect().await.map_err(|error| broken(error.to_string()))?;
            return Err(refused(status, body.to_bytes().to_vec()));
        }
        let mut rest: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(error.to_string()))?;
            rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(end) = rest.iter().position(|&octet| octet == b'\n') {
                let text: Vec<u8> = rest.drain(..=end).collect();
                if !line(String::from_utf8_lossy(&text[..end]).as_ref()) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn respond(&self, socket: &Path) -> Result<Response<Incoming>, ClientError> {
        let path = || socket.display().to_string();
        let stream = UnixStream::connect(socket).await.map_err(|error| ClientError::Socket { path: path(), error })?;
        let broken = |error: hyper::Error| {
            // A server that has no connection left closes a new one without a word.
            let is_closed = error.is_closed() || error.is_canceled() || error.is_incomplete_message() || is_io(&error);
            let reason = match is_closed {
                true => "the server closed the connection: it is stopping, or all its control connections are in use; try again".to_owned(),
                false => error.to_string(),
            };
            ClientError::Broken { path: path(), reason }
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(self.method.clone())
            .uri(&self.target)
            .header(HOST, "callsign")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(self.body.clone())))
            .map_err(|error| ClientError::Broken { path: path(), reason: error.to_string() })?;
        sender.send_request(request).await.map_err(broken)
    }
}

/// True if the connection broke.
fn is_io(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<io::Error>())
}

fn refused(status: StatusCode, body: Vec<u8>) -> ClientError {
    let refusal = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Refusal { error: format!("the server says {status}"), details: Vec::new() });
    ClientError::Refused { status: status.as_u16(), refusal, body }
}
