//! The cache of upstream answers: whatever an upstream sends, what is kept of it is given to nobody but who asked that
//! question, is whole, fits, and says no more than `relay` would have.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use callsign::forward::{Asked, AskedEdns, Choice, ForwardOptions, Forwarder, Question, relay};
use callsign::wire::message::{HEADER, Header, Section, flag, records};
use callsign::wire::rtype;

/// The question's name as one client spells it, and in lower case.
const SPELLED: &[u8] = b"\x03wWw\x07example\x00";
const NAME: &[u8] = b"\x03www\x07example\x00";
/// The most that a TTL may count.
const MOST: u32 = 86_400;

/// Takes three octets of what is asked: type, bits, size. The rest is the upstream's reply: from its header on, or, as it
/// would take a fuzzer long to find that out, from behind the question on.
pub fn run(input: &[u8]) {
    let Some((&[rtype, bits, size], rest)) = input.split_first_chunk() else { return };
    let question = [SPELLED, &[0, rtype, 0, 1]].concat();
    let reply = match (bits & 1, rest.split_first_chunk::<8>()) {
        (0, Some((head, records))) => {
            // Flags and three small counts; the question is right.
            let counts = [0, 1, 0, head[2] % 8, 0, head[3] % 8, 0, head[4] % 8];
            [&[0, 7, head[0] | 0x80, head[1]][..], &counts, &question, records].concat()
        }
        _ => rest.to_vec(),
    };
    let upstreams = vec!["192.0.2.53".parse().expect("an address")].into();
    let forwarder =
        Arc::new(Forwarder::new(ForwardOptions { upstreams, cache_size: 1 << 20, ..ForwardOptions::default() }));
    let choice = forwarder.choose(NAME, &[]);
    let flags = flag::RD | if bits & 2 > 0 { flag::CD } else { 0 };
    let dnssec_ok = bits & 4 > 0;
    let options: &[u8] = if bits & 8 > 0 { &[0, 10, 0, 2, 1, 2] } else { &[] };
    let edns = (dnssec_ok || bits & 16 > 0).then_some(AskedEdns { dnssec_ok, options });
    let limit = if bits & 32 > 0 { 65_535 } else { 512 + usize::from(size) * 4 };
    let asked = Asked { id: 9, flags, question: &question, limit, edns, aliases: &[] };
    forwarder.take_reply(&Question { question: question.clone(), flags, dnssec_ok }, &choice, reply.clone());

    // Nobody else's question is answered by it.
    for (name, tail) in [(&b"\x03wwx\x07example\x00"[..], [0, rtype]), (NAME, [1, rtype])] {
        let other = [name, &tail, &[0, 1]].concat();
        let asked = Asked { question: &other, ..asked };
        assert_eq!(forwarder.cached(name, &choice, &asked, &mut [0; 512]), None);
    }
    let Some(fresh) = ask(&forwarder, &choice, &asked) else { return };
    // What relay makes of the same reply has each of the records, if both fit.
    let mut relayed = Vec::new();
    let whole = Asked { limit: 65_535, ..asked };
    let is_error = matches!(Header::read(&fresh).map(|header| header.rcode()), Some(1 | 2 | 4 | 5));
    if !is_error {
        relay(&reply, &whole, &mut relayed).expect("what is kept can be relayed");
        let relayed: HashSet<_> = contents(&relayed).collect();
        assert!(contents(&fresh).all(|record| relayed.contains(&record)), "a record that nobody sent");
    }
    // Later its TTLs are less, and past them it is stale.
    forwarder.put_cache_clock_forward(Duration::from_secs(1));
    if let Some(later) = ask(&forwarder, &choice, &asked) {
        for (before, after) in ttls(&fresh).zip(ttls(&later)) {
            assert!(after < before || before == 0 || after == 30, "{before}, then {after}");
        }
    }
    forwarder.put_cache_clock_forward(Duration::from_secs(u64::from(MOST)));
    let mut out = vec![0; limit];
    if let Some(len) = forwarder.cached_or_stale(NAME, &choice, &asked, &mut out) {
        assert!(ttls(&out[..len]).all(|ttl| ttl == 30));
    }
}

/// The reply to the question, which is sound.
fn ask(forwarder: &Arc<Forwarder>, choice: &Choice, asked: &Asked<'_>) -> Option<Vec<u8>> {
    let mut out = vec![0; asked.limit];
    let len = forwarder.cached(NAME, choice, asked, &mut out)?;
    out.truncate(len);
    let header = Header::read(&out).expect("a header");
    assert_eq!((header.id, header.counts[0], header.opcode()), (9, 1, 0));
    assert!(header.has(flag::QR | flag::RA | asked.flags) && !header.has(flag::AA));
    assert_eq!(out[HEADER..HEADER + asked.question.len()], *asked.question);
    let records: Vec<_> = records(&out).map(|record| record.expect("whole records")).collect();
    assert_eq!(records.last().map_or(HEADER + asked.question.len(), |record| record.range.end), len);
    assert!(ttls(&out).all(|ttl| ttl <= MOST));
    let opts = records.iter().filter(|record| record.rtype == rtype::OPT).count();
    assert_eq!(opts, usize::from(asked.edns.is_some()));
    Some(out)
}

fn ttls(message: &[u8]) -> impl Iterator<Item = u32> {
    let records = records(message).map(|record| record.expect("whole records"));
    records.filter(|record| record.rtype != rtype::OPT).map(|record| record.ttl)
}

/// Section, type and class of each record but the OPT. Its data may have been written another way, with names in full.
fn contents(message: &[u8]) -> impl Iterator<Item = (u8, u16, u16)> {
    let records = records(message).map(|record| record.expect("whole records"));
    let section = |section| match section {
        Section::Answer => 0,
        Section::Authority => 1,
        Section::Additional => 2,
    };
    records
        .filter(|record| record.rtype != rtype::OPT)
        .map(move |record| (section(record.section), record.rtype, record.class))
}
