//! What is kept, for how long, and what is given of it, with a clock of the tests' own.

use super::super::key::QueryFlags;
use super::*;
use crate::wire::message::{Header, flag, records};
use crate::wire::relay::{Asked, AskedEdns, relay};
use crate::wire::{class, rcode, rtype};

const NAME: &[u8] = b"\x03www\x07example\x00";
const RULES: CachePolicy =
    CachePolicy { size: 1 << 20, clamp: TtlBounds { least: 0, most: 86_400 }, stale_for: Duration::from_secs(1000) };

fn group(servers: &[&str]) -> Arc<[crate::settings::Upstream]> {
    servers.iter().map(|text| text.parse().unwrap()).collect()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::default().after(Duration::from_secs(seconds))
}

fn rr(owner: &[u8], rtype: u16, ttl: u32, rdata: &[u8]) -> Vec<u8> {
    let (rtype, len) = (rtype.to_be_bytes(), (rdata.len() as u16).to_be_bytes());
    [owner, &rtype, &[0, 1], &ttl.to_be_bytes(), &len, rdata].concat()
}

fn a(ttl: u32, last: u8) -> Vec<u8> {
    rr(b"\xc0\x0c", rtype::A, ttl, &[10, 0, 0, last])
}

fn soa(owner: &[u8], ttl: u32, minimum: u32) -> Vec<u8> {
    rr(owner, rtype::SOA, ttl, &[&b"\0\0"[..], &[0; 16], &minimum.to_be_bytes()].concat())
}

fn reply(name: &[u8], rtype: u16, flags: u16, sections: [&[Vec<u8>]; 3]) -> Vec<u8> {
    let counts = sections.map(|section| section.len() as u16);
    let header = [7, flag::QR | flags, 1, counts[0], counts[1], counts[2]].map(u16::to_be_bytes);
    let tail = [rtype, class::IN].map(u16::to_be_bytes);
    [header.as_flattened(), name, tail.as_flattened(), &sections.concat().concat()].concat()
}

/// A cache and the key that most tests use.
struct Kit {
    cache: Cache,
    group: Arc<[crate::settings::Upstream]>,
    rules: CachePolicy,
}

impl Kit {
    fn new() -> Kit {
        Kit { cache: Cache::new(RULES.size), group: group(&["10.0.0.1"]), rules: RULES }
    }

    fn key(&self, rtype: u16) -> KeyRef<'_> {
        let kind = Kind { rtype, class: class::IN, bits: QueryFlags::of(flag::RD, false) };
        self.cache.key(NAME, kind, &self.group)
    }

    fn keep(&self, rtype: u16, flags: u16, sections: [&[Vec<u8>]; 3], now: u64) {
        self.cache.replied(self.key(rtype), &reply(NAME, rtype, flags, sections), false, &self.rules, at(now));
    }

    fn find(&self, rtype: u16, now: u64) -> Lookup {
        self.cache.find(self.key(rtype), false, &self.rules, at(now))
    }

    /// The TTLs, by section, of what is fresh.
    fn ttls(&self, rtype: u16, now: u64) -> Option<Vec<u32>> {
        let Lookup::Fresh(answer, age) = self.find(rtype, now) else { return None };
        Some(ttls(&written(&answer, age, rtype)))
    }
}

fn question(rtype: u16) -> Vec<u8> {
    [b"\x03wWw\x07example\x00", rtype.to_be_bytes().as_slice(), &[0, 1]].concat()
}

fn written(answer: &Answer, age: Age, rtype: u16) -> Vec<u8> {
    let asked = Asked { id: 9, flags: flag::RD, question: &question(rtype), limit: 65_535, edns: None, aliases: &[] };
    let mut out = vec![0; 65_535];
    let len = answer.write(age, true, &asked, &mut out).unwrap();
    out.truncate(len);
    out
}

fn ttls(message: &[u8]) -> Vec<u32> {
    records(message).map(|record| record.unwrap().ttl).collect()
}

