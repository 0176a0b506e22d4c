//! Questions to simulated servers over simulated paths, in simulated time: what is sent when, and which answer counts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::super::health::{Change, Health, Timing};
use super::super::ranking::tests::{Fake, servers_of};
use super::super::ranking::{Ranking, rank};
use super::*;

const MS: Duration = Duration::from_millis(1);

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Say {
    Yes,
    /// NXDOMAIN or NODATA.
    No,
    /// REFUSED or SERVFAIL.
    Error,
}
use Say::{Error, No, Yes};

/// A packet on its way to a server.
#[derive(Debug, Clone, Copy)]
struct Packet {
    /// The number of the question; `None` for a probe.
    question: Option<usize>,
    /// When it is sent, milliseconds.
    at: u32,
}

/// After how many milliseconds a server replies to a packet, and what; `None` if it does not, or if either gets lost.
type Server = Box<dyn FnMut(Packet) -> Option<(u32, Say)>>;

fn replies(after: u32, say: Say) -> Server {
    Box::new(move |_| Some((after, say)))
}

fn dead() -> Server {
    Box::new(|_| None)
}

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Done {
    /// Milliseconds that it took.
    took: u32,
    /// Whose answer counted, if one did.
    whose: Option<usize>,
    say: Option<Say>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Ask,
    Wake(usize),
    Reply { server: usize, question: Option<usize>, say: Say, sent: u32, is_repeated: bool },
    Probe { server: usize, since: u32 },
    RepeatProbe { server: usize },
    ProbeUnanswered { server: usize, sent: u32 },
}

/// A question under way.
struct Open {
    started: u32,
    schedule: Schedule,
    replies: Vec<Option<Say>>,
    /// Packets to each server, and when the last one went.
    sent: Vec<(u32, u32)>,
}

struct Simulation {
    order: Order,
    timeout: Duration,
    start: Instant,
    health: Fake,
    servers: Vec<Server>,
    now: u32,
    turn: usize,
    agenda: BinaryHeap<Reverse<(u32, usize, Happens)>>,
    open: BTreeMap<usize, Open>,
    done: BTreeMap<usize, Done>,
    /// Packets of questions and probes to each server.
    packets: Vec<u32>,
    probes: Vec<u32>,
    /// Whose question is which.
    client_of: fn(usize) -> Option<Asker>,
    demoted: Vec<(u32, usize)>,
    back: Vec<(u32, usize)>,
}

impl Simulation {
    /// Servers that nothing is known of.
    fn new(order: Order, servers: Vec<Server>) -> Simulation {
        let count = servers.len();
        Simulation::warm(order, servers, &vec![0; count])
    }

    /// Servers that usually reply after so many milliseconds.
    fn warm(order: Order, servers: Vec<Server>, rtts: &[u32]) -> Simulation {
        Simulation {
            order,
            timeout: 4000 * MS,
            health: servers_of(rtts),
            start: Instant::now(),
            now: 0,
            turn: 0,
            agenda: BinaryHeap::new(),
            open: BTreeMap::new(),
            done: BTreeMap::new(),
            packets: vec![0; servers.len()],
            probes: vec![0; servers.len()],
            servers,
            client_of: |_| None,
            demoted: Vec::new(),
            back: Vec::new(),
        }
    }

    fn instant(&self) -> Instant {
        self.start + self.now * MS
    }

    fn plan(&mut self, at: u32, happens: Happens) {
        // Things of the same time happen in the order in which they were planned.
        let number = self.turn;
        self.turn += 1;
        self.agenda.push(Reverse((at, number, happens)));
    }

    /// Asks one question at each of these times, and lets everything happen.
    fn ask(&mut self, times: impl IntoIterator<Item = u32>) -> &mut Simulation {
        let times: Vec<u32> = times.into_iter().collect();
        for &at in &times {
            self.plan(at, Happens::Ask);
        }
        self.go_on(times.len(), times.len())
    }

