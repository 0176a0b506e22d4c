//! Latencies: questions at a steady rate, each timed from its sending to its answer.
//!
//! `dnsperf` prints no percentiles in the version that Debian has. This client never sleeps: it looks for answers without
//! waiting and lets others have the core in between, so what is measured is the server, and not how a client is woken.
//!
//! A question without an answer counts as slow as [`PATIENCE`], slower than any that is answered. On a machine that others
//! use too, a stall of a few milliseconds takes hundreds of questions at once, of whichever server has its turn: a hundredth
//! of a second's questions is not many more, and the 99th percentile of all of them tells whom the stalls met. So it is
//! taken of each [`SLICE`] of questions, and what is quoted is the median of these. It leaves out what happens less often
//! than in every other slice; the percentile of all questions and that of the worst slice are told beside it.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use callsign::wire::message::{HEADER, Header, question_end};
use callsign::wire::rcode;
use nix::sys::socket::{setsockopt, sockopt};

use crate::server::Server;
use crate::support::client::Query;
use crate::workload::Question;

/// How long an answer is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// Later than this with a question, the client was kept from running: it goes on from there instead of asking all at once
/// what it has not asked.
const LATE: Duration = Duration::from_millis(1);
/// Questions of a slice, one after the other: the 99th percentile is the tenth slowest.
const SLICE: usize = 1000;
/// Octets of answers that may wait while the client does not run: none is to be lost on its side.
const RECEIVE_BUFFER: usize = 8 << 20;

/// What was measured. Latencies are microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Paced {
    /// Of all questions.
    pub(crate) median: f64,
    /// The median of the slices' 99th percentiles.
    pub(crate) p99: f64,
    /// The 99th percentile of all questions.
    pub(crate) p99_of_all: f64,
    /// The highest of the slices' 99th percentiles.
    pub(crate) p99_worst: f64,
    /// Processor time of the server per answered query at this rate, microseconds.
    pub(crate) cpu: f64,
    /// Questions a second: fewer than were to be asked, if the client was kept from running.
    pub(crate) asked: f64,
    /// Questions without an answer, of all.
    pub(crate) lost: f64,
    /// Answers that were NOERROR, of all.
    pub(crate) found: f64,
}

/// Asks the questions in turn, over and over, at all addresses of the server in turn.
pub(crate) fn drive(server: &Server, questions: &[Question], rate: u32, time: Duration) -> io::Result<Paced> {
    let mut queries: Vec<Vec<u8>> =
        questions.iter().map(|question| Query::new(&question.name, question.rtype).bytes()).collect();
    let socket = socket()?;
    // By message ID: the number of the question, and when it was asked.
    let mut asked: Vec<Option<(usize, Instant)>> = vec![None; 1 << 16];
    // By number of the question; all of it touched before it begins.
    let mut latencies = vec![PATIENCE; (time.as_secs_f64() * f64::from(rate)) as usize + 1];
    let mut reply = [0; 4096];
    let pause = Duration::from_secs(1) / rate;
    let (used, start) = (server.cpu_time(), Instant::now());
    let (mut sent, mut answered, mut found, mut due) = (0_usize, 0_usize, 0_usize, start);
    loop {
        let now = Instant::now();
        let is_over = now - start >= time || sent == latencies.len();
        if is_over && (answered >= sent || now - start >= time + PATIENCE) {
            break;
        }
        if !is_over && now >= due {
            let (id, count) = (sent as u16, queries.len());
            let query = &mut queries[sent % count];
            query[..2].copy_from_slice(&id.to_be_bytes());
            asked[usize::from(id)] = Some((sent, Instant::now()));
            socket.send_to(query, server.addresses()[sent % server.addresses().len()])?;
            sent += 1;
            due = if now - due > LATE { now } else { due + pause };
        }
        match socket.recv(&mut reply) {
            Ok(len) if len >= 12 => {
                let id = usize::from(u16::from_be_bytes([reply[0], reply[1]]));
                // The IDs come around again: what is late is an answer to another question than the last with its ID.
                let is_asked = |(number, _): &(usize, Instant)| is_for(&reply[..len], &queries[number % queries.len()]);
                if let Some((number, asked)) = asked[id].take_if(|asked| is_asked(asked))
                    && let latency = asked.elapsed()
                    && latency < PATIENCE
                {
                    latencies[number] = latency;
                    answered += 1;
                    found +=
                        usize::from(Header::read(&reply[..len]).is_some_and(|header| header.rcode() == rcode::NOERROR));
                }
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::yield_now(),
            Err(error) => return Err(error),
        }
    }
    let spent = server.cpu_time() - used;
    latencies.truncate(sent);
    let cpu = spent.as_secs_f64() * 1e6 / answered as f64;
    let (asked, lost) = (sent as f64 / time.as_secs_f64(), 1.0 - answered as f64 / sent as f64);
    Ok(Paced { cpu, asked, lost, found: found as f64 / answered as f64, ..of(&latencies) })
}

/// True if the reply has the question of the query.
fn is_for(reply: &[u8], query: &[u8]) -> bool {
    question_end(query).is_some_and(|end| reply.get(HEADER..end) == Some(&query[HEADER..end]))
}

fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_nonblocking(true)?;
    // Beyond the system's limit if we may, else up to it.
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    }
    Ok(socket)
}

/// Of latencies in the order in which the questions were asked.
fn of(latencies: &[Duration]) -> Paced {
    let p99_of_all = at(0.99, latencies);
    let mut slices: Vec<f64> = latencies.chunks_exact(SLICE).map(|slice| at(0.99, slice)).collect();
    slices.sort_by(f64::total_cmp);
    Paced {
        median: at(0.5, latencies),
        p99: slices.get(slices.len() / 2).copied().unwrap_or(p99_of_all),
        p99_of_all,
        p99_worst: slices.last().copied().unwrap_or(p99_of_all),
        cpu: 0.0,
        asked: 0.0,
        lost: 0.0,
        found: 0.0,
    }
}

/// What this part of the latencies is below, microseconds.
fn at(part: f64, latencies: &[Duration]) -> f64 {
    let mut latencies = latencies.to_vec();
    latencies.sort_unstable();
    latencies.get((latencies.len() as f64 * part) as usize).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}