#[test]
fn ttls_count_down_and_the_least_of_the_answer_ends_it() {
    let kit = Kit::new();
    kit.keep(rtype::A, 0, [&[a(20, 1), a(10, 2)], &[], &[]], 100);
    assert_eq!(kit.ttls(rtype::A, 100).unwrap(), [20, 10]);
    assert_eq!(kit.ttls(rtype::A, 109).unwrap(), [11, 1]);
    assert!(matches!(kit.find(rtype::A, 110), Lookup::Expired(_)));
    assert!(matches!(kit.find(rtype::A, 1109), Lookup::Expired(_)));
    assert!(matches!(kit.find(rtype::A, 1110), Lookup::Nothing));
}

#[test]
fn f8_an_entry_lives_as_long_as_the_shortest_ttl_of_answer_and_authority() {
    let kit = Kit::new();
    let ns = |ttl| rr(b"\xc0\x10", rtype::NS, ttl, b"\0");
    kit.keep(rtype::A, 0, [&[a(20, 1)], &[ns(5)], &[]], 100);
    assert_eq!(kit.ttls(rtype::A, 104).unwrap(), [16, 1]);
    assert!(matches!(kit.find(rtype::A, 105), Lookup::Expired(_)));
    // A negative answer too, whatever else stands beside its SOA.
    kit.keep(rtype::A, 3, [&[], &[soa(b"\xc0\x10", 300, 300), ns(7)], &[]], 100);
    assert_eq!(kit.ttls(rtype::A, 106).unwrap(), [294, 1]);
    assert!(!matches!(kit.find(rtype::A, 107), Lookup::Fresh(..)));
    kit.keep(rtype::A, 0, [&[a(20, 1)], &[ns(0)], &[]], 100);
    assert!(!matches!(kit.find(rtype::A, 100), Lookup::Fresh(..)));
}

#[test]
fn f8_an_additional_record_is_not_given_beyond_its_ttl() {
    let kit = Kit::new();
    let extra = |ttl, last| rr(b"\xc0\x10", rtype::A, ttl, &[10, 0, 1, last]);
    kit.keep(rtype::A, 0, [&[a(20, 1)], &[], &[extra(9, 1), extra(5, 2), extra(30, 3)]], 100);
    assert_eq!(kit.ttls(rtype::A, 104).unwrap(), [16, 5, 1, 26]);
    // Those behind it go too: they may point into it.
    assert_eq!(kit.ttls(rtype::A, 105).unwrap(), [15, 4]);
    assert_eq!(kit.ttls(rtype::A, 109).unwrap(), [11]);
    assert_eq!(kit.ttls(rtype::A, 119).unwrap(), [1]);
    assert!(matches!(kit.find(rtype::A, 120), Lookup::Expired(_)));
}

#[test]
fn f8_a_first_reply_has_the_ttls_that_it_has_from_the_cache() {
    let clamp = TtlBounds { least: 10, most: 86_400 };
    let kit = Kit { rules: CachePolicy { clamp, ..RULES }, ..Kit::new() };
    let year = 365 * 86_400;
    let sections = [&[a(i32::MAX as u32, 1), a(3, 2)][..], &[rr(b"\xc0\x10", rtype::NS, year, b"\0")], &[a(60, 3)]];
    kit.keep(rtype::A, 0, sections, 0);
    let mut message = reply(NAME, rtype::A, 0, sections);
    clamp.apply(&mut message);
    assert_eq!(ttls(&message), [86_400, 10, 86_400, 60]);
    assert_eq!(kit.ttls(rtype::A, 0).unwrap(), ttls(&message));
    let mut message = reply(NAME, rtype::A, 0, [&[a(0x8000_0000, 1), a(u32::MAX, 2)], &[], &[]]);
    TtlBounds { least: 0, ..clamp }.apply(&mut message);
    assert_eq!(ttls(&message), [0, 0], "RFC 2181 §8");
    // A negative answer is not to be made to last; and what is no whole message stays as it is.
    let mut message = reply(NAME, rtype::A, 3, [&[], &[soa(b"\xc0\x10", 5, 5)], &[]]);
    clamp.apply(&mut message);
    assert_eq!(ttls(&message), [5]);
    let mut cut = reply(NAME, rtype::A, 0, [&[a(year, 1), a(year, 2)], &[], &[]]);
    cut.pop();
    let before = cut.clone();
    clamp.apply(&mut cut);
    assert_eq!(cut, before);
}