    /// Asks so many questions, each as soon as fewer than `in_flight` are under way.
    fn ask_in_flight(&mut self, count: usize, in_flight: usize) -> &mut Simulation {
        let planned = count.min(in_flight);
        (0..planned).for_each(|_| self.plan(self.now, Happens::Ask));
        self.go_on(count, planned)
    }

    /// Lets everything happen until `count` more questions are done. So many are planned; each of the others is asked when
    /// one is done.
    fn go_on(&mut self, count: usize, mut planned: usize) -> &mut Simulation {
        let first = self.done.len();
        let mut asked = first;
        while self.done.len() < first + count {
            let in_flight = planned - (self.done.len() - first);
            let Some(Reverse((at, _, happens))) = self.agenda.pop() else { panic!("nothing happens any more") };
            self.now = at.max(self.now);
            match happens {
                Happens::Ask => {
                    self.begin(asked);
                    asked += 1;
                }
                Happens::Wake(question) => self.run(question),
                Happens::Reply { server, question, say, sent, is_repeated } => {
                    let rtt = (self.now - sent) * MS;
                    let (now, client_of) = (self.instant(), self.client_of);
                    let change = self.health.with(server, |health| {
                        if question.is_none() {
                            health.probe_ended();
                        }
                        health.earn_repeat(question.and_then(client_of), now);
                        health.answered(Some(rtt), is_repeated, now)
                    });
                    self.changed(server, change);
                    if let Some(question) = question {
                        self.hear(question, server, say);
                    }
                }
                Happens::Probe { server, since } => {
                    let since = self.start + since * MS;
                    match self.health.with(server, |health| health.has_replied_since(since)) {
                        true => self.health.with(server, Health::probe_ended),
                        false => self.probe(server),
                    }
                }
                Happens::RepeatProbe { server } => {
                    if self.health.with(server, |health| health.is_probed()) {
                        self.send(server, None);
                    }
                }
                Happens::ProbeUnanswered { server, sent } => {
                    let (now, sent) = (self.instant(), self.start + sent * MS);
                    let change = self.health.with(server, |health| health.probe_unanswered(sent, now));
                    self.changed(server, change);
                }
            }
            let next = (planned - (self.done.len() - first)..in_flight).take(count - planned).count();
            (0..next).for_each(|_| self.plan(self.now, Happens::Ask));
            planned += next;
        }
        self
    }

    fn begin(&mut self, question: usize) {
        let now = self.instant();
        let ranking: Ranking = rank(&self.health, self.order, question, now);
        for &(server, with_question) in &ranking.retries {
            self.send(server, None);
            if with_question {
                self.send(server, Some(question));
            }
        }
        let schedule = Schedule::new(self.order, &ranking, (self.client_of)(question), self.timeout, now);
        let count = self.servers.len();
        self.open.insert(
            question,
            Open { started: self.now, schedule, replies: vec![None; count], sent: vec![(0, 0); count] },
        );
        self.run(question);
    }

    /// Sends a packet; for a question that is not open it is a copy.
    fn send(&mut self, server: usize, question: Option<usize>) {
        let count = if question.is_some() { &mut self.packets } else { &mut self.probes };
        count[server] += 1;
        let mut is_repeated = false;
        if let Some(open) = question.and_then(|question| self.open.get_mut(&question)) {
            let (packets, last) = &mut open.sent[server];
            (*packets, *last) = (*packets + 1, self.now);
            is_repeated = *packets > 1;
        }
        if let Some((after, say)) = self.servers[server](Packet { question, at: self.now }) {
            let sent = self.now;
            self.plan(sent + after, Happens::Reply { server, question, say, sent, is_repeated });
        }
    }

