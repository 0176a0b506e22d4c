//! What a client would get, asked by the host program instead of by a packet.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::responder::{Client, Explanation, Responder, Verdict};
use crate::table::Network;
use crate::wire::message::{self, Header, Section};
use crate::wire::rewrite::{expand, expand_rdata};
use crate::wire::{Name, Query, class, rcode, rtype};

use super::later::Later;
use super::worker::{Outcome, forwarded};
use super::{Server, ServerError, listener};

/// The port that such a client asks from; any but 0 is the same.
const CLIENT_PORT: u16 = 50_000;
/// A connection's idle timeout, of which a reply tells only if it is asked, in units of 100 ms.
const IDLE: u16 = 0;

/// What a client gets for a question; see [`Server::resolve`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The response code, with its upper bits; see [`rcode`].
    pub rcode: u16,
    /// The records of the answer section, in order.
    pub records: Vec<AnswerRecord>,
    /// Who the client is, which networks were searched, and which rule decided.
    pub explanation: Explanation,
    /// The whole reply; empty if the client hears nothing.
    pub reply: Vec<u8>,
}

/// A record of an [`Answer`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AnswerRecord {
    /// The owner name, in lower case.
    pub name: Name,
    /// The type's number.
    pub rtype: u16,
    /// The TTL, seconds.
    pub ttl: u32,
    /// The data in wire form, with its names in full.
    pub rdata: Vec<u8>,
}

impl AnswerRecord {
    /// The address, if it is an address record.
    pub fn ip(&self) -> Option<IpAddr> {
        match self.rtype {
            rtype::A => Some(IpAddr::from(<[u8; 4]>::try_from(&*self.rdata).ok()?)),
            rtype::AAAA => Some(IpAddr::from(<[u8; 16]>::try_from(&*self.rdata).ok()?)),
            _ => None,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} records", rcode::mnemonic(self.rcode), self.records.len())
    }
}

impl Server {
    /// What a client of a network would get for a question: answered as a packet over TCP from its address would be, at a
    /// listener of the network, without the limits on clients. Asks upstreams if needed. Does not wait for endpoints that
    /// are about to start (answers.md N11). Works under any executor; dropping the future cancels the query.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use callsign::server::Server;
    /// use callsign::table::{Endpoint, Network};
    /// use callsign::wire::rtype;
    ///
    /// let server = Server::builder().start().await?;
    /// let db = Endpoint::builder("3f2a9c").address("172.18.0.2").name("db").build()?;
    /// let web = server.add_network(Network::builder("web").subnet("172.18.0.0/16").endpoint(db).build()?).await?;
    ///
    /// let answer = server.resolve(&web, "172.18.0.2".parse()?, &"db".parse()?, rtype::A).await?;
    /// assert_eq!(answer.records[0].ip(), Some("172.18.0.2".parse()?));
    /// println!("{}", answer.explanation);
    /// # server.shutdown().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ServerError::Table`] if the network is not this server's; [`ServerError::Stopped`].
    pub async fn resolve(
        &self,
        network: &Arc<Network>,
        client: IpAddr,
        name: &Name,
        rtype: u16,
    ) -> Result<Answer, ServerError> {
        self.check_served(network)?;
        let (outcome, mut out, explanation) = self.decide(network, client, name, rtype);
        let reply = match outcome {
            Outcome::Reply(len) => {
                out.truncate(len);
                out
            }
            Outcome::Later(Later::Upstream(exchange)) => {
                let forwarder = self.shared.forwarder.clone();
                // Sockets and timers are the workers'.
                let asked = AbortOnDrop(self.worker(0).spawn(async move { exchange.reply(&forwarder).await }));
                asked.await.map_err(|_| ServerError::Stopped)?.unwrap_or_default()
            }
            Outcome::Later(Later::Start(_)) | Outcome::Ignore => Vec::new(),
        };
        Ok(answer(reply, explanation))
    }

    /// Why would a client of a network get what it gets? As [`resolve`](Server::resolve), but asks no upstream: for a name that is
    /// not the networks' own, the explanation says whom it would ask.
    ///
    /// # Errors
    /// [`ServerError::Table`] if the network is not this server's; [`ServerError::Stopped`].
    pub fn explain(
        &self,
        network: &Arc<Network>,
        client: IpAddr,
        name: &Name,
        rtype: u16,
    ) -> Result<Explanation, ServerError> {
        self.check_served(network)?;
        Ok(self.decide(network, client, name, rtype).2)
    }

    fn decide(
        &self,
        network: &Arc<Network>,
        client: IpAddr,
        name: &Name,
        rtype: u16,
    ) -> (Outcome, Vec<u8>, Explanation) {
        let packet = Query::build(0, name, rtype);
        let listener = listener(network.clone(), self.address_for(network, client));
        let source = Client::tcp(&listener, SocketAddr::new(client, CLIENT_PORT), IDLE).without_hold();
        let mut out = vec![0; usize::from(u16::MAX)];
        let mut responder = Responder::new(self.responder_options()).with_hosts(self.hosts());
        let (verdict, explanation) = responder.explain(&packet, &source, &mut out);
        let outcome = match verdict {
            Verdict::Reply(len) => Outcome::Reply(len),
            Verdict::Forward(forward) => forwarded(&self.shared.forwarder, &listener, forward, client, &mut out).0,
            Verdict::Hold(_) | Verdict::Ignore => Outcome::Ignore,
        };
        (outcome, out, explanation)
    }

    /// Where a client of a network asks: at a listener of its family if there is one.
    fn address_for(&self, network: &Arc<Network>, client: IpAddr) -> SocketAddr {
        let slots = self.shared.slots();
        let own = slots.values().filter(|slot| Arc::ptr_eq(&slot.network(), network));
        let mut addresses: Vec<SocketAddr> = own.map(|slot| slot.listener().address()).collect();
        addresses.sort_by_key(|address| (address.is_ipv4() != client.is_ipv4(), *address));
        addresses.first().copied().unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], self.port())))
    }
}

/// Ends a task when nobody waits for it any more.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn answer(reply: Vec<u8>, explanation: Explanation) -> Answer {
    let mut records = Vec::new();
    let mut upper = 0;
    for record in message::records(&reply).flatten() {
        if record.rtype == rtype::OPT {
            upper = (record.ttl >> 24) as u16;
        } else if record.section == Section::Answer && record.class == class::IN {
            let (mut name, mut rdata) = (Vec::new(), Vec::new());
            let Some(owner) = expand(&reply, record.range.start, &mut name).and_then(|()| Name::from_wire(&name).ok())
            else {
                continue;
            };
            if expand_rdata(&reply, &record, &mut rdata).is_none() {
                // Not what its type says: as it is.
                rdata = reply[record.rdata()].to_vec();
            }
            records.push(AnswerRecord { name: owner, rtype: record.rtype, ttl: record.ttl, rdata });
        }
    }
    let code = Header::read(&reply).map_or(rcode::SERVFAIL, |header| upper << 4 | header.rcode());
    Answer { rcode: code, records, explanation, reply }
}