#[test]
fn ttls_are_clamped_and_nothing_is_kept_for_no_time() {
    let mut kit = Kit::new();
    kit.keep(rtype::A, 0, [&[a(0, 1)], &[], &[]], 0);
    assert!(matches!(kit.find(rtype::A, 0), Lookup::Nothing));
    kit.keep(rtype::A, 0, [&[a(0x8000_0000, 1)], &[], &[]], 0);
    assert!(matches!(kit.find(rtype::A, 0), Lookup::Nothing), "RFC 2181 §8");
    kit.rules.clamp = TtlBounds { least: 30, most: 60 };
    kit.keep(rtype::A, 0, [&[a(0, 1), a(90, 1)], &[], &[]], 0);
    assert_eq!(kit.ttls(rtype::A, 10).unwrap(), [20, 50]);
    // Least is not for negative answers.
    kit.keep(rtype::A, 3, [&[], &[soa(b"\xc0\x10", 300, 5)], &[]], 0);
    assert_eq!(kit.ttls(rtype::A, 4).unwrap(), [1]);
    assert!(!matches!(kit.find(rtype::A, 5), Lookup::Fresh(..)));
}

#[test]
fn negative_answers_hold_as_long_as_their_soa_says() {
    let kit = Kit::new();
    for (code, ttl, minimum, holds) in
        [(3, 300, 60, 60), (3, 60, 300, 60), (0, 20, 40, 20), (0, 90_000, 90_000, 10_800)]
    {
        kit.keep(rtype::A, code, [&[], &[soa(b"\xc0\x10", ttl, minimum)], &[]], 0);
        assert_eq!(kit.ttls(rtype::A, 1).unwrap(), [holds - 1], "the SOA counts down");
        assert!(matches!(kit.find(rtype::A, u64::from(holds) - 1), Lookup::Fresh(..)));
        assert!(!matches!(kit.find(rtype::A, holds.into()), Lookup::Fresh(..)));
    }
    let foreign = soa(b"\x03com\x00", 300, 300);
    let short = rr(b"\xc0\x10", rtype::SOA, 300, &[0; 20]);
    for (what, flags, sections) in [
        ("no SOA", 3, [vec![], vec![], vec![]]),
        ("a referral", 0, [vec![], vec![rr(b"\xc0\x10", 2, 300, b"\0")], vec![]]),
        ("the SOA of another zone", 3, [vec![], vec![foreign], vec![]]),
        ("half an SOA", 3, [vec![], vec![short], vec![]]),
        ("an SOA among the additional records", 3, [vec![], vec![], vec![soa(b"\xc0\x10", 300, 300)]]),
        ("an answer that does not exist", 3, [vec![a(300, 1)], vec![soa(b"\xc0\x10", 300, 300)], vec![]]),
        ("truncated", flag::TC, [vec![a(300, 1)], vec![], vec![]]),
        ("an error", 2, [vec![a(300, 1)], vec![], vec![]]),
        ("an extended error code", 0, [vec![a(300, 1)], vec![], vec![rr(b"\0", rtype::OPT, 0x0100_0000, b"")]]),
    ] {
        kit.keep(rtype::A, 0, [&[a(300, 1)], &[], &[]], 0);
        kit.keep(rtype::A, flags, sections.each_ref().map(Vec::as_slice), 0);
        assert!(matches!(kit.find(rtype::A, 0), Lookup::Nothing), "{what}");
    }
}

