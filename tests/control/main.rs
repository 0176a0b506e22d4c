//! Looking into the running program and steering it, from outside: by its control socket and by its commands.

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod dnstap;
mod docs;
mod explaining;
mod hostile;
mod openapi;
mod page;
mod prometheus;
mod scrape;
mod upstreams;
mod watching;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;

use callsign::wire::rtype;
use serde_json::Value;

use support::client::{Client, Query};
use support::process::{Finished, run};
use support::program::{Program, callsign};
use support::{DEADLINE, free_port};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Two networks: web and db on shop, a stopped worker, and cms on blog; nobody answers what is forwarded.
fn config(port: u16, more: &str) -> String {
    format!(
        r#"
        {more}
        [server]
        port = {port}
        upstreams = ["127.0.0.66:1"]

        [[network]]
        name = "shop"
        listen = ["127.0.0.1"]
        subnets = ["10.10.1.0/24"]
        domains = ["internal"]
        endpoint = [
          {{ id = "shop-db-1", names = ["db", "database"], addresses = ["10.10.1.3"] }},
          {{ id = "shop-web-1", names = ["web"], addresses = ["10.10.1.2"] }},
          {{ id = "shop-worker-1", names = ["worker"], addresses = ["10.10.1.4"], state = "down" }},
        ]

        [[network]]
        name = "blog"
        listen = ["127.0.0.2"]
        subnets = ["10.10.2.0/24"]
        endpoint = [{{ id = "blog-cms-1", names = ["cms"], addresses = ["10.10.2.3"] }}]
        "#
    )
}

/// A program that serves them, and the port of its listeners.
fn started(more: &str) -> (Program, u16) {
    let port = free_port(&[LOCAL, "127.0.0.2".parse().unwrap()]);
    (Program::with(&config(port, more)).start(), port)
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(LOCAL, port)
}

/// The addresses of a name, asked at shop's listener.
fn addresses(port: u16, name: &str) -> Vec<String> {
    Client::new(at(port)).udp(&Query::new(name, rtype::A)).addresses().iter().map(ToString::to_string).collect()
}

/// What comes of a request: the status code, and the body.
fn exchange(mut stream: impl Read + Write, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let reply = String::from_utf8(reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {reply:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status: {head:?}")), body.to_owned())
}

/// What a request to a control socket comes to.
fn call(socket: &Path, method: &str, target: &str, body: &str) -> (u16, Value) {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let len = body.len();
    let request =
        format!("{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n{body}");
    let (status, body) = exchange(stream, &request);
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{target}: {error}: {body:?}")))
}

fn get(socket: &Path, target: &str) -> Value {
    let (status, value) = call(socket, "GET", target, "");
    assert_eq!(status, 200, "{target}: {value}");
    value
}

/// Runs a command against a program, and gives its exit code and its output.
fn command(program: &Program, words: &str) -> (Option<i32>, Finished) {
    let socket = program.control();
    let mut words: Vec<&str> = words.split(' ').collect();
    words.extend(["--socket", socket.to_str().unwrap()]);
    let finished = run(callsign(&words));
    (finished.status.code(), finished)
}
