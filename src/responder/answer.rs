//! Writing what was found: the reply's records, by type (answers.md T), or the question to forward.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::table::{Absence, Attachment, NameEntry, Protocol, RecordSet, ReverseNames, Snapshot};
use crate::wire::message::{HEADER, Section, flag};
use crate::wire::reply::{self, FailureReply, ReplyEdns};
use crate::wire::{MAX_NAME, Name, Query, ReplyWriter, ede, rcode, rrset, rtype};

use super::explain::Trace;
use super::host::HostDisposition;
use super::lookup::{Disposition, Lookup, Match};
use super::rule::Rule;
use super::view::View;
use super::{Forward, Rotation, Verdict};

/// The labels in front of a zone's name in its SOA's RNAME.
const HOSTMASTER: &[u8] = b"\x0ahostmaster";

/// A reply about to be written.
pub(super) struct ReplyDraft<'v, 'p, 's> {
    pub(super) query: &'v Query<'p>,
    pub(super) view: &'v View<'s>,
    pub(super) edns: Option<ReplyEdns>,
    pub(super) limit: usize,
    pub(super) over_tcp: bool,
    /// The question may wait (answers.md N11).
    pub(super) may_hold: bool,
}

impl<'p> ReplyDraft<'_, 'p, '_> {
    pub(super) fn write(
        mut self,
        place: Lookup<'_>,
        rotation: &mut Rotation,
        out: &mut [u8],
        trace: &mut impl Trace,
    ) -> Verdict<'p> {
        let (rcode, error) = match &place.end {
            Disposition::Elsewhere => return self.forward(place),
            Disposition::AliasLoop => {
                (rcode::SERVFAIL, Some((ede::OTHER, "aliases lead in a circle or are too many".into())))
            }
            Disposition::NotReady => {
                (rcode::SERVFAIL, Some((ede::NOT_READY, "the names of other hosts are not known yet".into())))
            }
            Disposition::Blocked => {
                (rcode::NXDOMAIN, Some((ede::BLOCKED, "this network is internal: nothing is forwarded".into())))
            }
            Disposition::Unknown => (rcode::NXDOMAIN, None),
            Disposition::Stopped(hit) => (rcode::NOERROR, Some(not_running(hit.entry))),
            Disposition::Service { entry, .. } if entry.is_down() => (rcode::NOERROR, Some(not_running(entry))),
            Disposition::Host(end) if matches!(**end, HostDisposition::Outside(_)) => return self.refuse(&place, out),
            Disposition::Host(end) => (rcode::NOERROR, end.reason()),
            _ => (rcode::NOERROR, None),
        };
        if let (Some(edns), Some((code, text))) = (&mut self.edns, &error) {
            reply::push_extended_error(&mut edns.options, *code, text);
        }
        let (header, question) = (self.query.header(), self.query.question_bytes());
        let Some(mut writer) = ReplyWriter::start(out, header, question, self.edns.as_ref(), self.limit) else {
            return Verdict::Ignore;
        };
        if self.view.may_forward() {
            writer.set(flag::RA);
        }
        if rcode == rcode::SERVFAIL {
            return Verdict::Reply(writer.finish(rcode));
        }
        writer.set(flag::AA);
        let Some(owner) = push_aliases(&place.aliases, &mut writer) else {
            return Verdict::Reply(writer.finish(rcode));
        };
        let before = writer.answers();
        let mut records = Records { view: self.view, rtype: self.query.rtype(), over_tcp: self.over_tcp, owner };
        records.write(&place.end, &mut writer, rotation);
        if writer.answers() == before && !writer.is_truncated() {
            let name = place.aliases.last().map_or(self.query.name(), |(_, target, _)| target.as_wire());
            if rcode == rcode::NOERROR && self.may_hold && self.view.holds() {
                let hold = self.hold(&place.end);
                if !hold.is_zero() {
                    trace.rule(Rule::N11);
                    return Verdict::Hold(hold);
                }
            }
            self.negative(name, owner, &mut writer);
        }
        Verdict::Reply(writer.finish(rcode))
    }

    /// How long the question waits for an endpoint of the name that is about to run (answers.md N11). Zero if none is, or if
    /// one answers, or is stopped for good: that is no reason to wait.
    #[cold]
    fn hold(&self, end: &Disposition<'_>) -> Duration {
        let hits = match end {
            _ if !matches!(self.query.rtype(), rtype::A | rtype::AAAA) => &[],
            Disposition::Stopped(hit) => std::slice::from_ref(hit),
            Disposition::Names(hits) => &hits[..],
            _ => &[],
        };
        let hold_of = |hit: &Match<'_>| {
            let settings = self.view.settings_of(hit.entry);
            settings.filter(|settings| hit.entry.is_pending(settings)).map_or(Duration::ZERO, |settings| settings.hold)
        };
        let holds = hits.iter().map(hold_of);
        if holds.clone().any(|hold| hold.is_zero()) { Duration::ZERO } else { holds.max().unwrap_or_default() }
    }

    /// The SOA of a negative answer (answers.md H3). Its owner is a suffix of the name, so it is told by a pointer.
    fn negative(&self, name: &[u8], owner: usize, writer: &mut ReplyWriter<'_>) {
        let zone = self.view.domain_of(name).map_or(name.len(), |domain| domain.as_wire().len());
        let own = self.view.own();
        let (ttl, serial) = (own.settings().negative_ttl, own.revision() as u32);
        push_soa((owner + name.len() - zone, zone), serial, ttl, writer);
    }

    /// Says that the name is none of the host view's (answers.md V6).
    #[cold]
    fn refuse(self, place: &Lookup<'_>, out: &mut [u8]) -> Verdict<'p> {
        let reason = match &place.end {
            Disposition::Host(end) => end.reason(),
            _ => None,
        };
        let error = reason.as_ref().map(|(code, text)| (*code, &**text));
        let failure = FailureReply { rcode: rcode::REFUSED, flags: 0, error };
        let (header, question) = (self.query.header(), self.query.question_bytes());
        Verdict::Reply(reply::write_failure(out, header, question, self.edns, self.limit, failure))
    }

    fn forward(self, place: Lookup<'_>) -> Verdict<'p> {
        let (preference, upstreams) = self.view.upstreams();
        let ReplyDraft { query, edns, limit, .. } = self;
        Verdict::Forward(Forward { query: query.clone(), aliases: place.aliases, preference, upstreams, edns, limit })
    }
}

/// Writes the aliases that lead from the question's name, and gives where the name of the last one's target lies. `None` if
/// they do not fit.
pub(super) fn push_aliases(aliases: &[(Name, Name, u32)], writer: &mut ReplyWriter<'_>) -> Option<usize> {
    let mut owner = HEADER;
    for (_, target, ttl) in aliases {
        let target_at = writer.position() + 12;
        if !writer.push_rdata(Section::Answer, owner, rtype::CNAME, *ttl, &[target.as_wire()]) {
            return None;
        }
        owner = target_at;
    }
    Some(owner)
}

/// Writes the SOA of a zone, given by where its name lies and how long it is; the TTL is that of negative answers, seconds.
pub(super) fn push_soa((zone_at, len): (usize, usize), serial: u32, ttl: u32, writer: &mut ReplyWriter<'_>) {
    let pointer = (0xc000 | zone_at as u16).to_be_bytes();
    // In front of a name that is nearly as long as a name can be there is no room.
    let hostmaster = if len + HOSTMASTER.len() > MAX_NAME { &[] } else { HOSTMASTER };
    let mut times = [0; 20];
    // Serial, refresh, retry, expire, minimum. Nobody transfers the zone; the middle three are customary.
    for (field, value) in times.chunks_exact_mut(4).zip([serial, 3600, 600, 86_400, ttl]) {
        field.copy_from_slice(&value.to_be_bytes());
    }
    writer.push_rdata(Section::Authority, zone_at, rtype::SOA, ttl, &[&pointer, hostmaster, &pointer, &times]);
}

/// The extended error of a name whose endpoints are stopped, lost or not reached (answers.md N7, N8b).
pub(super) fn not_running(entry: &NameEntry) -> (u16, SmallStr) {
    let mut text = SmallStr::default();
    let name = entry.name();
    // Writing to memory does not fail.
    let _ = match entry.absence() {
        Absence::Stopped => write!(text, "{name} is not running"),
        Absence::Lost(host) => write!(text, "{name} was on {host}, which is not reachable"),
        Absence::Closed(host) => write!(text, "{name} runs on {host} and publishes no port"),
    };
    (ede::OTHER, text)
}

/// A short text without a heap allocation.
#[derive(Default)]
pub(super) struct SmallStr(SmallVec<[u8; 128]>);

impl From<&str> for SmallStr {
    fn from(text: &str) -> SmallStr {
        SmallStr(SmallVec::from_slice(text.as_bytes()))
    }
}

impl std::fmt::Write for SmallStr {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl std::ops::Deref for SmallStr {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Writes the answer section for one question.
pub(super) struct Records<'v, 's> {
    view: &'v View<'s>,
    rtype: u16,
    over_tcp: bool,
    /// Where the records' owner name lies in the message.
    pub(super) owner: usize,
}

/// A service at an endpoint. The last parts of `target` are its name in the reply, the first two make room for what stands
/// before it.
pub(super) struct Offer<'a, const PARTS: usize> {
    pub(super) target: [&'a [u8]; PARTS],
    pub(super) port: u16,
    pub(super) addresses: &'a [IpAddr],
}

/// Of those who hold an address those who count: what is stopped only if nothing else has it, and the last one first, as for
/// clients (answers.md V2a, N7); and another host's only if nothing of this host has it (answers.md N8b).
pub(super) fn counted(holders: &[Arc<Attachment>]) -> impl Iterator<Item = &Arc<Attachment>> {
    let is_held = holders.iter().any(|holder| !holder.endpoint().is_stopped());
    let counts = move |holder: &&Arc<Attachment>| !is_held || !holder.endpoint().is_stopped();
    let is_local = |holder: &Arc<Attachment>| !holder.endpoint().is_remote();
    let has_local = holders.iter().filter(counts).any(is_local);
    holders.iter().rev().filter(counts).filter(move |holder| !has_local || is_local(holder))
}

impl Records<'_, '_> {
    fn write(&mut self, end: &Disposition<'_>, writer: &mut ReplyWriter<'_>, rotation: &mut Rotation) {
        match end {
            Disposition::Names(hits) => self.names(hits, writer, rotation),
            Disposition::Alias { target, ttl } => {
                writer.push_rdata(Section::Answer, self.owner, rtype::CNAME, *ttl, &[target.as_wire()]);
            }
            Disposition::Service { snapshot, entry, service, protocol } => {
                self.service(snapshot, entry, service, *protocol, writer, rotation)
            }
            Disposition::Reverse { snapshot, holders } => self.reverse(snapshot, holders, writer),
            Disposition::Gateway => self.addresses_of(&self.view.gateway().settings().gateways, self.ttl(), writer),
            Disposition::Localhost => {
                self.addresses_of(&[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], self.ttl(), writer);
            }
            Disposition::Loopback => self.pointer(&[b"\x09localhost\x00"], self.ttl(), writer),
            Disposition::Host(end) => end.write(self, writer, rotation),
            Disposition::Stopped(_)
            | Disposition::Parent
            | Disposition::Unknown
            | Disposition::NotReady
            | Disposition::Blocked
            | Disposition::AliasLoop
            | Disposition::Elsewhere => {}
        }
    }

    fn names(&self, hits: &[Match<'_>], writer: &mut ReplyWriter<'_>, rotation: &mut Rotation) {
        match self.rtype {
            rtype::A => self.addresses(hits, NameEntry::a, rrset::A_LEN, writer, rotation),
            rtype::AAAA => self.addresses(hits, NameEntry::aaaa, rrset::AAAA_LEN, writer, rotation),
            rtype::ANY => {
                // One RRset over UDP, all of them over TCP (answers.md T6).
                self.addresses(hits, NameEntry::a, rrset::A_LEN, writer, rotation);
                if self.over_tcp || writer.answers() == 0 {
                    self.addresses(hits, NameEntry::aaaa, rrset::AAAA_LEN, writer, rotation);
                }
                let sets = hits.iter().flat_map(|hit| hit.entry.record_sets());
                for set in sets.filter(|set| !matches!(set.rtype, rtype::A | rtype::AAAA)) {
                    if self.over_tcp || writer.answers() == 0 {
                        self.fragment(set, writer, rotation);
                    }
                }
            }
            wanted => {
                let mut sets = hits.iter().flat_map(|hit| hit.entry.record_sets());
                if let Some(set) = sets.find(|set| set.rtype == wanted) {
                    self.fragment(set, writer, rotation);
                }
            }
        }
    }

    /// Static records, services in turn order (answers.md T2).
    fn fragment(&self, set: &RecordSet, writer: &mut ReplyWriter<'_>, rotation: &mut Rotation) {
        let first = match set.rtype {
            rtype::SRV => rotation.next(set.records.as_ptr() as usize, rrset::iter(&set.records).count()),
            _ => 0,
        };
        let (early, late) = (rrset::iter(&set.records).skip(first), rrset::iter(&set.records).take(first));
        for record in early.chain(late) {
            if !writer.push(Section::Answer, self.owner, record) {
                return;
            }
        }
    }

    /// The addresses of one family: each network's in turn order, those of an earlier network left out (answers.md V5, T2).
    fn addresses<'h>(
        &self,
        hits: &'h [Match<'_>],
        records_of: impl Fn(&'h NameEntry) -> &'h [u8],
        len: usize,
        writer: &mut ReplyWriter<'_>,
        rotation: &mut Rotation,
    ) {
        for (index, hit) in hits.iter().enumerate() {
            let records = records_of(hit.entry);
            let count = records.len() / len;
            let (late, early) = records.split_at(rotation.next(records.as_ptr() as usize, count) * len);
            for record in early.chunks_exact(len).chain(late.chunks_exact(len)) {
                let is_known = |earlier: &Match<'h>| {
                    records_of(earlier.entry).chunks_exact(len).any(|known| rrset::rdata(known) == rrset::rdata(record))
                };
                if !hits[..index].iter().any(is_known) && !writer.push(Section::Answer, self.owner, record) {
                    return;
                }
            }
        }
    }

    /// The TTL of what no network has, seconds.
    fn ttl(&self) -> u32 {
        self.view.own().settings().ttl
    }

    /// The addresses of the wanted family out of a few.
    pub(super) fn addresses_of(&self, addresses: &[IpAddr], ttl: u32, writer: &mut ReplyWriter<'_>) {
        let has_v4 = addresses.iter().any(IpAddr::is_ipv4);
        for address in addresses {
            let wanted = match self.rtype {
                rtype::A => address.is_ipv4(),
                rtype::AAAA => address.is_ipv6(),
                rtype::ANY => self.over_tcp || address.is_ipv4() == has_v4,
                _ => false,
            };
            if wanted && !push_address(writer, Section::Answer, self.owner, ttl, *address) {
                return;
            }
        }
    }

    /// The name of an address (answers.md T3).
    fn reverse(&self, snapshot: &Snapshot, holders: &[Arc<Attachment>], writer: &mut ReplyWriter<'_>) {
        let settings = snapshot.settings();
        for holder in counted(holders) {
            match settings.reverse_names {
                ReverseNames::Canonical => {
                    if let Some(name) = holder.canonical_name(settings) {
                        return self.pointer(&name.parts(), settings.ttl, writer);
                    }
                }
                ReverseNames::All => {
                    holder.bare_names().for_each(|name| self.pointer(&[name.as_wire()], settings.ttl, writer));
                }
            }
        }
    }

    pub(super) fn pointer(&self, name: &[&[u8]], ttl: u32, writer: &mut ReplyWriter<'_>) {
        if matches!(self.rtype, rtype::PTR | rtype::ANY) {
            writer.push_rdata(Section::Answer, self.owner, rtype::PTR, ttl, name);
        }
    }

    /// One SRV for each matching port in turn order, and the targets' addresses as far as they fit (answers.md T2, T4).
    fn service(
        &self,
        snapshot: &Snapshot,
        entry: &NameEntry,
        service: &[u8],
        protocol: Protocol,
        writer: &mut ReplyWriter<'_>,
        rotation: &mut Rotation,
    ) {
        if !matches!(self.rtype, rtype::SRV | rtype::ANY) {
            return;
        }
        let settings = snapshot.settings();
        let mut offers: SmallVec<[Offer<'_, 4>; 4]> = SmallVec::new();
        for owner in entry.serving(settings) {
            let Some(target) = owner.unique_name(settings) else { continue };
            let [name, domain] = target.parts();
            let ports = owner.endpoint().ports().iter();
            for port in ports.filter(|port| port.protocol() == protocol && port.is(service)) {
                let endpoint = owner.endpoint();
                let offer = |port| Offer { target: [&[], &[], name, domain], port, addresses: endpoint.addresses() };
                offers.extend(endpoint.numbers_of(port).into_iter().map(offer));
            }
        }
        self.offers(entry, service, protocol, offers, settings.ttl, writer, rotation);
    }

    /// Writes offers of a service in turn order, and their addresses as far as they fit.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn offers<const PARTS: usize>(
        &self,
        entry: &NameEntry,
        service: &[u8],
        protocol: Protocol,
        mut offers: SmallVec<[Offer<'_, PARTS>; 4]>,
        ttl: u32,
        writer: &mut ReplyWriter<'_>,
        rotation: &mut Rotation,
    ) {
        if !matches!(self.rtype, rtype::SRV | rtype::ANY) {
            return;
        }
        if offers.len() > 1 {
            // Each service of a name has its own turn.
            let label = service.iter().chain(protocol.label());
            let label = label.fold(0, |hash: usize, &octet| hash.wrapping_mul(31).wrapping_add(octet.into()));
            let first = rotation.next(entry.owners_at() ^ label, offers.len());
            offers.rotate_left(first);
        }
        let mut targets: SmallVec<[(usize, &[IpAddr]); 4]> = SmallVec::new();
        for Offer { target, port, addresses } in offers {
            let target_at = writer.position() + 12 + 6;
            let port = port.to_be_bytes();
            // Priority 0, weight 1, port, and the target uncompressed (RFC 2782).
            let mut rdata = target;
            (rdata[0], rdata[1]) = (&[0, 0, 0, 1], &port);
            if !writer.push_rdata(Section::Answer, self.owner, rtype::SRV, ttl, &rdata) {
                return;
            }
            if !targets.iter().any(|(_, known)| std::ptr::eq(*known, addresses)) {
                targets.push((target_at, addresses));
            }
        }
        for (target_at, addresses) in targets {
            for address in addresses {
                if !push_address(writer, Section::Additional, target_at, ttl, *address) {
                    return;
                }
            }
        }
    }
}

fn push_address(writer: &mut ReplyWriter<'_>, section: Section, owner: usize, ttl: u32, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => writer.push_rdata(section, owner, rtype::A, ttl, &[&v4.octets()]),
        IpAddr::V6(v6) => writer.push_rdata(section, owner, rtype::AAAA, ttl, &[&v6.octets()]),
    }
}