#[test]
fn only_what_answers_the_question_is_kept_as_answer() {
    let kit = Kit::new();
    // www is an alias for web, by a DNAME too; bank.example is none of its business, nor is the text of www.
    let answers = [
        rr(b"\x04bank\xc0\x10", rtype::A, 300, &[6, 6, 6, 6]),
        rr(b"\xc0\x0c", rtype::CNAME, 300, b"\x03Web\xc0\x10"),
        rr(b"\xc0\x0c", rtype::TXT, 300, b"\x01x"),
        rr(b"\x03wEb\xc0\x10", rtype::A, 200, &[10, 0, 0, 1]),
        rr(b"\x03web\xc0\x10", 46, 200, &[0, 1, 9, 9]),
        rr(b"\xc0\x10", 39, 250, b"\x07example\0"),
        rr(b"\xc0\x10", 46, 250, &[0, 39, 9]),
        rr(b"\xc0\x10", 46, 250, &[0, 1, 9]),
    ];
    let (authority, additional) = (rr(b"\0", 2, 50, b"\xc0\x0c"), rr(b"\x01z\xc0\x10", rtype::A, 40, &[1, 2, 3, 4]));
    kit.keep(rtype::A, 0, [&answers, &[authority], &[additional]], 0);
    let Lookup::Fresh(answer, age) = kit.find(rtype::A, 0) else { panic!("kept") };
    let message = written(&answer, age, rtype::A);
    assert_eq!(Header::read(&message).unwrap().counts, [1, 5, 1, 1]);
    let decoded = hickory_proto::op::Message::from_vec(&message).unwrap();
    let kept: Vec<String> = decoded.answers.iter().map(|record| format!("{} {}", record.name, record.ttl)).collect();
    assert_eq!(kept, ["wWw.example. 300", "wEb.example. 200", "web.example. 200", "example. 250", "example. 250"]);
    assert!(!message.windows(4).any(|octets| octets == [6, 6, 6, 6]));
    assert_eq!(decoded.authorities[0].data.to_string(), "www.example.", "names that were pointed to");
    assert_eq!(decoded.additionals[0].name.to_string(), "z.example.");

    // Nothing that answers, and no alias in a circle.
    kit.keep(rtype::A, 0, [&answers[..1], &[], &[]], 0);
    assert!(matches!(kit.find(rtype::A, 0), Lookup::Nothing));
    let circle = [rr(b"\xc0\x0c", 5, 9, b"\x01x\xc0\x10"), rr(b"\x01x\xc0\x10", 5, 9, b"\xc0\x0c")];
    kit.keep(rtype::A, 0, [&circle, &[], &[]], 0);
    assert!(matches!(kit.find(rtype::A, 0), Lookup::Nothing));
    // An alias to what has no such record: negative, and only with the SOA of where it leads.
    let alias = [rr(b"\xc0\x0c", rtype::CNAME, 7, b"\x03web\x03org\0")];
    kit.keep(rtype::A, 0, [&alias, &[soa(b"\xc0\x10", 300, 300)], &[]], 0);
    assert!(matches!(kit.find(rtype::A, 0), Lookup::Nothing));
    kit.keep(rtype::A, 0, [&alias, &[soa(b"\x03org\0", 300, 300)], &[]], 0);
    assert_eq!(kit.ttls(rtype::A, 0).unwrap(), [7, 300]);
    assert!(!matches!(kit.find(rtype::A, 7), Lookup::Fresh(..)));
    // ANY, and an alias that is asked for itself.
    kit.keep(rtype::ANY, 0, [&answers[1..3], &[], &[]], 0);
    assert_eq!(kit.ttls(rtype::ANY, 0).unwrap(), [300, 300]);
    let opt = rr(b"\xc0\x0c", rtype::OPT, 0, b"");
    kit.keep(rtype::ANY, 0, [&[opt.clone(), a(9, 1)], &[], &[]], 0);
    assert_eq!(kit.ttls(rtype::ANY, 0).unwrap(), [9], "an OPT is no answer");
    kit.keep(rtype::ANY, 0, [&[opt], &[], &[]], 0);
    assert!(matches!(kit.find(rtype::ANY, 0), Lookup::Nothing));
    kit.keep(rtype::CNAME, 0, [&alias, &[], &[]], 0);
    assert_eq!(kit.ttls(rtype::CNAME, 0).unwrap(), [7]);
}

