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
        let resolved = self.resolve(forwarder).await;
        let mut out = Vec::new();
        self.write(forwarder, resolved, &mut out).then_some(out)
    }

    /// Asks.
    pub(super) fn resolve(
        &self,
        forwarder: &Arc<Forwarder>,
    ) -> impl Future<Output = Result<Resolved, forward::Failure>> + Send {
        let client = Asker::new(ClientKey::of(self.client).number());
        forwarder.resolve_here(&self.question, &self.choice, client)
    }

    /// Writes the reply for the client into `out`, which is emptied first. False where it is to hear nothing.
    pub(super) fn write(
        &self,
        forwarder: &Forwarder,
        resolved: Result<Resolved, forward::Failure>,
        out: &mut Vec<u8>,
    ) -> bool {
        let (origin, upstream) = self.origin_of(&resolved);
        let is_reply = match resolved {
            Ok(resolved) => {
                if relay(&resolved.message, &self.asked(), out).is_err() {
                    self.fail(rcode::SERVFAIL, ede::NETWORK_ERROR, "malformed upstream reply", out);
                }
                true
            }
            Err(failure) if forwarder.keeps_silent(&failure) => false,
            Err(failure) => {
                self.fail(failure.rcode, failure.ede, &failure.text, out);
                true
            }
        };
        self.kept.tell(is_reply.then_some(&out[..]), origin, upstream);
        is_reply
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
            None => {
                self.fail(rcode::SERVFAIL, ede::OTHER, TOO_MANY, &mut out);
                (out, Origin::Refused)
            }
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

    fn fail(&self, rcode: u16, code: u16, text: &str, out: &mut Vec<u8>) {
        out.clear();
        out.resize(reply::UDP_SIZE.into(), 0);
        let failure = FailureReply { rcode, flags: flag::RA, error: Some((code, text)) };
        let len =
            reply::write_failure(out, &self.header, self.asked_question(), self.edns.clone(), self.limit, failure);
        out.truncate(len);
    }
}