    fn run(&mut self, question: usize) {
        loop {
            let now = self.instant();
            let Some(open) = self.open.get_mut(&question) else { return };
            let started = open.started;
            let whose = match open.schedule.next(now, &self.health) {
                Step::Ask(server) | Step::Repeat(server) => {
                    self.send(server, Some(question));
                    continue;
                }
                Step::Suspect(server) => {
                    if let Some(at) = self.health.with(server, |health| health.suspect(now)) {
                        let at = (at - self.start).as_millis() as u32;
                        if at > self.now {
                            self.plan(at, Happens::Probe { server, since: self.now });
                        } else {
                            self.probe(server);
                        }
                    }
                    continue;
                }
                Step::Wait(until) => {
                    let at = u32::try_from((until - self.start).as_micros().div_ceil(1000)).unwrap();
                    return self.plan(at.max(self.now + 1), Happens::Wake(question));
                }
                Step::Give(server) => Some((server, open.replies[server].expect("it is in hand"))),
                Step::End => None,
                Step::Silent(_) => unreachable!("all are listened to until the end"),
            };
            let done = Done { took: self.now - started, whose: whose.map(|by| by.0), say: whose.map(|by| by.1) };
            self.open.remove(&question);
            self.done.insert(question, done);
            return;
        }
    }

    /// Sends a probe, and plans its repeats for as long as it is waited for.
    fn probe(&mut self, server: usize) {
        let until = self.now + self.health.timing(server).patience().as_millis() as u32;
        self.send(server, None);
        self.plan(until, Happens::ProbeUnanswered { server, sent: self.now });
        let mut interval = self.health.timing(server).repeat().as_millis() as u32;
        let mut at = self.now + interval;
        while at < until {
            self.plan(at, Happens::RepeatProbe { server });
            interval *= 2;
            at += interval;
        }
    }

    fn hear(&mut self, question: usize, server: usize, say: Say) {
        let now = self.instant();
        let Some(open) = self.open.get_mut(&question).filter(|open| open.replies[server].is_none()) else { return };
        open.replies[server] = Some(say);
        match say {
            Yes => open.schedule.answered(server, false),
            No => open.schedule.answered(server, true),
            Error => open.schedule.failed(server, true, now),
        }
        self.run(question);
    }

    fn changed(&mut self, server: usize, change: Option<Change>) {
        match change {
            None => return,
            Some(Change::Demoted { .. }) => self.demoted.push((self.now, server)),
            Some(Change::Back { .. }) => self.back.push((self.now, server)),
            Some(Change::Met) => {}
        }
        let watching: Vec<usize> =
            self.open.iter().filter(|(_, open)| open.schedule.is_watching()).map(|(question, _)| *question).collect();
        watching.into_iter().for_each(|question| self.run(question));
    }

    fn done(&self) -> Vec<Done> {
        self.done.values().copied().collect()
    }

    fn all(&self, is_so: impl Fn(&Done) -> bool) -> bool {
        self.done.values().all(is_so)
    }
}

/// The same losses in each run (SplitMix64).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut x = *state;
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

fn lossy(rtt: u32, percent: u64) -> Server {
    lossy_by(u64::from(rtt), rtt, percent)
}

fn lossy_by(seed: u64, rtt: u32, percent: u64) -> Server {
    let mut state = seed;
    let mut is_lost = move || random(&mut state) % 100 < percent;
    Box::new(move |_| if is_lost() || is_lost() { None } else { Some((rtt, Yes)) })
}

#[test]
fn f6_slow_upstreams_answer_and_are_not_asked_often() {
    for (delay, most) in [(300, 2), (1000, 2), (1800, 3), (2500, 3), (3500, 4)] {
        let mut simulation = Simulation::new(Order::Listed, vec![replies(delay, Yes)]);
        simulation.ask([0]);
        assert_eq!(simulation.done(), [Done { took: delay, whose: Some(0), say: Some(Yes) }]);
        // Probes among them.
        let packets = simulation.packets[0] + simulation.probes[0];
        assert!(packets <= most, "{delay} ms: {packets}");
        // Once it is known to be slow it is asked less.
        let times: Vec<u32> = (1..=5).map(|index| index * 10_000).collect();
        simulation.ask(times);
        assert!(simulation.all(|done| done.took == delay));
        assert!(simulation.packets[0] + simulation.probes[0] <= packets + 10, "{delay} ms");
    }
}

