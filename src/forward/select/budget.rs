//! How many repeats a server may be sent, and for whom (answers.md F6).
//!
//! Each client has repeats of its own at each server that is up: ten to begin with, and one more for each of its questions
//! that the server answers. It may save what it earns, up to its part of [`SAVED`]. So a client whose questions are never
//! answered uses up its own repeats and no one else's; and a server that answers nothing is soon sent one datagram a question.
//!
//! # Why so many may be saved
//!
//! Loss comes in bursts: of `n` questions that are in flight together, over a path that loses a fifth each way, 0.36 n need
//! a repeat at the same time, and 0.64 n have just earned one. All of it works out as long as what they earn can be kept until
//! then. With a fixed bound of `b` it does not: of a burst `b` are repeated, their answers earn 0.64 b, and after b + 0.64 b +
//! 0.64² b + … = 2.8 b repeats none is left, while 0.56 n are needed. Ten a client, for instance, are right for 50 in flight and not
//! for 400. Therefore the bound goes with the number of questions that can be in flight: half of the 4,096 places that a
//! server has for them (L2), in equal parts for the clients that ask. A client alone may save 1,024, enough for as many
//! questions as it may have in flight.
//!
//! What the bound is there for still holds. Repeats never exceed answers by more than what was free or saved, so that a server
//! that drowns is sent two datagrams a question at the most, soon one. One that dies is asked again out of what was saved until
//! it is demoted, for two patiences or so; then all savings are void, and so they are no reason to flood it when it returns.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::forward::message::Asker;

/// Repeats that nobody has to earn: of each client, and of all together at a server that is not up.
const FREE: u32 = 10;
/// Repeats that all clients together may save.
const SAVED: usize = 2048;
/// A client that has neither spent nor earned for so long is forgotten, and begins anew.
const FORGOTTEN: Duration = Duration::from_secs(10);
/// The least time between two looks for such clients.
const SWEEP: Duration = Duration::from_secs(1);
/// Clients whose repeats are counted; further ones share one pot.
const MAX_CLIENTS: usize = 128;

/// The repeats that are left for one server.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    /// Of questions of no client, of clients beyond [`MAX_CLIENTS`], and of all while the server is not up.
    common: u32,
    clients: HashMap<Asker, Own, RandomState>,
    swept: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Own {
    left: u32,
    used: Instant,
}

impl Budget {
    pub(super) fn new() -> Budget {
        Budget { common: FREE, clients: HashMap::default(), swept: None }
    }

    /// Takes one repeat; false if none is left. `is_up`: the server is known to answer, so that clients have their own.
    pub(super) fn take(&mut self, client: Option<Asker>, is_up: bool, now: Instant) -> bool {
        let left = self.of(client.filter(|_| is_up), now);
        let is_left = *left > 0;
        *left = left.saturating_sub(1);
        is_left
    }

    /// A question of the client was answered.
    pub(super) fn earn(&mut self, client: Option<Asker>, now: Instant) {
        let most = FREE.max((SAVED / (self.clients.len() + 1)) as u32);
        let left = self.of(client, now);
        *left = (*left + 1).min(most);
    }

    /// The server was demoted: what it has earned by answers says nothing any more.
    pub(super) fn void(&mut self) {
        self.clients.clear();
        self.common = self.common.min(FREE);
    }

    /// What is left for this client.
    fn of(&mut self, client: Option<Asker>, now: Instant) -> &mut u32 {
        let Some(client) = client else { return &mut self.common };
        let is_due = |at: Instant| now.saturating_duration_since(at) >= SWEEP;
        if self.swept.is_none_or(is_due) {
            self.swept = Some(now);
            self.clients.retain(|_, own| now.saturating_duration_since(own.used) < FORGOTTEN);
        }
        if self.clients.len() >= MAX_CLIENTS && !self.clients.contains_key(&client) {
            return &mut self.common;
        }
        let own = self.clients.entry(client).or_insert(Own { left: FREE, used: now });
        own.used = now;
        &mut own.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEST: Option<Asker> = Some(Asker::new(1));
    const GREEDY: Option<Asker> = Some(Asker::new(2));

    fn spend(budget: &mut Budget, client: Option<Asker>, is_up: bool, now: Instant) -> usize {
        std::iter::from_fn(|| budget.take(client, is_up, now).then_some(())).count()
    }

    #[test]
    fn f6_repeats_are_earned_by_replies_and_as_many_saved_as_may_be_in_flight() {
        for client in [None, MODEST] {
            let (mut budget, now) = (Budget::new(), Instant::now());
            assert_eq!((spend(&mut budget, client, true, now), spend(&mut budget, client, true, now)), (10, 0));
            (0..3).for_each(|_| budget.earn(client, now));
            assert_eq!(spend(&mut budget, client, true, now), 3);
            (0..5000).for_each(|_| budget.earn(client, now));
            assert!((1024..=SAVED).contains(&spend(&mut budget, client, true, now)));
        }
    }

    #[test]
    fn f6_what_all_clients_save_is_bounded() {
        for clients in [2, 10, 100, 10_000] {
            let (mut budget, now) = (Budget::new(), Instant::now());
            for client in (0..3000).flat_map(|_| 0..clients.min(200)) {
                budget.earn(Some(Asker::new(client)), now);
            }
            let saved: usize = (0..clients).map(|client| spend(&mut budget, Some(Asker::new(client)), true, now)).sum();
            assert!(saved <= SAVED, "{clients} clients: {saved}");
        }
    }

    #[test]
    fn f6_a_client_that_is_never_answered_leaves_the_others_their_repeats() {
        let (mut budget, now) = (Budget::new(), Instant::now());
        (0..300).for_each(|_| budget.earn(MODEST, now));
        assert_eq!(spend(&mut budget, GREEDY, true, now), 10, "its own");
        assert_eq!(spend(&mut budget, MODEST, true, now), 310, "its own");
        (0..5).for_each(|_| budget.earn(MODEST, now));
        assert_eq!((spend(&mut budget, GREEDY, true, now), spend(&mut budget, MODEST, true, now)), (0, 5));
        assert_eq!(spend(&mut budget, GREEDY, true, now + FORGOTTEN), 10, "a while later");
    }

    #[test]
    fn f6_no_client_has_repeats_of_its_own_at_a_server_that_is_not_up() {
        let (mut budget, now) = (Budget::new(), Instant::now());
        assert_eq!(spend(&mut budget, MODEST, false, now), 10);
        assert_eq!(spend(&mut budget, GREEDY, false, now), 0);
        for client in [None, MODEST].repeat(100) {
            budget.earn(client, now);
        }
        budget.void();
        assert_eq!((spend(&mut budget, None, false, now), spend(&mut budget, MODEST, true, now)), (10, 10));
    }

    #[test]
    fn f6_clients_that_are_counted_are_bounded() {
        let (mut budget, now) = (Budget::new(), Instant::now());
        for number in 0..10_000 {
            budget.take(Some(Asker::new(number)), true, now);
        }
        assert_eq!(budget.clients.len(), MAX_CLIENTS);
        assert!(!budget.take(Some(Asker::new(20_000)), true, now));
        assert!(budget.take(Some(Asker::new(20_000)), true, now + FORGOTTEN), "those of long ago are forgotten");
    }
}
