//! A real etcd, and publishers that write what so many hosts would: through its JSON gateway, which needs no client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::free_port;
use crate::{LOCAL, PATIENCE};

/// Puts in one transaction.
const PUTS: usize = 100;

/// Members on loopback. They end when it is dropped.
pub(crate) struct Cluster {
    members: Vec<(String, Child)>,
    _directory: TempDir,
}

impl Cluster {
    pub(crate) fn is_installed() -> bool {
        Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    }

    pub(crate) fn start(count: usize) -> Cluster {
        // Of memory: what a disk does is not the question.
        let memory = std::path::Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let directory = TempDir::with_prefix_in("callsign-bench-etcd-", place).unwrap();
        let url = || format!("http://127.0.0.1:{}", free_port(&[LOCAL]));
        let urls: Vec<(String, String)> = (0..count).map(|_| (url(), url())).collect();
        let peers: Vec<String> = urls.iter().enumerate().map(|(at, (_, peer))| format!("m{at}={peer}")).collect();
        let start = |(at, (client, peer)): (usize, &(String, String))| {
            let child = Command::new("etcd")
                .arg(format!("--name=m{at}"))
                .arg(format!("--data-dir={}", directory.path().join(format!("m{at}")).display()))
                .arg(format!("--listen-client-urls={client}"))
                .arg(format!("--advertise-client-urls={client}"))
                .arg(format!("--listen-peer-urls={peer}"))
                .arg(format!("--initial-advertise-peer-urls={peer}"))
                .arg(format!("--initial-cluster={}", peers.join(",")))
                .args(["--initial-cluster-token=bench", "--logger=zap", "--log-level=error"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            (client.clone(), child)
        };
        let members: Vec<(String, Child)> = urls.iter().enumerate().map(start).collect();
        let cluster = Cluster { members, _directory: directory };
        let deadline = Instant::now() + PATIENCE;
        while !cluster.urls().iter().all(|url| Gateway::new(url).is_ready()) {
            assert!(Instant::now() < deadline, "etcd does not come up");
            thread::sleep(Duration::from_millis(100));
        }
        cluster
    }

    pub(crate) fn url(&self, at: usize) -> &str {
        &self.members[at % self.members.len()].0
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.members.iter().map(|(url, _)| url.clone()).collect()
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|(_, child)| child.id()).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (_, child) in &mut self.members {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// etcd's JSON gateway.
struct Gateway {
    authority: String,
    connection: Option<BufReader<TcpStream>>,
}

impl Gateway {
    fn new(url: &str) -> Gateway {
        Gateway { authority: url.trim_start_matches("http://").to_owned(), connection: None }
    }

    fn is_ready(&mut self) -> bool {
        TcpStream::connect(&self.authority).is_ok()
            && self.post("/v3/kv/range", &json!({ "key": base64(b"x") })).is_ok()
    }

    fn post(&mut self, path: &str, body: &Value) -> std::io::Result<Value> {
        let body = body.to_string();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let stream = TcpStream::connect(&self.authority)?;
                stream.set_nodelay(true)?;
                none.insert(BufReader::new(stream))
            }
        };
        let (authority, len) = (&self.authority, body.len());
        let head = format!("POST {path} HTTP/1.1\r\nhost: {authority}\r\ncontent-length: {len}\r\n\r\n");
        connection.get_mut().write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
        let (mut status, mut length) = (String::new(), 0);
        connection.read_line(&mut status)?;
        loop {
            let mut line = String::new();
            connection.read_line(&mut line)?;
            match line.trim_end().to_ascii_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().map_err(std::io::Error::other)?,
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body)?;
        if !status.contains(" 200 ") {
            return Err(std::io::Error::other(format!("{status}{}", String::from_utf8_lossy(&body))));
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

/// Some of the hosts.
pub(crate) struct Publisher {
    gateway: Gateway,
    hosts: Vec<Host>,
    containers: usize,
    changes: usize,
}

struct Host {
    number: usize,
    seq: u64,
}

impl Publisher {
    pub(crate) fn new(url: &str, hosts: impl Iterator<Item = usize>, containers: usize) -> Publisher {
        let hosts = hosts.map(|number| Host { number, seq: 0 }).collect();
        Publisher { gateway: Gateway::new(url), hosts, containers, changes: 0 }
    }

    /// Writes all that its hosts have.
    pub(crate) fn load(&mut self) {
        for at in 0..self.hosts.len() {
            let all: Vec<usize> = (0..self.containers).collect();
            for (index, some) in all.chunks(PUTS).enumerate() {
                let is_last = (index + 1) * PUTS >= self.containers;
                self.write(at, some, is_last);
            }
        }
    }

    /// The id, as the table knows it, of the container that changes next.
    pub(crate) fn next_change(&self) -> String {
        let (at, container) = self.place();
        let host = self.hosts[at].number;
        format!("{}/{}", host_name(host), id(host, container))
    }

    /// A container gets another address.
    pub(crate) fn make_change(&mut self) {
        let (at, container) = self.place();
        self.changes += 1;
        self.write(at, &[container], true);
    }

    fn place(&self) -> (usize, usize) {
        (self.changes % self.hosts.len(), self.changes / self.hosts.len() % self.containers)
    }

    fn write(&mut self, at: usize, containers: &[usize], is_complete: bool) {
        let host = &mut self.hosts[at];
        host.seq += 1;
        let (number, seq) = (host.number, host.seq);
        let name = host_name(number);
        let record = json!({
            "v": 1, "machine": format!("{number:032x}"), "boot": "1", "instance": "1", "lease": 0, "seq": seq, "beat": 0, "ttl": 600,
            "addr": ["10.255.0.1"], "version": "0", "complete": is_complete,
            "networks": { "shop": { "share": "container", "subnets": [] } },
        });
        let mut puts = vec![put(&format!("/callsign/v1/{name}/host"), &record)];
        for &container in containers {
            let service = container % 50;
            let names =
                [format!("s{service}"), format!("s{service}.p{}", number % 20), format!("p{number}-s{container}")];
            let moved = u8::from(seq > 10 && containers.len() == 1);
            let address = format!("10.{}.{}.{}", number >> 8 | usize::from(moved) << 7, number & 255, container);
            let record = json!({ "n": names, "a": [address], "p": [["http", 8080, "tcp", 30080]], "s": "up", "h": "healthy", "since": seq });
            puts.push(put(&format!("/callsign/v1/{name}/e/shop/{}", id(number, container)), &record));
        }
        let answer = self.gateway.post("/v3/kv/txn", &json!({ "success": puts })).expect("etcd takes it");
        assert_eq!(answer["succeeded"], true, "{answer}");
    }
}

fn host_name(number: usize) -> String {
    format!("host-{number:04}.dc1.example.net")
}

/// 64 hex digits, which differ in the first 12.
fn id(host: usize, container: usize) -> String {
    format!("{host:06x}{container:06x}{:052x}", host * 7919 + container)
}

fn put(key: &str, value: &Value) -> Value {
    json!({ "request_put": { "key": base64(key.as_bytes()), "value": base64(value.to_string().as_bytes()) } })
}

fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let of_three = |three: &[u8]| {
        let number =
            three.iter().fold(0, |number: u32, &octet| number << 8 | u32::from(octet)) << (8 * (3 - three.len()));
        let digit = |place: usize| match place <= three.len() {
            true => char::from(DIGITS[(number >> (18 - 6 * place)) as usize & 63]),
            false => '=',
        };
        [0, 1, 2, 3].map(digit)
    };
    octets.chunks(3).flat_map(of_three).collect()
}
