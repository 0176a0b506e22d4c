//! Whom one question is asked of, and when, where the servers are strictly asked one after the other
//! ([`FailOver::Sequential`](super::FailOver)): a state machine without sockets and without a clock.
//!
//! Each server has an equal share of the time, in the order of the list, whatever is known of it. The next one has its turn
//! when that is over, or when the one before cannot be reached or makes no sense; who is out of turn is not listened to any
//! more. In its turn a server is sent the question up to four times, for datagrams get lost.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::policy::Step;

/// Datagrams to one server for one question.
const DATAGRAMS: u32 = 4;

/// The state of one question.
#[derive(Debug)]
pub(super) struct Sequence {
    /// Those whose turn is still to come, the last one first: which, and whether what is sent to it cannot get lost.
    to_come: SmallVec<[(usize, bool); 4]>,
    share: Duration,
    turn: Option<Turn>,
    /// There is a reply: no further server is asked.
    has_reply: bool,
}

/// The server whose turn it is.
#[derive(Debug)]
struct Turn {
    server: usize,
    began: Instant,
    /// When its share is over; `None` beyond what the clock can tell.
    ends: Option<Instant>,
    sent: u32,
    again_at: Option<Instant>,
}

impl Sequence {
    /// A question that may take `timeout` to these servers, each with whether it is asked over a connection.
    pub(super) fn new(servers: impl Iterator<Item = bool>, timeout: Duration) -> Sequence {
        let mut to_come: SmallVec<[(usize, bool); 4]> = servers.enumerate().collect();
        to_come.reverse();
        let share = timeout / u32::try_from(to_come.len().max(1)).unwrap_or(u32::MAX);
        Sequence { to_come, share, turn: None, has_reply: false }
    }

    /// What to do `now`.
    pub(super) fn next(&mut self, now: Instant) -> Step {
        let Some(turn) = &mut self.turn else { return self.begin(now) };
        let (server, began) = (turn.server, turn.began);
        if turn.ends.is_some_and(|ends| now >= ends) {
            self.turn = None;
            return Step::Leave(server, began);
        }
        if turn.again_at.is_some_and(|at| now >= at) {
            turn.sent += 1;
            turn.again_at = (turn.sent < DATAGRAMS).then(|| now + self.share / DATAGRAMS);
            return Step::Ask(server);
        }
        // A share beyond the clock's end is waited for again and again.
        let ends = turn.ends.unwrap_or(now + self.share.min(A_DAY));
        Step::Wait(turn.again_at.map_or(ends, |at| at.min(ends)))
    }

    fn begin(&mut self, now: Instant) -> Step {
        match self.to_come.pop() {
            Some((server, stream)) if !self.has_reply && !self.share.is_zero() => {
                let again_at = if stream { None } else { now.checked_add(self.share / DATAGRAMS) };
                self.turn = Some(Turn { server, began: now, ends: now.checked_add(self.share), sent: 1, again_at });
                Step::Ask(server)
            }
            _ => Step::End,
        }
    }

    /// The server failed; `with_reply` if there is something to relay nevertheless.
    pub(super) fn failed(&mut self, server: usize, with_reply: bool) {
        if self.turn.as_ref().is_some_and(|turn| turn.server == server) {
            self.turn = None;
        }
        self.has_reply |= with_reply;
    }

    /// The server answered, and the rest of its answer is being fetched; `with_reply` if what there is can be relayed.
    pub(super) fn heard(&mut self, server: usize, with_reply: bool) {
        if let Some(turn) = self.turn.as_mut().filter(|turn| turn.server == server) {
            turn.again_at = None;
        }
        self.has_reply |= with_reply;
    }
}

