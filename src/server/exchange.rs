//! A query on its way upstream and its reply on the way back: where responder and forwarder meet.

use std::net::IpAddr;
use std::sync::Arc;

use super::client_key::ClientKey;
use crate::forward::{
    self, Asked, AskedEdns, Asker, CacheState, Choice, Forwarder, Question, ReplySource, Resolved, TOO_MANY, relay,
};
use crate::responder::Forward;
use crate::settings::Upstream;
use crate::wire::message::{Header, flag};
use crate::wire::reply::{self, FailureReply, ReplyEdns};
use crate::wire::{Name, ede, rcode};

use super::observe::Origin;
use super::sighting::Kept;

/// Everything that a forwarded query needs once its packet is gone.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) client: IpAddr,
    header: Header,
    /// What the upstream is asked.
    question: Question,
    /// What the client asked, where that is an alias of it.
    alias: Option<Box<[u8]>>,
    aliases: Vec<(Name, Name, u32)>,
    /// Who is to be asked.
    choice: Choice,
    edns: Option<ReplyEdns>,
    limit: usize,
    /// Who wants to know what comes of it.
    pub(super) kept: Kept,
}

impl Exchange {
    pub(super) fn new(forward: Forward<'_>, choice: Choice, client: IpAddr) -> Exchange {
        let (header, asked) = (*forward.query.header(), forward.query.question_bytes());
        let (question, alias) = match (forward.aliases.last(), asked.split_last_chunk::<4>()) {
            (Some((_, target, _)), Some((_, tail))) => ([target.as_wire(), tail].concat(), Some(asked.into())),
            _ => (asked.to_vec(), None),
        };
        let dnssec_ok = forward.edns.as_ref().is_some_and(|edns| edns.dnssec_ok);
        Exchange {
            client,
            header,
            question: Question { question, flags: header.flags, dnssec_ok },
            alias,
            aliases: forward.aliases,
            choice,
            edns: forward.edns,
            limit: forward.limit,
            kept: Kept::default(),
        }
    }

    /// How many servers may be asked.
    pub(super) fn servers(&self) -> usize {
        self.choice.servers.len()
    }

    /// The reply for the client; `None` where it is to hear nothing.
    pub(super) async fn reply(&self, forwarder: &Arc<Forwarder>) -> Option<Vec<u8>> {
        let client = Asker::new(ClientKey::of(self.client).number());
        let resolved = forwarder.resolve_here(&self.question, &self.choice, client).await;
        let (origin, upstream) = self.origin_of(&resolved);
        let reply = match resolved {
            Ok(resolved) => {
                let mut out = Vec::new();
                Some(match relay(&resolved.message, &self.asked(), &mut out) {
                    Ok(()) => out,
                    Err(_) => self.fail(rcode::SERVFAIL, ede::NETWORK_ERROR, "malformed upstream reply"),
                })
            }
            Err(failure) if forwarder.keeps_silent(&failure) => None,
            Err(failure) => Some(self.fail(failure.rcode, failure.ede, &failure.text)),
        };
        self.kept.tell(reply.as_deref(), origin, upstream);
        reply
    }

    /// Where a reply is from, and which upstream gave it.
    fn origin_of(&self, resolved: &Result<Resolved, forward::Failure>) -> (Origin, Option<&Upstream>) {
        match resolved {
            Ok(Resolved { from: ReplySource::Upstream(server), .. }) => {
                (Origin::Upstream, self.choice.servers.get(*server))
            }
            Ok(Resolved { from: ReplySource::Cache(CacheState::Expired), .. }) => (Origin::Stale, None),
            Ok(Resolved { from: ReplySource::Cache(_), .. }) => (Origin::Cache, None),
            Err(failure) if failure.ede == ede::CACHED_ERROR => (Origin::Cache, None),
            Err(_) => (Origin::Upstream, None),
        }
    }

    /// The reply when too many queries wait already: what the cache has, however old, or that they are too many.
    pub(super) fn overloaded(&self, forwarder: &Arc<Forwarder>) -> Vec<u8> {
        let mut out = vec![0; self.limit];
        let name = self.question.name().to_ascii_lowercase();
        let (reply, origin) = match forwarder.cached_or_stale(&name, &self.choice, &self.asked(), &mut out) {
            Some(len) => {
                out.truncate(len);
                (out, Origin::Stale)
            }
            None => (self.fail(rcode::SERVFAIL, ede::OTHER, TOO_MANY), Origin::Refused),
        };
        self.kept.tell(Some(&reply), origin, None);
        reply
    }

    fn asked_question(&self) -> &[u8] {
        self.alias.as_deref().unwrap_or(&self.question.question)
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            id: self.header.id,
            flags: self.header.flags,
            question: self.asked_question(),
            limit: self.limit,
            edns: self.edns.as_ref().map(AskedEdns::from),
            aliases: &self.aliases,
        }
    }

    fn fail(&self, rcode: u16, code: u16, text: &str) -> Vec<u8> {
        let mut out = vec![0; usize::from(reply::UDP_SIZE)];
        let failure = FailureReply { rcode, flags: flag::RA, error: Some((code, text)) };
        let len =
            reply::write_failure(&mut out, &self.header, self.asked_question(), self.edns.clone(), self.limit, failure);
        out.truncate(len);
        out
    }
}
