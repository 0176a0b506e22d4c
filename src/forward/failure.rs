//! What is said when there is no answer: the error reply that says most, or else what each server did.

use std::borrow::Cow;

use super::request::Reply;
use super::transport::AttemptError;
use crate::settings::Upstream;
use crate::wire::{ede, rcode};

/// Why there is no reply to relay, and what the client is told instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
#[non_exhaustive]
pub struct Failure {
    /// The response code for the client: SERVFAIL, or NXDOMAIN where the name is blocked.
    pub rcode: u16,
    /// The extended error (RFC 8914): 15 blocked, 22 no upstream could be reached, 23 an error of the network.
    pub ede: u16,
    /// What happened, for the extended error's text and for people; at most 200 octets.
    pub text: Cow<'static, str>,
    /// What each server did, whole, for who runs this host and for nobody else: it may name paths and quote certificates. Empty
    /// if no server was asked.
    pub detail: String,
}

/// The most that a failure says. A UDP reply has room for it beside the longest question.
const LONGEST_TEXT: usize = 200;

impl Failure {
    /// A failure whose text is cut to its limit.
    pub(super) fn new(rcode: u16, ede: u16, text: impl Into<Cow<'static, str>>) -> Failure {
        let mut text = text.into();
        if text.len() > LONGEST_TEXT {
            let end = (0..=LONGEST_TEXT).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
            text.to_mut().truncate(end);
        }
        Failure { rcode, ede, text, detail: String::new() }
    }
}

/// The error reply that says most, or else what is known about each server: its address and port and what happened, and
/// nothing else of it (answers.md H6).
pub(super) fn best<'a>(
    problems: Vec<Option<AttemptError>>,
    servers: impl Iterator<Item = &'a Upstream>,
) -> Result<Reply, Failure> {
    let silent = problems.iter().any(Option::is_none);
    let ede = if silent { ede::NO_REACHABLE_AUTHORITY } else { ede::NETWORK_ERROR };
    let text = problems.iter().zip(servers).map(|(problem, server)| match problem {
        Some(problem) => format!("{}: {}", server.address(), problem.brief()),
        None => format!("{}: timed out", server.address()),
    });
    let mut failure = Failure::new(rcode::SERVFAIL, ede, text.collect::<Vec<_>>().join("; "));
    let said = problems.iter().map(|problem| problem.as_ref().map_or("timed out".to_owned(), ToString::to_string));
    failure.detail = said.collect::<Vec<_>>().join("; ");
    let replies = problems.into_iter().enumerate().filter_map(|(server, problem)| match problem {
        Some(AttemptError::Failed { rcode, reply }) => Some((rank(rcode), Reply { message: reply, server })),
        _ => None,
    });
    replies.min_by_key(|&(rank, _)| rank).map(|(_, reply)| reply).ok_or(failure)
}

/// SERVFAIL is about the question, REFUSED about us, the others about the server.
fn rank(rcode: u16) -> u8 {
    match rcode {
        rcode::SERVFAIL => 0,
        rcode::REFUSED => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(rcode: u16) -> Option<AttemptError> {
        Some(AttemptError::Failed { rcode, reply: [rcode as u8].into() })
    }

    #[test]
    fn f3_the_best_error_reply_is_relayed() {
        let servers: Vec<Upstream> = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|text| text.parse().unwrap()).to_vec();
        let problems = vec![failed(rcode::NOTIMP), failed(rcode::REFUSED), failed(rcode::SERVFAIL)];
        let said = |problems| best(problems, servers.iter()).map(|reply| (reply.message.to_vec(), reply.server));
        assert_eq!(said(problems), Ok((vec![rcode::SERVFAIL as u8], 2)));
        let problems = vec![None, failed(rcode::REFUSED), Some(AttemptError::Malformed)];
        assert_eq!(said(problems), Ok((vec![rcode::REFUSED as u8], 1)));
    }

    #[test]
    fn h6_a_failure_tells_clients_no_more_of_an_upstream_than_address_and_port() {
        let server: Upstream = "https://10.0.0.1/SECRET-profile?ca=/etc/SECRET.pem#SECRET.example".parse().unwrap();
        let error = std::io::Error::other("/etc/SECRET.pem: no certificate in it");
        for problem in [None, Some(AttemptError::Network(error)), Some(AttemptError::Malformed)] {
            let text = best(vec![problem], [&server].into_iter()).unwrap_err().text;
            assert!(text.starts_with("10.0.0.1:443: ") && !text.contains("SECRET") && !text.contains('/'), "{text}");
        }
    }

    #[test]
    fn h6_a_failure_says_what_each_server_did() {
        let servers: Vec<Upstream> = ["10.0.0.1", "fd00::1"].map(|text| text.parse().unwrap()).to_vec();
        let refused = || Some(AttemptError::Network(std::io::ErrorKind::ConnectionRefused.into()));
        let failure = best(vec![refused(), None], servers.iter()).unwrap_err();
        assert_eq!((failure.rcode, failure.ede), (rcode::SERVFAIL, ede::NO_REACHABLE_AUTHORITY));
        assert_eq!(failure.to_string(), "10.0.0.1:53: connection refused; [fd00::1]:53: timed out");
        let failure = best(vec![refused(), Some(AttemptError::Malformed)], servers.iter()).unwrap_err();
        assert_eq!(failure.ede, ede::NETWORK_ERROR);
        assert_eq!(Failure::new(2, 22, "ü".repeat(150)).text, "ü".repeat(100));
    }
}