const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What happens by itself, at a time in milliseconds.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        Failed(usize, bool),
        Heard(usize, bool),
    }
    use Event::{Failed, Heard};

    /// Times in milliseconds, each with a server.
    type Times = Vec<(u32, usize)>;

    /// What is asked when, who is left when, and when it is over.
    fn run(streams: &[bool], timeout: u32, events: &[(u32, Event)]) -> (Times, Times, u32) {
        let start = Instant::now();
        let mut sequence = Sequence::new(streams.iter().copied(), timeout * MS);
        let mut events = events.iter().copied().peekable();
        let (mut now, mut asked, mut left) = (0, Vec::new(), Vec::new());
        loop {
            match sequence.next(start + now * MS) {
                Step::Ask(server) => asked.push((now, server)),
                Step::Leave(server, began) => {
                    assert!(asked.contains(&(((began - start).as_millis()) as u32, server)));
                    left.push((now, server));
                }
                Step::End => return (asked, left, now),
                Step::Late(..) => unreachable!("being slow is no reason for anything"),
                Step::Wait(until) => {
                    let until = u32::try_from((until - start).as_micros().div_ceil(1000)).unwrap();
                    let Some((at, event)) = events.next_if(|event| event.0 <= until) else {
                        now = until;
                        continue;
                    };
                    now = now.max(at);
                    match event {
                        Failed(server, with_reply) => sequence.failed(server, with_reply),
                        Heard(server, with_reply) => sequence.heard(server, with_reply),
                    }
                }
            }
        }
    }

    fn firsts(asked: &[(u32, usize)], servers: usize) -> Vec<u32> {
        (0..servers).map(|server| asked.iter().find(|asked| asked.1 == server).unwrap().0).collect()
    }

    #[test]
    fn five_seconds_are_divided_by_the_number_of_servers_in_their_order() {
        for servers in 1..=5 {
            let (asked, left, end) = run(&vec![false; servers], 5000, &[]);
            let share = 5000 / servers as u32;
            let turns: Vec<u32> = (0..servers as u32).map(|turn| turn * share).collect();
            let near = |at: &[u32]| at.iter().zip(&turns).all(|(at, turn)| at.abs_diff(*turn) <= servers as u32);
            assert!(near(&firsts(&asked, servers)), "{asked:?}");
            assert!(
                asked.is_sorted_by_key(|(_, server)| *server),
                "nobody is asked before or after its turn: {asked:?}"
            );
            assert_eq!(left.len(), servers, "each is left when its turn is over");
            assert!(end.abs_diff(5000) <= servers as u32);
        }
    }

    #[test]
    fn a_datagram_is_sent_again_and_what_goes_over_a_connection_is_not() {
        let (asked, ..) = run(&[false, true], 4000, &[]);
        assert_eq!(asked, [(0, 0), (500, 0), (1000, 0), (1500, 0), (2000, 1)]);
    }

    #[test]
    fn a_server_that_cannot_be_reached_is_left_at_once_and_the_next_one_has_no_more_than_its_share() {
        let (asked, left, end) = run(&[true, true, true], 3000, &[(10, Failed(0, false)), (20, Failed(1, false))]);
        assert_eq!((asked, left, end), (vec![(0, 0), (10, 1), (20, 2)], vec![(1020, 2)], 1020));
    }

    #[test]
    fn with_a_reply_in_hand_nobody_else_is_asked() {
        let (asked, _, end) = run(&[true, true], 2000, &[(10, Heard(0, true))]);
        assert_eq!((asked, end), (vec![(0, 0)], 1000));
        let (asked, _, end) = run(&[false, false], 2000, &[(10, Heard(0, true)), (20, Failed(0, true))]);
        assert_eq!((asked, end), (vec![(0, 0)], 20));
        // A reply that cannot be relayed is none.
        let (asked, ..) = run(&[true, true], 2000, &[(10, Heard(0, false))]);
        assert_eq!(asked, [(0, 0), (1000, 1)]);
    }

    #[test]
    fn nobody_to_ask_or_no_time_is_the_end_and_no_clock_is_too_short() {
        assert_eq!(run(&[], 5000, &[]), (vec![], vec![], 0));
        assert_eq!(run(&[false], 0, &[]), (vec![], vec![], 0));
        let now = Instant::now();
        let mut sequence = Sequence::new([true].into_iter(), Duration::MAX);
        assert_eq!(sequence.next(now), Step::Ask(0));
        assert!(matches!(sequence.next(now), Step::Wait(_)));
    }
}