#[test]
fn another_question_or_another_group_finds_nothing() {
    let kit = Kit::new();
    kit.keep(rtype::A, 0, [&[a(300, 1)], &[], &[]], 0);
    let known = kit.key(rtype::A);
    let twin = group(&["10.0.0.1"]);
    fn is_found(kit: &Kit, key: KeyRef<'_>) -> bool {
        matches!(kit.cache.find(key, false, &RULES, at(1)), Lookup::Fresh(..))
    }
    assert!(is_found(&kit, kit.cache.key(NAME, known.kind, &twin)), "an identical list is the same group");
    for servers in [&["10.0.0.2"][..], &["10.0.0.1:54"], &["10.0.0.1", "10.0.0.2"], &[]] {
        assert!(!is_found(&kit, kit.cache.key(NAME, known.kind, &group(servers))), "{servers:?}");
    }
    assert!(!is_found(&kit, kit.cache.key(b"\x03wwx\x07example\x00", known.kind, known.group)));
    for kind in [
        Kind { rtype: rtype::AAAA, ..known.kind },
        Kind { class: class::CH, ..known.kind },
        Kind { bits: QueryFlags::of(flag::RD, true), ..known.kind },
        Kind { bits: QueryFlags::of(flag::RD | flag::CD, false), ..known.kind },
    ] {
        assert!(!is_found(&kit, kit.cache.key(NAME, kind, known.group)), "{kind:?}");
    }
    for flags in [0, flag::RD | flag::AD] {
        let kind = Kind { bits: QueryFlags::of(flags, false), ..known.kind };
        assert!(is_found(&kit, kit.cache.key(NAME, kind, known.group)), "f9: RD and AD do not split the key");
    }
    // A reply to another question is not kept at all.
    kit.cache.replied(kit.key(rtype::AAAA), &reply(NAME, rtype::A, 0, [&[a(9, 1)], &[], &[]]), false, &RULES, at(0));
    assert!(matches!(kit.find(rtype::AAAA, 0), Lookup::Nothing));
}

#[test]
fn who_asks_for_ad_is_not_given_an_answer_that_was_got_without() {
    let kit = Kit::new();
    let message = reply(NAME, rtype::A, flag::AD, [&[a(300, 1)], &[], &[]]);
    let find = |with_ad| kit.cache.find(kit.key(rtype::A), with_ad, &RULES, at(1));
    kit.cache.replied(kit.key(rtype::A), &message, false, &RULES, at(0));
    assert!(matches!((find(false), find(true)), (Lookup::Fresh(..), Lookup::Expired(_))));
    kit.cache.replied(kit.key(rtype::A), &message, true, &RULES, at(0));
    assert!(matches!((find(false), find(true)), (Lookup::Fresh(..), Lookup::Fresh(..))));
}

#[test]
fn failures_are_remembered_longer_and_longer_and_an_answer_ends_that() {
    let kit = Kit::new();
    let fail = |now| kit.cache.failed(kit.key(rtype::A), rcode::SERVFAIL, "silent", &RULES, at(now));
    let mut now = 0;
    for lasts in [1, 2, 4, 8, 16, 30, 30] {
        fail(now);
        assert!(matches!(kit.find(rtype::A, now + lasts - 1), Lookup::Failed(_)), "{lasts}");
        assert!(matches!(kit.find(rtype::A, now + lasts), Lookup::Nothing), "{lasts}");
        now += lasts;
    }
    // Long after the last one, or after an answer, it begins anew.
    fail(now + 61);
    assert!(matches!(kit.find(rtype::A, now + 62), Lookup::Nothing));
    fail(now + 62);
    kit.keep(rtype::A, 0, [&[a(1, 1)], &[], &[]], now + 70);
    fail(now + 71);
    assert!(matches!(kit.find(rtype::A, now + 71), Lookup::Stale(_)));
    assert!(matches!(kit.find(rtype::A, now + 72), Lookup::Expired(_)));
}