#[test]
fn f6_what_needs_6_s_is_given_up_after_4() {
    let mut simulation = Simulation::new(Order::Listed, vec![replies(6000, Yes)]);
    simulation.ask([0]);
    assert_eq!(simulation.done(), [Done { took: 4000, whose: None, say: None }]);
}

#[test]
fn f6_over_a_path_that_loses_a_fifth_each_way_99_9_per_cent_of_questions_are_answered() {
    for (rtt, seed) in [1, 20, 200].into_iter().flat_map(|rtt| (0..4).map(move |seed| (rtt, seed))) {
        // 0.36⁸ of them are not: 2.8 with a standard deviation of 1.7, whatever is lost.
        let mut simulation = Simulation::new(Order::Listed, vec![lossy_by(1000 * seed, rtt, 20)]);
        simulation.ask((0..10_000).map(|index| index / 2));
        let answered = simulation.done.values().filter(|done| done.say == Some(Yes)).count();
        assert!(answered >= 9_990, "{rtt} ms, {seed}: {answered}");
        // 1 / (1 - 0.36) queries each.
        assert!(simulation.packets[0] < 17_000, "{rtt} ms, {seed}: {}", simulation.packets[0]);
        assert!(simulation.demoted.is_empty(), "{rtt} ms, {seed}: {:?}", simulation.demoted);
    }
}

#[test]
fn f6_questions_that_come_and_are_lost_at_once_have_their_repeats_a_moment_later() {
    let mut simulation = Simulation::new(Order::Listed, vec![lossy(20, 20)]);
    // More are lost of each burst than repeats can be saved.
    simulation.ask((0..50_000).map(|index| index / 400 * 1000));
    let answered = simulation.done.values().filter(|done| done.say == Some(Yes)).count();
    assert!(answered >= 49_950, "{answered}");
}

/// All of one client, which asks the next one as soon as one is answered: a hundred repeats and more are due at once.
#[test]
fn f6_over_such_a_path_400_questions_in_flight_of_one_client_are_answered_too() {
    for (rtt, seed, in_flight) in [(1, 0, 400), (1, 1, 400), (20, 1, 400), (1, 0, 1000), (20, 2, 1000), (200, 3, 1000)]
    {
        let mut simulation = Simulation::new(Order::Listed, vec![lossy_by(1000 * seed, rtt, 20)]);
        simulation.client_of = |_| Some(Asker::new(1));
        simulation.ask_in_flight(10_000, in_flight);
        let answered = simulation.done.values().filter(|done| done.say == Some(Yes)).count();
        let figures = format!("{rtt} ms, {seed}, {in_flight} in flight: {answered}, {} queries", simulation.packets[0]);
        assert!(answered >= 9_990, "{figures}");
        assert!(simulation.packets[0] < 17_000, "{figures}");
    }
}

/// All was well for five seconds, with a thousand questions a second of two clients. What these have saved is soon spent.
#[test]
fn f6_a_server_that_begins_to_drown_or_dies_is_soon_sent_one_query_a_question() {
    // Per cent that are lost each way from then on, milliseconds that a reply takes, and queries for 15,000 questions.
    for (percent, rtt, most) in [(100, 20, 16_500), (70, 20, 19_000), (0, 1000, 19_000)] {
        let mut path = lossy(rtt, percent);
        let server: Server = Box::new(move |packet| if packet.at < 5000 { Some((20, Yes)) } else { path(packet) });
        let mut simulation = Simulation::new(Order::Listed, vec![server]);
        simulation.client_of = |question| Some(Asker::new(question as u64 % 2));
        simulation.ask(0..20_000);
        let queries = simulation.packets[0] - 5000;
        assert!((15_000..most).contains(&queries), "{percent} %, {rtt} ms: {queries}");
    }
}

