//! One question, simulated: what is asked when.

use super::*;

const MS: Duration = Duration::from_millis(1);

/// What happens by itself, at a time in milliseconds.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// The server failed; with something to relay?
    Failed(usize, bool),
    /// The server's answer is truncated and its rest on the way.
    Heard(usize),
}
use Event::{Failed, Heard};

fn well(usual: &[u32]) -> Vec<Candidate> {
    let candidate = |(server, &usual)| Candidate { server, usual: usual * MS, well: true, stream: false };
    usual.iter().enumerate().map(candidate).collect()
}

fn unknown(servers: usize) -> Vec<Candidate> {
    well(&vec![100; servers]).into_iter().map(|candidate| Candidate { well: false, ..candidate }).collect()
}

/// Times in milliseconds, each with a server.
type Times = Vec<(u32, usize)>;

/// What is asked when if nobody ever answers and `events` happen, who was late when, and when it ends.
fn run(candidates: &[Candidate], timeout: u32, events: &[(u32, Event)]) -> (Times, Times, u32) {
    let start = Instant::now();
    let mut policy = Policy::new(candidates, timeout * MS, start);
    let mut events = events.iter().copied().peekable();
    let (mut now, mut asked, mut late) = (0, Vec::new(), Vec::new());
    loop {
        match policy.next(start + now * MS) {
            Step::Ask(server) => asked.push((now, server)),
            Step::Late(server, _) => late.push((now, server)),
            Step::Leave(..) => unreachable!("all are listened to until the end"),
            Step::End => return (asked, late, now),
            Step::Wait(until) => {
                let until = u32::try_from((until - start).as_micros().div_ceil(1000)).unwrap();
                match events.next_if(|event| event.0 <= until) {
                    Some((at, event)) => {
                        now = now.max(at);
                        match event {
                            Failed(server, with_reply) => policy.failed(server, with_reply, start + now * MS),
                            Heard(server) => policy.heard(server, true),
                        }
                    }
                    None => now = until,
                }
            }
        }
    }
}

fn firsts(asked: &[(u32, usize)], server: usize) -> u32 {
    asked.iter().find(|(_, asked)| *asked == server).unwrap().0
}

#[test]
fn racing_while_nobody_is_known_to_be_well() {
    // The first dead from the start costs nothing.
    let (asked, ..) = run(&unknown(3), 5000, &[]);
    assert_eq!(asked[..2], [(0, 0), (0, 1)]);
    assert_eq!(firsts(&asked, 2), 100);
}

#[test]
fn hedging_when_the_first_is_slower_than_usual() {
    let (asked, late, _) = run(&well(&[60, 80, 50]), 5000, &[]);
    assert_eq!((firsts(&asked, 1), firsts(&asked, 2)), (60, 140));
    assert_eq!(late, [(60, 0), (140, 1), (190, 2)], "each once");
}

#[test]
fn one_server_only_is_asked_again_and_often_enough_for_a_lossy_path() {
    for usual in [50, 100, 500] {
        let (asked, _, end) = run(&well(&[usual]), 5000, &[]);
        assert_eq!(asked[1].0, (2 * usual).min(500));
        assert!(asked.windows(2).all(|pair| pair[1].0 - pair[0].0 <= 501), "{asked:?}");
        // 20 % lost each way, and time for the last one to be answered.
        let lost = 0.36_f64.powi(asked.iter().filter(|(at, _)| *at <= 4500).count() as i32);
        assert!((10..=DATAGRAMS as usize).contains(&asked.len()) && lost < 0.0001, "{asked:?}");
        assert_eq!(end, 5000);
    }
}

#[test]
fn a_failure_moves_on_at_once_and_for_good() {
    let (asked, ..) = run(&well(&[60, 60]), 5000, &[(10, Failed(0, false))]);
    assert_eq!(asked[..3], [(0, 0), (10, 1), (130, 1)]);
    assert!(asked[1..].iter().all(|&(_, server)| server == 1));
}

#[test]
fn when_all_failed_it_is_over() {
    let (asked, _, end) = run(&well(&[60, 60]), 5000, &[(10, Failed(0, false)), (20, Failed(1, true))]);
    assert_eq!((asked, end), (vec![(0, 0), (10, 1)], 20));
    let (.., end) = run(&unknown(2), 5000, &[(1, Failed(0, false)), (2, Failed(1, false))]);
    assert_eq!(end, 2);
}

#[test]
fn with_an_error_in_hand_the_others_get_a_while() {
    // Servers that are known to be well a fifth of the time, others a few times their usual.
    let (asked, _, end) = run(&well(&[60, 60]), 5000, &[(10, Failed(0, true))]);
    assert_eq!((firsts(&asked, 1), end), (10, 1010));
    let (.., end) = run(&unknown(2), 5000, &[(10, Failed(0, true))]);
    assert_eq!(end, 410);
    // Not before all were asked.
    let (asked, ..) = run(&well(&[60, 500, 60]), 5000, &[(10, Failed(0, true))]);
    assert_eq!(firsts(&asked, 2), 510);
}

#[test]
fn a_truncated_reply_is_not_asked_for_again_but_the_next_server_is_asked_if_the_rest_is_slow() {
    let (asked, late, end) = run(&well(&[60]), 5000, &[(10, Heard(0))]);
    assert_eq!((asked, late, end), (vec![(0, 0)], vec![], 2510));
    let (asked, ..) = run(&well(&[60, 60]), 5000, &[(10, Heard(0)), (100, Failed(0, false))]);
    assert_eq!(asked[..2], [(0, 0), (60, 1)]);
}

#[test]
fn connections_are_asked_again_rarely() {
    let stream: Vec<_> = well(&[50]).into_iter().map(|candidate| Candidate { stream: true, ..candidate }).collect();
    let (asked, ..) = run(&stream, 5000, &[]);
    assert_eq!(asked, [(0, 0), (1000, 0), (3000, 0)]);
}

#[test]
fn nothing_to_ask_or_no_time_is_the_end() {
    assert_eq!(run(&[], 5000, &[]), (vec![], vec![], 0));
    assert_eq!(run(&well(&[50]), 0, &[]), (vec![], vec![], 0));
    let now = Instant::now();
    assert_eq!(Policy::new(&well(&[50]), Duration::MAX, now).next(now), Step::Ask(0));
}