#[test]
fn an_old_answer_is_given_while_asking_fails_and_not_for_ever() {
    let kit = Kit::new();
    kit.keep(rtype::A, flag::AD, [&[a(10, 1)], &[soa(b"\xc0\x10", 9, 9)], &[]], 0);
    kit.cache.failed(kit.key(rtype::A), rcode::SERVFAIL, "silent", &RULES, at(5));
    assert_eq!(kit.ttls(rtype::A, 5).unwrap(), [5, 4], "within its TTL it is as good as before");
    kit.cache.failed(kit.key(rtype::A), rcode::SERVFAIL, "silent", &RULES, at(20));
    let Lookup::Stale(answer) = kit.find(rtype::A, 20) else { panic!("stale") };
    let edns = Some(AskedEdns { dnssec_ok: false, options: &[0, 10, 0, 1, 5] });
    let asked = Asked { id: 9, flags: 0, question: &question(rtype::A), limit: 512, edns, aliases: &[] };
    let mut out = [0; 512];
    let len = answer.write(Age::Stale, false, &asked, &mut out).unwrap();
    assert_eq!(ttls(&out[..len])[..2], [30, 30]);
    assert!(out[..len].ends_with(&[0, 11, 0, 10, 0, 1, 5, 0, 15, 0, 2, 0, 3]), "our options, then EDE 3");
    assert!(!Header::read(&out).unwrap().has(flag::AD));
    kit.cache.failed(kit.key(rtype::A), rcode::SERVFAIL, "silent", &RULES, at(1010));
    assert!(matches!(kit.find(rtype::A, 1010), Lookup::Failed(_)), "past `stale_for`");
}

#[test]
fn what_does_not_exist_any_more_is_never_given_stale() {
    let kit = Kit::new();
    let no_data = [soa(b"\xc0\x10", 10, 10)];
    kit.keep(rtype::A, 0, [&[a(10, 1)], &[], &[]], 0);
    kit.keep(rtype::AAAA, 0, [&[], &no_data, &[]], 0);
    assert!(matches!(kit.find(rtype::AAAA, 20), Lookup::Expired(_)), "NODATA can be stale: the A record needs it");
    // Said for another type of the same name.
    kit.keep(15, 3, [&[], &no_data, &[]], 5);
    assert!(matches!(kit.find(rtype::A, 9), Lookup::Fresh(..)));
    for rtype in [rtype::A, rtype::AAAA, 15] {
        assert!(matches!(kit.find(rtype, 20), Lookup::Nothing), "{rtype}");
        kit.cache.failed(kit.key(rtype), rcode::SERVFAIL, "", &RULES, at(20));
        assert!(matches!(kit.find(rtype, 20), Lookup::Failed(_)), "{rtype}");
    }
    // It came back.
    kit.keep(rtype::A, 0, [&[a(10, 1)], &[], &[]], 30);
    assert!(matches!(kit.find(rtype::A, 50), Lookup::Expired(_)));
    // Of too many kinds the last ones are not given stale at all, since nobody would remember to forget them.
    for rtype in 1000..1100 {
        kit.keep(rtype, 0, [&[rr(b"\xc0\x0c", rtype, 10, b"")], &[], &[]], 0);
    }
    assert!(matches!(kit.find(1000, 20), Lookup::Expired(_)));
    assert!(matches!((kit.find(1099, 5), kit.find(1099, 20)), (Lookup::Fresh(..), Lookup::Nothing)));
}

#[test]
fn a_popular_answer_is_asked_for_again_once_in_the_last_tenth_of_its_time() {
    let kit = Kit::new();
    kit.keep(rtype::A, 0, [&[a(100, 1)], &[], &[]], 0);
    let Lookup::Fresh(answer, _) = kit.find(rtype::A, 0) else { panic!("kept") };
    assert!(!answer.hit(at(95)), "not popular yet");
    assert!(!(0..10).any(|_| answer.hit(at(89))), "not yet time");
    let asked = (0..10).filter(|_| answer.hit(at(90))).count();
    assert_eq!(asked, 1);
}