#[test]
fn f6_a_server_that_loses_nothing_is_asked_once() {
    for rtt in [1, 20, 200] {
        let mut simulation = Simulation::new(Order::Listed, vec![replies(rtt, Yes)]);
        simulation.ask((0..10_000).map(|index| index / 2));
        assert!(simulation.all(|done| done.took == rtt));
        assert_eq!(simulation.packets, [10_000]);
    }
}

#[test]
fn f6_a_dead_server_gets_one_query_a_question() {
    let mut simulation = Simulation::new(Order::Listed, vec![dead()]);
    simulation.ask((0..1000).map(|index| index * 50));
    assert!(simulation.all(|done| *done == Done { took: 4000, whose: None, say: None }));
    // The ten free repeats; and while it is demoted, a copy now and then.
    assert!((1010..1020).contains(&simulation.packets[0]), "{}", simulation.packets[0]);
    assert_eq!(simulation.demoted, [(700, 0)]);
}

#[test]
fn f6_a_repeat_follows_twice_the_usual_time_and_then_doubling() {
    let log = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = log.clone();
    let server: Server = Box::new(move |packet| {
        if packet.question.is_some() {
            seen.borrow_mut().push(packet.at);
        }
        None
    });
    Simulation::warm(Order::Listed, vec![server], &[30]).ask([0]);
    let asked = log.borrow();
    let intervals: Vec<u32> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(intervals.len(), 7, "{asked:?}");
    assert!((60..70).contains(&intervals[0]), "{intervals:?}");
    for pair in intervals.windows(2) {
        assert!(pair[1].abs_diff((2 * pair[0]).min(500)) <= 2, "{intervals:?}");
    }
}

#[test]
fn f5_names_that_only_the_first_server_knows_are_found_40_of_40() {
    // The company's resolver at 20 ms, needing 20 to 1,900 ms for names of its own; a public one that denies them at once.
    let company: Server =
        Box::new(|packet| Some((20 + packet.question.map_or(0, |question| question as u32 * 48), Yes)));
    let mut simulation = Simulation::new(Order::Listed, vec![company, replies(5, No)]);
    simulation.ask((0..40).map(|index| index * 5000));
    assert!(simulation.all(|done| done.say == Some(Yes)), "{:?}", simulation.done());
}

#[test]
fn f5_a_first_server_that_is_slow_and_alive_answers_always() {
    for rtt in [300, 450] {
        let mut simulation = Simulation::new(Order::Listed, vec![replies(rtt, Yes), replies(5, Yes)]);
        simulation.ask((0..200).map(|index| index * 100));
        assert!(simulation.all(|done| done.whose == Some(0) && done.took == rtt), "{rtt}");
        // It was not known as yet how slow it is.
        assert!(simulation.packets[1] < 10, "{}", simulation.packets[1]);
    }
}

#[test]
fn f5_a_first_server_slower_than_the_patience_for_a_stranger_is_used_once_it_is_known() {
    let mut simulation = Simulation::new(Order::Listed, vec![replies(900, Yes), replies(5, Yes)]);
    simulation.ask((0..100).map(|index| index * 100));
    assert!(simulation.done().iter().skip(12).all(|done| done.whose == Some(0)), "{:?}", simulation.done());
}

#[test]
fn f5_a_first_server_dead_from_the_start_costs_one_patience_once() {
    for say in [Yes, No] {
        let mut simulation = Simulation::new(Order::Listed, vec![dead(), replies(20, say)]);
        simulation.ask([0, 100, 501, 502, 600, 700, 1400, 1600, 10_000, 40_000]);
        let took: Vec<u32> = simulation.done().iter().map(|done| done.took).collect();
        assert_eq!(took[..2], [500, 400], "until it is demoted: {took:?}");
        assert!(took[2..].iter().all(|took| *took == 20), "{took:?}");
        assert_eq!(simulation.demoted, [(500, 0)]);
    }
}

