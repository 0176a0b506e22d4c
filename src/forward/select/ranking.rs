//! The order in which one question asks the servers of a pool (answers.md F5): no sockets, no clock, no randomness of its own.
//!
//! Where the list has a meaning the servers come as listed. Where they are equals, those that are up come first, the quickest
//! of them (`fastest`) or each in turn (`round_robin`), and then those that nothing is known of. Demoted servers are passed
//! over: they come last, as listed.
//!
//! With some questions goes a copy that nobody waits for: to a demoted server, to see whether it is back, and with `fastest`
//! one in 32 to another server that is up, so that the times that they are compared by are not old.

use std::time::Instant;

use smallvec::SmallVec;

use crate::settings::Order;

use super::health::{Health, Standing, Timing};

/// With [`Order::Fastest`] one question in so many is copied to a server that is not the best one.
const EXPLORATION: u32 = 32;

/// The servers of a list. Their state is shared with other lists, and looked at one at a time.
pub(in crate::forward) trait Servers {
    /// How many there are.
    fn count(&self) -> usize;
    /// Looks at one.
    fn with<T>(&self, server: usize, look: impl FnOnce(&mut Health) -> T) -> T;
    /// One as it is now.
    fn timing(&self, server: usize) -> Timing;
}

/// The servers for one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::forward) struct Ranking {
    /// The places in the list of all servers, the first to be asked first.
    pub(in crate::forward) servers: SmallVec<[usize; 4]>,
    /// How many of them, from the front, are not demoted.
    pub(in crate::forward) in_use: usize,
    /// The first of them is known to be up.
    pub(in crate::forward) is_led: bool,
    /// Demoted servers that are due for a retry, and whether a copy of the question goes along with the probe.
    pub(in crate::forward) retries: SmallVec<[(usize, bool); 1]>,
    /// Servers that nothing is known of and that this question does not begin with: a probe tells.
    pub(in crate::forward) unknown: SmallVec<[usize; 1]>,
    /// The server that gets a copy of the question, to see how fast it is.
    pub(in crate::forward) copy: Option<usize>,
}

