//! The scripted upstream over TLS, HTTPS (HTTP/2) and QUIC.
//!
//! Over HTTPS and QUIC each query has its own stream: the first message that a script sends is the reply, and `Close` and
//! `SendHalf` end the stream, or the half of the reply, early.

use std::net::SocketAddr;
use std::sync::Arc;

use hickory_resolver::net::quic::{DoqErrorCode, QuicServer, QuicStream};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::TlsAcceptor;

use super::upstream::{Act, Query, Script, Scripted, Seen, acts, serve_connection};

/// DNS over TLS on 127.0.0.1.
pub async fn tls(config: Arc<ServerConfig>, script: impl Fn(&Query) -> Vec<Act> + Send + Sync + 'static) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Scripted::of(listener.local_addr().unwrap(), script, |script, seen| async move {
        loop {
            let Ok((stream, from)) = listener.accept().await else { continue };
            let (acceptor, script, seen) = (TlsAcceptor::from(config.clone()), script.clone(), seen.clone());
            tokio::spawn(async move { serve_connection(acceptor.accept(stream).await?, from, script, seen).await });
        }
    })
}

/// DNS over HTTPS on 127.0.0.1, at any path.
pub async fn https(config: Arc<ServerConfig>, script: impl Fn(&Query) -> Vec<Act> + Send + Sync + 'static) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Scripted::of(listener.local_addr().unwrap(), script, |script, seen| async move {
        loop {
            let Ok((stream, from)) = listener.accept().await else { continue };
            tokio::spawn(serve_http(stream, TlsAcceptor::from(config.clone()), from, script.clone(), seen.clone()));
        }
    })
}

async fn serve_http(stream: TcpStream, tls: TlsAcceptor, from: SocketAddr, script: Script, seen: Seen) -> Option<()> {
    let mut connection = h2::server::handshake(tls.accept(stream).await.ok()?).await.ok()?;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (script, seen) = (script.clone(), seen.clone());
        tokio::spawn(async move {
            let mut body = request.into_body();
            let mut query = Vec::new();
            while let Some(Ok(octets)) = body.data().await {
                query.extend_from_slice(&octets);
            }
            for act in acts(&script, &seen, &query, true, from) {
                let message = match act {
                    Act::Wait(gate) => {
                        gate.wait().await;
                        continue;
                    }
                    Act::After(time) => {
                        tokio::time::sleep(time).await;
                        continue;
                    }
                    Act::Send(message) | Act::SendSlowly(message) => message,
                    Act::SendHalf(message) => message[..message.len() / 2].to_vec(),
                    Act::SendFromElsewhere(_) => continue,
                    Act::Close => return respond.send_reset(h2::Reason::REFUSED_STREAM),
                };
                let response = http::Response::builder().header("content-type", "application/dns-message");
                let mut stream = respond.send_response(response.body(()).unwrap(), false).unwrap();
                return stream.send_data(message.into(), true).unwrap();
            }
            // Silent: the stream stays open as long as this.
            std::future::pending().await
        });
    }
    Some(())
}

/// DNS over QUIC on 127.0.0.1.
pub async fn quic(config: Arc<ServerConfig>, script: impl Fn(&Query) -> Vec<Act> + Send + Sync + 'static) -> Scripted {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut server = QuicServer::with_socket_and_tls_config(socket, config).unwrap();
    Scripted::of(address, script, |script, seen| async move {
        loop {
            let Ok(Some((mut streams, from))) = server.next().await else { continue };
            let (script, seen) = (script.clone(), seen.clone());
            tokio::spawn(async move {
                while let Some(Ok(stream)) = streams.next().await {
                    tokio::spawn(serve_stream(stream, from, script.clone(), seen.clone()));
                }
            });
        }
    })
}

async fn serve_stream(mut stream: QuicStream, from: SocketAddr, script: Script, seen: Seen) -> Option<()> {
    let query = stream.receive_bytes().await.ok()?;
    for act in acts(&script, &seen, &query, true, from) {
        match act {
            Act::Wait(gate) => gate.wait().await,
            Act::After(time) => tokio::time::sleep(time).await,
            Act::Send(message) | Act::SendSlowly(message) => {
                stream.send_bytes(message.into()).await.ok()?;
                stream.finish().await.ok()?;
            }
            Act::SendFromElsewhere(_) => {}
            Act::SendHalf(_) | Act::Close => stream.reset(DoqErrorCode::InternalError).ok()?,
        }
    }
    std::future::pending().await
}
