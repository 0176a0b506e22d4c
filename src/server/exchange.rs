//! A query on its way upstream and its reply on the way back: where responder and forwarder meet.

use std::net::IpAddr;
use std::sync::Arc;

use super::client_key::ClientKey;
use crate::forward::{Asked, AskedEdns, Asker, Choice, Forwarder, Question, TOO_MANY, relay};
use crate::responder::Forward;
use crate::wire::message::{Header, flag};
use crate::wire::reply::{self, Failure, ReplyEdns};
use crate::wire::{Name, ede, rcode};

/// Everything that a forwarded query needs once its packet is gone.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) client: IpAddr,
    header: Header,
    question: Vec<u8>,
    aliases: Vec<(Name, Name, u32)>,
    /// What the upstream is asked for: lower-cased wire form.
    target: Name,
    /// Who is to be asked.
    choice: Choice,
    edns: Option<ReplyEdns>,
    limit: usize,
}

impl Exchange {
    pub(super) fn new(forward: Forward<'_>, choice: Choice, client: IpAddr) -> Exchange {
        let query = &forward.query;
        Exchange {
            client,
            header: *query.header(),
            question: query.question_bytes().to_vec(),
            target: forward.aliases.last().map_or_else(|| query.to_name(), |(_, target, _)| target.clone()),
            aliases: forward.aliases,
            choice,
            edns: forward.edns,
            limit: forward.limit,
        }
    }

    /// The reply for the client; `None` where it is to hear nothing.
    pub(super) async fn reply(&self, forwarder: &Arc<Forwarder>) -> Option<Vec<u8>> {
        let mut question = self.question.clone();
        if !self.aliases.is_empty() {
            let tail = question.split_off(question.len() - 4);
            question = [self.target.as_wire(), &tail].concat();
        }
        let dnssec_ok = self.edns.as_ref().is_some_and(|edns| edns.dnssec_ok);
        let question = Question { question, flags: self.header.flags, dnssec_ok };
        let resolved =
            forwarder.resolve_here(&question, &self.choice, Asker::new(ClientKey::of(self.client).number())).await;
        let upstream = match resolved {
            Ok(upstream) => upstream,
            Err(failure) if forwarder.keeps_silent(&failure) => return None,
            Err(failure) => return Some(self.fail(failure.rcode, failure.ede, &failure.text)),
        };
        let mut out = Vec::new();
        Some(match relay(&upstream, &self.asked(), &mut out) {
            Ok(()) => out,
            Err(_) => self.fail(rcode::SERVFAIL, ede::NETWORK_ERROR, "the upstream's reply makes no sense"),
        })
    }

    /// The reply when too many queries wait already: what the cache has, however old, or that they are too many.
    pub(super) fn overloaded(&self, forwarder: &Arc<Forwarder>) -> Vec<u8> {
        let mut out = vec![0; self.limit];
        match forwarder.cached_or_stale(self.target.as_wire(), &self.choice, &self.asked(), &mut out) {
            Some(len) => {
                out.truncate(len);
                out
            }
            None => self.fail(rcode::SERVFAIL, ede::OTHER, TOO_MANY),
        }
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            id: self.header.id,
            flags: self.header.flags,
            question: &self.question,
            limit: self.limit,
            edns: self.edns.as_ref().map(AskedEdns::from),
            aliases: &self.aliases,
        }
    }

    fn fail(&self, rcode: u16, code: u16, text: &str) -> Vec<u8> {
        let mut out = vec![0; usize::from(reply::UDP_SIZE)];
        let failure = Failure { rcode, flags: flag::RA, error: Some((code, text)) };
        let len = reply::write_failure(&mut out, &self.header, &self.question, self.edns.clone(), self.limit, failure);
        out.truncate(len);
        out
    }
}