/// Ranks the servers for one question. `turn` counts the questions to this list.
pub(in crate::forward) fn rank(servers: &impl Servers, order: Order, turn: usize, now: Instant) -> Ranking {
    let count = servers.count();
    let mut sorted: SmallVec<[(usize, Timing); 4]> = SmallVec::new();
    for index in 0..count {
        let server = if order == Order::RoundRobin { (turn % count + index) % count } else { index };
        sorted.push((server, servers.timing(server)));
    }
    let place = |timing: &Timing| match (timing.standing, order) {
        (Standing::Demoted, _) => 2,
        (Standing::Unknown, Order::Fastest | Order::RoundRobin) => 1,
        _ => 0,
    };
    let rtt = |timing: &Timing| if order == Order::Fastest && timing.is_up() { timing.rtt } else { None };
    // Stable: equals stay as listed, or as it is their turn.
    sorted.sort_by_key(|(_, timing)| (place(timing), rtt(timing)));
    let is_led = sorted.first().is_some_and(|(_, timing)| timing.is_up());
    // A name of the company's is not for a public resolver behind it that happens to be down.
    let deciding = sorted.iter().find(|(_, timing)| !timing.is_demoted()).map_or(count, |(server, _)| *server);
    let demoted = sorted.iter().filter(|(_, timing)| timing.is_demoted());
    let retries = demoted
        .filter(|(server, _)| servers.with(*server, |health| health.take_retry(now)))
        .map(|&(server, _)| (server, order != Order::Listed || server < deciding))
        .collect();
    let rest = sorted.get(if is_led { 1 } else { 2 }..).unwrap_or_default();
    let mut unknown = SmallVec::new();
    if matches!(order, Order::Fastest | Order::RoundRobin) {
        unknown
            .extend(rest.iter().filter(|(_, timing)| timing.standing == Standing::Unknown).map(|(server, _)| *server));
    }
    // Predictable is good enough to explore with: the last question of each 32.
    let question = (turn as u32).wrapping_add(1);
    let copy = (order == Order::Fastest && question.is_multiple_of(EXPLORATION)).then(|| {
        let up: SmallVec<[usize; 4]> = rest.iter().filter(|(_, t)| t.is_up()).map(|(server, _)| *server).collect();
        (!up.is_empty()).then(|| up[(question / EXPLORATION) as usize % up.len()])
    });
    Ranking {
        in_use: sorted.iter().filter(|(_, timing)| !timing.is_demoted()).count(),
        servers: sorted.into_iter().map(|(server, _)| server).collect(),
        is_led,
        retries,
        unknown,
        copy: copy.flatten(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Servers without sockets, whose transport is a datagram.
    pub(in crate::forward::select) struct Fake(pub(in crate::forward::select) RefCell<Vec<Health>>);

    impl Servers for Fake {
        fn count(&self) -> usize {
            self.0.borrow().len()
        }
        fn with<T>(&self, server: usize, look: impl FnOnce(&mut Health) -> T) -> T {
            look(&mut self.0.borrow_mut()[server])
        }
        fn timing(&self, server: usize) -> Timing {
            self.with(server, |health| health.timing(false))
        }
    }

    /// Servers with these round-trip times in milliseconds; 0 was never heard of.
    pub(in crate::forward::select) fn servers_of(rtts: &[u32]) -> Fake {
        let server = |&rtt: &u32| {
            let mut health = Health::new();
            for _ in 0..if rtt > 0 { 50 } else { 0 } {
                health.answered(Some(rtt * MS), false, Instant::now());
            }
            health
        };
        Fake(RefCell::new(rtts.iter().map(server).collect()))
    }

    fn demote(servers: &Fake, server: usize, now: Instant) {
        let later = now + MS;
        assert!(servers.with(server, |health| health.unreachable(later, later)).is_some());
    }

    fn ranked(servers: &Fake, order: Order, turn: usize) -> Vec<usize> {
        rank(servers, order, turn, Instant::now()).servers.to_vec()
    }

    #[test]
    fn f5_as_listed_or_the_quickest_first_or_in_turn() {
        let (servers, now) = (servers_of(&[30, 10, 20]), Instant::now());
        assert_eq!(ranked(&servers, Order::Fastest, 1), [1, 2, 0]);
        assert_eq!(ranked(&servers, Order::Listed, 1), [0, 1, 2]);
        assert_eq!(ranked(&servers, Order::RoundRobin, 4), [1, 2, 0]);
        demote(&servers, 1, now);
        assert_eq!(ranked(&servers, Order::Fastest, 1), [2, 0, 1]);
        assert_eq!(ranked(&servers, Order::Listed, 1), [0, 2, 1]);
        assert_eq!(ranked(&servers, Order::RoundRobin, 4), [2, 0, 1]);
        // One that nothing is known of keeps its place in a list, and is behind those that are up among equals.
        let servers = servers_of(&[0, 10]);
        assert_eq!((ranked(&servers, Order::Listed, 0), ranked(&servers, Order::Fastest, 0)), (vec![0, 1], vec![1, 0]));
        assert_eq!(ranked(&servers_of(&[]), Order::RoundRobin, 3), [0; 0]);
    }

    #[test]
    fn f7_a_demoted_server_is_tried_with_a_copy_where_it_would_decide() {
        let now = Instant::now();
        let retries = |order, demoted: usize| {
            let servers = servers_of(&[10, 10, 10]);
            demote(&servers, demoted, now);
            assert_eq!(rank(&servers, order, 0, now + 900 * MS).retries.len(), 0, "not yet");
            let due = rank(&servers, order, 0, now + 1100 * MS).retries.to_vec();
            assert_eq!(rank(&servers, order, 0, now + 1200 * MS).retries.len(), 0, "once");
            due
        };
        assert_eq!(retries(Order::Listed, 0), [(0, true)]);
        assert_eq!(retries(Order::Listed, 1), [(1, false)], "its questions are not for it while the first is well");
        assert_eq!(retries(Order::Fastest, 2), [(2, true)]);
    }

    #[test]
    fn f5_among_equals_the_unknown_are_probed_and_in_a_list_they_are_left_alone() {
        let (servers, now) = (servers_of(&[0, 5, 0]), Instant::now());
        assert_eq!(rank(&servers, Order::Fastest, 0, now).unknown.to_vec(), [0, 2]);
        assert_eq!(rank(&servers, Order::Listed, 0, now).unknown.to_vec(), [0; 0]);
        // While none is up two are asked at once.
        assert_eq!(rank(&servers_of(&[0, 0]), Order::Fastest, 0, now).unknown.to_vec(), [0; 0]);
    }

    #[test]
    fn f5_exploration_is_a_small_share_and_spread_over_the_others() {
        let (servers, now) = (servers_of(&[10, 20, 30]), Instant::now());
        let mut copies = [0; 3];
        for turn in 0..9600 {
            let ranking = rank(&servers, Order::Fastest, turn, now);
            assert_eq!(ranking.servers[0], 0, "the client's own question goes to the best");
            if let Some(server) = ranking.copy {
                copies[server] += 1;
            }
        }
        assert_eq!(copies, [0, 150, 150]);
        assert_eq!(rank(&servers, Order::Listed, 31, now).copy, None);
        assert_eq!(rank(&servers_of(&[10]), Order::Fastest, 31, now).copy, None, "one server only");
    }
}
