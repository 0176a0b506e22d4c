//! In which order the servers of a group are asked, from how they do: no sockets, no clock, no randomness of its own.
//!
//! Servers that are known to be well come first: the quickest (`fastest`), the first listed (`sequential`), or each in turn
//! (`round_robin`). Behind them come those that nothing is known of, then those that are aside, as listed.
//!
//! With some questions a copy goes to one more server, which nobody waits for: to one that is aside, to see whether it is
//! back; with `fastest` also to one in 32 questions' worth of the others, so that the times that they are compared by are
//! not old. So no client pays for what we want to know.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::health::Health;

/// How the servers of a list are chosen between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum Order {
    /// The quickest first; the others are measured with a few copies of questions.
    #[default]
    Fastest,
    /// As listed: the next one only when the one before is slow or fails.
    Sequential,
    /// Each in turn.
    RoundRobin,
}

/// One question in so many is copied to a server that is not the best one.
const EXPLORATION: u32 = 32;

/// A server as one question sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its place in the list.
    pub(super) server: usize,
    /// The time within which it usually answers.
    pub(super) usual: Duration,
    /// True if it is known to answer.
    pub(super) well: bool,
    /// True if what is sent to it arrives or is known not to: no datagrams.
    pub(super) stream: bool,
}

/// The servers for one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// All servers, the first to be asked first.
    pub(super) candidates: SmallVec<[Candidate; 4]>,
    /// The server that gets a copy of the question.
    pub(super) probe: Option<usize>,
}

/// The servers of a list, of which one at a time is looked at: their state is shared with other lists.
pub(super) trait Servers {
    /// How many there are.
    fn count(&self) -> usize;
    /// Looks at one.
    fn with<T>(&self, server: usize, look: impl FnOnce(&mut Health) -> T) -> T;
    /// A server as it is now.
    fn candidate(&self, server: usize) -> Candidate;
}

/// Plans one question. `turn` counts the questions to this list, `random` is anything.
pub(super) fn plan(servers: &impl Servers, order: Order, turn: usize, random: u32, now: Instant) -> Plan {
    let count = servers.count();
    let mut sorted: SmallVec<[(u8, Duration, Candidate); 4]> = SmallVec::new();
    for index in 0..count {
        let server = if order == Order::RoundRobin { (turn + index) % count } else { index };
        let candidate = servers.candidate(server);
        let (aside, rtt) = servers.with(server, |health| (health.is_aside(), health.rtt().unwrap_or_default()));
        let rank = if candidate.well { 0 } else { 1 + u8::from(aside) };
        let rtt = if order == Order::Fastest && rank == 0 { rtt } else { Duration::ZERO };
        sorted.push((rank, rtt, candidate));
    }
    // Stable: equals stay as listed, or as it is their turn.
    sorted.sort_by_key(|&(rank, rtt, _)| (rank, rtt));
    let candidates: SmallVec<[Candidate; 4]> = sorted.into_iter().map(|(_, _, candidate)| candidate).collect();
    // With none known to be well the first two are asked at once.
    let asked = if candidates.first().is_some_and(|first| first.well) { 1 } else { 2 };
    let probe = probe(servers, &candidates, asked, order, random, now);
    Plan { candidates, probe }
}