#[test]
fn f5_a_first_server_that_dies_under_load_costs_at_most_one_patience() {
    let first: Server = Box::new(|packet| (packet.at < 1000).then_some((15, Yes)));
    let mut simulation = Simulation::new(Order::Listed, vec![first, replies(20, Yes)]);
    simulation.ask((0..2000).map(|index| index * 2));
    let worst = simulation.done.values().map(|done| done.took).max();
    assert!(worst <= Some(400), "{worst:?}");
    let [(demoted, 0)] = simulation.demoted[..] else { panic!("{:?}", simulation.demoted) };
    assert!((1400..1700).contains(&demoted), "{demoted}");
    assert!(simulation.done().iter().skip(demoted as usize / 2 + 1).all(|done| done.took == 20));
}

#[test]
fn f5_while_the_first_server_is_well_the_second_sees_practically_nothing() {
    // One reply in a thousand is slow, none is lost.
    let mut state = 1;
    let first: Server = Box::new(move |_| Some((if random(&mut state).is_multiple_of(1000) { 150 } else { 15 }, Yes)));
    let mut simulation = Simulation::new(Order::Listed, vec![first, replies(1, Yes)]);
    simulation.ask((0..10_000).map(|index| index / 10));
    assert!(simulation.all(|done| done.whose == Some(0)));
    assert!(simulation.packets[1] < 10, "{}", simulation.packets[1]);
}

#[test]
fn f5_a_negative_answer_of_a_later_server_waits_for_2_s_and_a_positive_one_for_the_patience() {
    // The first is well, and never answers this name.
    let tarpit = || -> Server { Box::new(|packet| packet.question.is_none().then_some((20, Yes))) };
    for (say, took) in [(Yes, 400), (No, 2000)] {
        let mut simulation = Simulation::warm(Order::Listed, vec![tarpit(), replies(20, say)], &[20, 20]);
        simulation.ask([0]);
        assert_eq!(simulation.done(), [Done { took, whose: Some(1), say: Some(say) }]);
    }
    // A third does not overrule the second.
    let servers = vec![tarpit(), replies(20, No), replies(30, Yes)];
    let mut simulation = Simulation::warm(Order::Listed, servers, &[20, 20, 20]);
    simulation.ask([0]);
    assert_eq!(simulation.done(), [Done { took: 2000, whose: Some(1), say: Some(No) }]);
}

#[test]
fn f5_a_failure_passes_the_question_on_at_once() {
    let servers = vec![replies(10, Error), replies(20, No), replies(5, Yes)];
    let mut simulation = Simulation::warm(Order::Listed, servers, &[10, 20, 5]);
    simulation.ask([0]);
    assert_eq!(simulation.done(), [Done { took: 30, whose: Some(1), say: Some(No) }]);
    assert_eq!(simulation.packets, [1, 1, 0]);
}

#[test]
fn f5_when_all_fail_it_is_over() {
    for order in [Order::Listed, Order::Fastest] {
        let mut simulation = Simulation::warm(order, vec![replies(10, Error), replies(20, Error)], &[10, 20]);
        simulation.ask([0]);
        assert_eq!(simulation.done(), [Done { took: 30, whose: None, say: None }]);
    }
    // With an error in hand a dead server is not waited for until the end.
    let mut simulation = Simulation::new(Order::Listed, vec![dead(), replies(20, Error)]);
    simulation.ask([0, 3000]);
    let took: Vec<u32> = simulation.done().iter().map(|done| done.took).collect();
    assert!(took[0] <= 700 && took[1] <= 520, "{took:?}");
}