#[test]
fn the_store_stays_within_its_size() {
    let kit = Kit::new();
    let mut popular = 0;
    for index in 0..20_000_u32 {
        let name = [b"\x08", format!("{index:08x}").as_bytes(), b"\0"].concat();
        let key = kit.cache.key(&name, kit.key(rtype::A).kind, &kit.group);
        let message = reply(&name, rtype::A, 0, [&[a(300, 1)], &[], &[]]);
        kit.cache.replied(key, &message, false, &RULES, at(0));
        kit.keep(rtype::A, 0, [&[a(300, 1)], &[], &[]], 0);
        popular += u32::from(kit.ttls(rtype::A, 0).is_some());
        let (entries, bytes) = kit.cache.size();
        assert!(bytes <= RULES.size as u64 && entries < RULES.size / OVERHEAD);
    }
    assert_eq!(popular, 20_000, "what is asked for stays");
    let (entries, bytes) = kit.cache.size();
    assert!(entries > 1000 && bytes > RULES.size as u64 / 2, "{entries} {bytes}");
    kit.cache.resize(0);
    assert_eq!(kit.cache.size(), (0, 0));
    let off = CachePolicy { size: 0, ..RULES };
    kit.cache.replied(kit.key(rtype::A), &reply(NAME, 1, 0, [&[a(9, 1)], &[], &[]]), false, &off, at(0));
    kit.cache.failed(kit.key(rtype::A), 2, "", &off, at(0));
    assert!(matches!(kit.cache.find(kit.key(rtype::A), false, &off, at(0)), Lookup::Nothing));
}

#[test]
fn a_hit_is_written_as_relay_would_write_it() {
    let kit = Kit::new();
    let answers: Vec<_> = (0..40).map(|last| a(300, last)).collect();
    let error = [0, 15, 0, 4, 0, 6, b'd', b's'];
    let opt = rr(b"\0", rtype::OPT, 0, &error);
    let odd = rr(b"\xc0\x10", 65_280, 300, b"\xc0\x0c");
    // Up to the largest message there can be, and beyond: header and question have 29 octets, a record's own fields 12, an OPT
    // 11 and its option 6.
    let large = |octets: usize| rr(b"\xc0\x0c", rtype::A, 300, &vec![7; octets - 29 - 12]);
    let large =
        [65_535 - 17, 65_535 - 16, 65_535 - 11, 65_535 - 10].map(|octets| [vec![large(octets)], vec![], vec![]]);
    for sections in [
        [answers.clone(), vec![odd.clone(), soa(b"\xc0\x10", 300, 300)], vec![odd.clone(), opt.clone()]],
        [vec![], vec![soa(b"\xc0\x10", 300, 300)], vec![opt.clone(), odd.clone()]],
        [vec![a(300, 1)], vec![], vec![]],
    ]
    .into_iter()
    .chain(large)
    {
        for flags in [0, flag::AD | flag::AA] {
            let upstream = reply(NAME, rtype::A, flags, sections.each_ref().map(Vec::as_slice));
            kit.cache.replied(kit.key(rtype::A), &upstream, true, &RULES, at(0));
            let Lookup::Fresh(answer, age) = kit.find(rtype::A, 0) else { panic!("kept") };
            for limit in (512..1300).chain([65_535]) {
                for edns in [None, Some(AskedEdns { dnssec_ok: true, options: &[0, 10, 0, 2, 1, 2] })] {
                    let question = question(rtype::A);
                    let asked =
                        Asked { id: 9, flags: flag::RD | flag::CD, question: &question, limit, edns, aliases: &[] };
                    let (mut relayed, mut out) = (Vec::new(), vec![0xee; limit]);
                    relay(&upstream, &asked, &mut relayed).unwrap();
                    let len = answer.write(age, true, &asked, &mut out).unwrap();
                    assert_eq!(out[..len], relayed, "{limit}");
                }
            }
        }
    }
}