fn probe(
    servers: &impl Servers,
    candidates: &[Candidate],
    asked: usize,
    order: Order,
    random: u32,
    now: Instant,
) -> Option<usize> {
    let first = candidates.first()?.server;
    let rest = candidates.get(asked..)?;
    // In a sequence the servers behind the one in use are not wanted, until it fails.
    let mut wanted = rest.iter().filter(|candidate| order != Order::Sequential || candidate.server < first);
    let due =
        wanted.find(|candidate| !candidate.well && servers.with(candidate.server, |health| health.take_probe(now)));
    if let Some(candidate) = due {
        return Some(candidate.server);
    }
    if order != Order::Fastest || !random.is_multiple_of(EXPLORATION) {
        return None;
    }
    let well = rest.iter().take_while(|candidate| candidate.well).count();
    let pick = (random / EXPLORATION) as usize;
    (well > 0).then(|| rest[pick % well].server)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    struct Group(RefCell<Vec<Health>>);

    impl Servers for Group {
        fn count(&self) -> usize {
            self.0.borrow().len()
        }
        fn with<T>(&self, server: usize, look: impl FnOnce(&mut Health) -> T) -> T {
            look(&mut self.0.borrow_mut()[server])
        }
        fn candidate(&self, server: usize) -> Candidate {
            let (usual, well) = self.with(server, |health| (health.usual(), health.is_well()));
            Candidate { server, usual, well, stream: false }
        }
    }

    /// Servers with these times in milliseconds; 0 was never heard of.
    fn servers_of(rtts: &[u32]) -> Group {
        let server = |&rtt: &u32| {
            let mut health = Health::new();
            if rtt > 0 {
                health.answered(Some(rtt * MS));
            }
            health
        };
        Group(RefCell::new(rtts.iter().map(server).collect()))
    }

    fn servers(plan: &Plan) -> Vec<usize> {
        plan.candidates.iter().map(|candidate| candidate.server).collect()
    }

    fn planned(group: &Group, order: Order, turn: usize, now: Instant) -> Plan {
        plan(group, order, turn, 1, now)
    }

    #[test]
    fn the_quickest_first_or_as_listed_or_in_turn() {
        let (group, now) = (servers_of(&[30, 10, 20]), Instant::now());
        assert_eq!(servers(&planned(&group, Order::Fastest, 1, now)), [1, 2, 0]);
        assert_eq!(servers(&planned(&group, Order::Sequential, 1, now)), [0, 1, 2]);
        assert_eq!(servers(&planned(&group, Order::RoundRobin, 4, now)), [1, 2, 0]);
        group.with(1, |health| health.fell_silent(now, now));
        assert_eq!(servers(&planned(&group, Order::Fastest, 1, now)), [2, 0, 1]);
        assert_eq!(servers(&planned(&group, Order::Sequential, 1, now)), [0, 2, 1]);
        assert_eq!(servers(&planned(&group, Order::RoundRobin, 4, now)), [2, 0, 1]);
    }

    #[test]
    fn recovery_by_a_copy_of_a_question() {
        let (group, now) = (servers_of(&[1, 10]), Instant::now());
        assert_eq!(planned(&group, Order::Fastest, 0, now).probe, None);
        group.with(0, |health| health.fell_silent(now, now));
        let plan = planned(&group, Order::Fastest, 0, now);
        assert_eq!((servers(&plan), plan.probe), (vec![1, 0], Some(0)));
        assert_eq!(planned(&group, Order::Fastest, 0, now).probe, None, "one is under way");
        group.with(0, |health| health.answered(Some(MS)));
        assert_eq!(servers(&planned(&group, Order::Fastest, 0, now)), [0, 1]);
    }

    #[test]
    fn the_loser_of_the_first_race_is_measured_with_the_next_question() {
        let (group, now) = (servers_of(&[0, 5, 0]), Instant::now());
        assert_eq!(planned(&group, Order::Fastest, 0, now).probe, Some(0));
        assert_eq!(planned(&group, Order::Fastest, 0, now).probe, Some(2));
        let group = servers_of(&[0, 5, 0]);
        assert_eq!(planned(&group, Order::Sequential, 0, now).probe, Some(0));
        assert_eq!(planned(&group, Order::Sequential, 0, now).probe, None, "behind the one in use");
    }

    #[test]
    fn while_nobody_is_known_to_be_well_the_two_asked_need_no_copy() {
        let (group, now) = (servers_of(&[0, 0]), Instant::now());
        assert_eq!(planned(&group, Order::Fastest, 0, now).probe, None);
        assert_eq!(planned(&servers_of(&[0]), Order::Fastest, 0, now).probe, None);
        assert_eq!(planned(&servers_of(&[]), Order::Fastest, 0, now).candidates.len(), 0);
    }

    #[test]
    fn exploration_is_a_small_share_and_spread_over_the_others() {
        let (group, now) = (servers_of(&[10, 20, 30]), Instant::now());
        let mut copies = [0; 3];
        for random in 0..9600 {
            let plan = plan(&group, Order::Fastest, 0, random, now);
            assert_eq!(plan.candidates[0].server, 0, "the client's own question goes to the best");
            if let Some(server) = plan.probe {
                copies[server] += 1;
            }
        }
        assert_eq!(copies, [0, 150, 150]);
        let none = plan(&group, Order::Sequential, 0, 0, now);
        assert_eq!(none.probe, None);
        assert_eq!(plan(&servers_of(&[10]), Order::Fastest, 0, 0, now).probe, None, "one server only");
    }
}