#[test]
fn f7_one_clients_refused_questions_move_nobody_elses() {
    // Every other question is a flooder's, which the first server refuses.
    let first: Server = Box::new(|packet| {
        Some((20, if packet.question.is_some_and(|question| question % 2 == 1) { Error } else { Yes }))
    });
    let mut simulation = Simulation::new(Order::Listed, vec![first, replies(5, Error)]);
    simulation.ask((0..2000).map(|index| index * 5));
    for (question, done) in &simulation.done {
        assert_eq!(done.whose, (question % 2 == 0).then_some(0), "{question}");
    }
    assert!(simulation.demoted.is_empty());
    assert!((1000..1010).contains(&simulation.packets[1]), "the refused ones alone");
}

#[test]
fn f7_one_clients_tarpit_names_move_nobody_elses() {
    for others in [2, 50] {
        // One question in so many is another client's; the rest are for names that are never answered.
        let first: Server = Box::new(move |packet| match packet.question {
            Some(question) if question % others != 0 => None,
            _ => Some((20, Yes)),
        });
        let mut simulation = Simulation::new(Order::Listed, vec![first, replies(5, Yes)]);
        simulation.ask((0..2000).map(|index| index * 10));
        for (question, done) in simulation.done.iter().filter(|(question, _)| *question % others == 0) {
            assert_eq!((done.whose, done.took), (Some(0), 20), "{question}");
        }
        assert!(simulation.demoted.is_empty());
        // And probes are few.
        assert!(simulation.probes[0] <= 20_000 / 400 + 5, "{}", simulation.probes[0]);
    }
}

/// One client asks 200 questions a second that are never answered, another one 25, over a path that loses a tenth each way.
#[test]
fn f6_one_clients_tarpit_names_take_no_repeats_of_another_one() {
    let is_victims = |question: usize| question.is_multiple_of(9);
    for count in [1, 2] {
        let mut path = lossy(5, 10);
        let first: Server = Box::new(move |packet| match packet.question {
            Some(question) if !is_victims(question) => None,
            _ => path(packet),
        });
        let mut simulation =
            Simulation::new(Order::Listed, vec![first, replies(5, Yes)].into_iter().take(count).collect());
        simulation.client_of = |question| Some(Asker::new(u64::from(question.is_multiple_of(9))));
        simulation.ask((0..9000).map(|index| index * 40 / 9));
        let victims = simulation.done.iter().filter(|(question, _)| is_victims(**question));
        let lost = victims.filter(|(_, done)| done.whose != Some(0)).count();
        // The first few meet a server that nothing is known of, at which nobody has repeats of its own. With a second server
        // one has 400 ms, time for four queries.
        assert!(lost <= 5, "{count} servers: {lost} of 1000");
        assert!(simulation.demoted.is_empty(), "{count} servers: {:?}", simulation.demoted);
        // Its own repeats and the common ones: what others have over.
        assert!(simulation.packets[0] < 9000 + 1500, "{count} servers: {}", simulation.packets[0]);
    }
}

#[test]
fn f7_a_server_that_is_back_is_used_again() {
    let first: Server = Box::new(|packet| (!(1000..10_000).contains(&packet.at)).then_some((10, Yes)));
    let mut simulation = Simulation::new(Order::Listed, vec![first, replies(20, Yes)]);
    simulation.ask((0..4000).map(|index| index * 5));
    let [(back, 0)] = simulation.back[..] else { panic!("{:?}", simulation.back) };
    // Tried after 1, 2, 4 and 8 s.
    assert!((10_000..17_000).contains(&back), "{back}");
    assert!(simulation.done().iter().skip(back as usize / 5 + 1).all(|done| done.whose == Some(0)));
    // The copies of questions are few, too.
    let died = 1000 / 5;
    let while_dead = simulation.packets[0] - died - (20_000 - back) / 5;
    assert!(while_dead < 1200, "{while_dead}");
}

#[test]
fn f5_two_are_raced_while_none_of_the_equals_is_up() {
    for order in [Order::Fastest, Order::RoundRobin] {
        let mut simulation = Simulation::new(order, vec![dead(), replies(20, No), dead()]);
        simulation.ask([0]);
        assert_eq!(simulation.done()[0].took, 20);
        assert_eq!(simulation.packets, [1, 1, 0]);
    }
}

