//! Latencies: questions at a steady rate, each timed from its sending to its answer.
//!
//! `dnsperf` prints no percentiles in the version that Debian has. This client never sleeps: it looks for answers without
//! waiting and lets others have the core in between, so what is measured is the server, and not how a client is woken.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::Server;
use crate::support::client::Query;
use crate::workload::Question;

/// How long an answer is waited for at the end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Later than this with a question, the client was kept from running: it goes on from there instead of asking all at once
/// what it has not asked.
const LATE: Duration = Duration::from_millis(1);

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Paced {
    /// Microseconds.
    pub(crate) median: f64,
    /// Microseconds.
    pub(crate) p99: f64,
    /// Processor time of the server per answered query at this rate, microseconds.
    pub(crate) cpu: f64,
    /// Answers a second.
    pub(crate) qps: f64,
    /// Questions without an answer, of all.
    pub(crate) lost: f64,
}

/// Asks the questions in turn, over and over, at all addresses of the server in turn.
pub(crate) fn drive(server: &Server, questions: &[Question], rate: u32, time: Duration) -> io::Result<Paced> {
    let mut queries: Vec<Vec<u8>> =
        questions.iter().map(|question| Query::new(&question.name, question.rtype).bytes()).collect();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_nonblocking(true)?;
    let mut asked: Vec<Option<Instant>> = vec![None; 1 << 16];
    let mut latencies = Vec::with_capacity((time.as_secs_f64() * f64::from(rate)) as usize);
    let mut reply = [0; 4096];
    let pause = Duration::from_secs(1) / rate;
    let (used, start) = (server.cpu_time(), Instant::now());
    let (mut sent, mut due) = (0_usize, start);
    loop {
        let now = Instant::now();
        let is_over = now - start >= time;
        if is_over && (latencies.len() >= sent || now - start >= time + PATIENCE) {
            break;
        }
        if !is_over && now >= due {
            let (id, count) = (sent as u16, queries.len());
            let query = &mut queries[sent % count];
            query[..2].copy_from_slice(&id.to_be_bytes());
            asked[usize::from(id)] = Some(Instant::now());
            socket.send_to(query, server.addresses()[sent % server.addresses().len()])?;
            sent += 1;
            due = if now - due > LATE { now } else { due + pause };
        }
        match socket.recv(&mut reply) {
            Ok(len) if len >= 12 => {
                let id = usize::from(u16::from_be_bytes([reply[0], reply[1]]));
                latencies.extend(asked[id].take().map(|asked| asked.elapsed()));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::yield_now(),
            Err(error) => return Err(error),
        }
    }
    let spent = server.cpu_time() - used;
    let answered = latencies.len() as f64;
    latencies.sort_unstable();
    let at = |part: f64| latencies.get((answered * part) as usize).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6);
    Ok(Paced {
        median: at(0.5),
        p99: at(0.99),
        cpu: spent.as_secs_f64() * 1e6 / answered,
        qps: answered / time.as_secs_f64(),
        lost: 1.0 - answered / sent as f64,
    })
}
