//! A socket proxy, as docker-socket-proxy is: HTTP over TCP in front of an engine's unix socket, which allows reading of what
//! callsign needs and answers 403 to everything else.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

/// A proxy, which ends when it is dropped.
#[derive(Debug)]
pub struct SocketProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    refused: Mutex<Vec<String>>,
    connections: Mutex<Vec<TcpStream>>,
}

impl SocketProxy {
    /// A proxy at a port of 127.0.0.1, in front of this socket.
    pub fn start(socket: &Path) -> SocketProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { socket: socket.to_owned(), refused: Mutex::default(), connections: Mutex::default() });
        let accepting = shared.clone();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let shared = accepting.clone();
                // Of a proxy that has ended.
                if Arc::strong_count(&shared) == 2 {
                    return;
                }
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        SocketProxy { address, shared }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// For DOCKER_HOST.
    pub fn host(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// The requests that were not allowed.
    pub fn refused(&self) -> Vec<String> {
        self.shared.refused.lock().unwrap().clone()
    }

    /// Cuts all connections, as a proxy does with those that were silent for long.
    pub fn cut(&self) {
        for stream in self.shared.connections.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for SocketProxy {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Shared {
    /// Serves one request of a connection, and what comes of it until its end.
    fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        self.connections.lock().unwrap().push(client.try_clone()?);
        let mut reader = BufReader::new(client.try_clone()?);
        let (mut head, mut line) = (String::new(), String::new());
        while reader.read_line(&mut line)? > 2 {
            head.push_str(&line);
            line.clear();
        }
        let request = head.lines().next().unwrap_or_default().to_owned();
        if !is_allowed(&request) {
            self.refused.lock().unwrap().push(request);
            return client
                .write_all(b"HTTP/1.0 403 Forbidden\r\nContent-Type: text/html\r\n\r\nRequest forbidden by the proxy");
        }
        let mut engine = UnixStream::connect(&self.socket)?;
        engine.write_all(format!("{head}\r\n").as_bytes())?;
        let (mut from, mut to) = (client.try_clone()?, engine.try_clone()?);
        let up = thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
        let _ = std::io::copy(&mut engine, &mut client);
        let _ = client.shutdown(Shutdown::Both);
        drop(up.join());
        Ok(())
    }
}

fn is_allowed(request: &str) -> bool {
    let Some(path) = request.strip_prefix("GET ").and_then(|rest| rest.split([' ', '?']).next()) else { return false };
    let parts: Vec<&str> = path.split('/').skip(1).filter(|part| !part.starts_with("v1.")).collect();
    matches!(
        parts[..],
        ["_ping" | "events" | "networks"] | ["networks", _] | ["containers", "json"] | ["containers", _, "json"]
    )
}