#[test]
fn f5_among_equals_the_first_answer_counts_and_the_late_are_hedged() {
    let tarpit: Server = Box::new(|packet| packet.question.is_none().then_some((20, Yes)));
    let mut simulation = Simulation::warm(Order::Fastest, vec![tarpit, replies(30, No)], &[20, 30]);
    simulation.ask([0]);
    assert_eq!(simulation.done(), [Done { took: 80, whose: Some(1), say: Some(No) }]);
}

#[test]
fn f7_among_equals_a_dead_server_is_demoted_though_nobody_waits_for_it() {
    for order in [Order::Fastest, Order::RoundRobin] {
        let first: Server = Box::new(|packet| (packet.at < 1000).then_some((10, Yes)));
        let mut simulation = Simulation::warm(order, vec![first, replies(20, Yes)], &[10, 20]);
        simulation.ask((0..1000).map(|index| index * 4));
        let [(demoted, 0)] = simulation.demoted[..] else { panic!("{order:?}: {:?}", simulation.demoted) };
        assert!((1400..1600).contains(&demoted), "{order:?}: {demoted}");
        assert!(simulation.done().iter().skip(demoted as usize / 4 + 1).all(|done| done.took == 20), "{order:?}");
        assert!(simulation.all(|done| done.took <= 100), "{order:?}");
    }
}

#[test]
fn f6_a_truncated_reply_is_fetched_and_not_asked_for_again() {
    let (servers, start) = (servers_of(&[20, 20]), Instant::now());
    let ranking = rank(&servers, Order::Listed, 0, start);
    let mut schedule = Schedule::new(Order::Listed, &ranking, None, 4000 * MS, start);
    assert_eq!(schedule.next(start, &servers), Step::Ask(0));
    schedule.heard(0, start + 20 * MS);
    // Its rest is slow: the next one is asked, and counts after a patience from then on.
    assert_eq!(schedule.next(start + 200 * MS, &servers), Step::Ask(1));
    schedule.answered(1, false);
    assert_eq!(schedule.next(start + 419 * MS, &servers), Step::Wait(start + 420 * MS));
    assert_eq!(schedule.next(start + 420 * MS, &servers), Step::Give(1));
}

#[test]
fn f6_connections_are_repeated_rarely() {
    struct Stream(Fake);
    impl Servers for Stream {
        fn count(&self) -> usize {
            self.0.count()
        }
        fn with<T>(&self, server: usize, look: impl FnOnce(&mut Health) -> T) -> T {
            self.0.with(server, look)
        }
        fn timing(&self, server: usize) -> Timing {
            Timing { stream: true, ..self.0.timing(server) }
        }
    }
    let (servers, start) = (Stream(servers_of(&[50])), Instant::now());
    let ranking = rank(&servers, Order::Listed, 0, start);
    let mut schedule = Schedule::new(Order::Listed, &ranking, None, 4000 * MS, start);
    let (mut now, mut asked) = (start, Vec::new());
    loop {
        match schedule.next(now, &servers) {
            Step::Ask(_) | Step::Repeat(_) => asked.push((now - start).as_millis()),
            Step::Wait(until) => now = until,
            Step::End => break,
            _ => {}
        }
    }
    assert_eq!(asked, [0, 1000, 2000]);
}

#[test]
fn nobody_to_ask_or_no_time_is_the_end_and_no_clock_is_too_short() {
    let now = Instant::now();
    for (rtts, timeout, expected) in
        [(&[][..], 4000 * MS, Step::End), (&[50], Duration::ZERO, Step::End), (&[50], Duration::MAX, Step::Ask(0))]
    {
        let servers = servers_of(rtts);
        let ranking = rank(&servers, Order::Listed, 0, now);
        assert_eq!(Schedule::new(Order::Listed, &ranking, None, timeout, now).next(now, &servers), expected);
    }
}
