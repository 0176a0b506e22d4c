//! How many repeats a server may be sent, and for whom (answers.md F6).
//!
//! Each client has a few repeats of its own at each server that is up, and its own answers refill them. What is over goes
//! into a common pot, from which all take who have none of their own left, or of whom nothing is known. So a client whose
//! questions are never answered uses up its own repeats and the common ones, and leaves the others theirs; and a server that
//! answers nothing is soon sent one datagram a question.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

/// Who asks, where that matters: a number that stands for a client. The forwarder does not know what is behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Asker(u64);

impl Asker {
    /// Different clients have different numbers.
    pub(crate) fn new(number: u64) -> Asker {
        Asker(number)
    }
}

/// Repeats of each client's own, and how long after its last one it has all of them again.
const OWN: u8 = 10;
const REFILLED: Duration = Duration::from_secs(10);
/// The common pot: at the start, and at the most.
const COMMON: u32 = 10;
const MAX_COMMON: u32 = 100;
/// Clients whose repeats are counted; further ones have the common pot.
const MAX_CLIENTS: usize = 128;

/// The repeats that are left for one server.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    common: u32,
    /// Of clients that have spent some of their own.
    clients: HashMap<Asker, Own, RandomState>,
}

#[derive(Debug, Clone)]
struct Own {
    left: u8,
    asked: Instant,
}

impl Budget {
    pub(super) fn new() -> Budget {
        Budget { common: COMMON, clients: HashMap::default() }
    }

    /// Takes one repeat; false if none is left. `is_up`: the server is known to answer, so that clients have their own.
    pub(super) fn take(&mut self, client: Option<Asker>, is_up: bool, now: Instant) -> bool {
        if is_up && client.is_some_and(|client| self.take_own(client, now)) {
            return true;
        }
        let is_left = self.common > 0;
        self.common = self.common.saturating_sub(1);
        is_left
    }

    fn take_own(&mut self, client: Asker, now: Instant) -> bool {
        let is_old = |own: &Own| now.saturating_duration_since(own.asked) >= REFILLED;
        if self.clients.len() >= MAX_CLIENTS && !self.clients.contains_key(&client) {
            self.clients.retain(|_, own| !is_old(own));
            if self.clients.len() >= MAX_CLIENTS {
                return false;
            }
        }
        let own = self.clients.entry(client).or_insert(Own { left: OWN, asked: now });
        if is_old(own) {
            own.left = OWN;
        }
        own.asked = now;
        let is_left = own.left > 0;
        own.left = own.left.saturating_sub(1);
        is_left
    }

    /// A question of the client was answered.
    pub(super) fn earn(&mut self, client: Option<Asker>) {
        let Some((client, own)) = client.and_then(|client| Some((client, self.clients.get_mut(&client)?))) else {
            self.common = (self.common + 1).min(MAX_COMMON);
            return;
        };
        own.left += 1;
        if own.left >= OWN {
            self.clients.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spend(budget: &mut Budget, client: Option<Asker>, is_up: bool, now: Instant) -> usize {
        std::iter::from_fn(|| budget.take(client, is_up, now).then_some(())).count()
    }

    #[test]
    fn f6_repeats_are_earned_by_replies() {
        let (mut budget, now) = (Budget::new(), Instant::now());
        assert_eq!((spend(&mut budget, None, true, now), spend(&mut budget, None, true, now)), (10, 0));
        (0..3).for_each(|_| budget.earn(None));
        assert_eq!(spend(&mut budget, None, true, now), 3);
        (0..1000).for_each(|_| budget.earn(None));
        assert_eq!(spend(&mut budget, None, true, now), 100);
    }

    #[test]
    fn f6_a_client_that_is_never_answered_leaves_the_others_their_repeats() {
        let (mut budget, now) = (Budget::new(), Instant::now());
        let [greedy, modest] = [1, 2].map(|number| Some(Asker::new(number)));
        assert_eq!(spend(&mut budget, greedy, true, now), 20, "its own and the common ones");
        assert_eq!(spend(&mut budget, modest, true, now), 10, "its own");
        (0..5).for_each(|_| budget.earn(modest));
        assert_eq!((spend(&mut budget, greedy, true, now), spend(&mut budget, modest, true, now)), (0, 5));
        // What is over is everybody's.
        (0..13).for_each(|_| budget.earn(modest));
        assert_eq!(spend(&mut budget, greedy, true, now), 3);
        assert_eq!(spend(&mut budget, greedy, true, now + REFILLED), 10, "a while later");
    }

    #[test]
    fn f6_nobody_has_repeats_of_his_own_at_a_server_that_is_not_up() {
        let (mut budget, now) = (Budget::new(), Instant::now());
        assert_eq!(spend(&mut budget, Some(Asker::new(1)), false, now), 10);
        assert_eq!(spend(&mut budget, Some(Asker::new(2)), false, now), 0);
    }

    #[test]
    fn f6_clients_that_are_counted_are_bounded() {
        let (mut budget, now) = (Budget::new(), Instant::now());
        for number in 0..10_000 {
            budget.take(Some(Asker::new(number)), true, now);
        }
        assert_eq!(budget.clients.len(), MAX_CLIENTS);
        assert!(!budget.take(Some(Asker::new(20_000)), true, now));
        assert!(budget.take(Some(Asker::new(20_000)), true, now + REFILLED), "those of long ago are forgotten");
    }
}
