//! A client that asks all the while, 200 questions a second, and remembers every answer.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use callsign::wire::rtype;

use crate::support::client::{Client, Query, Reply};
use crate::support::docker::GATEWAY;
use crate::support::machine::{Network, at_port_53};
use crate::truth::{Answer, Truth};

/// Between the starts of two questions.
const INTERVAL: Duration = Duration::from_millis(5);

/// The fewest questions a second, on average, that count as 200.
const LEAST_RATE: f64 = 150.0;

/// Asks for the names, in turn, at the default bridge's gateway, while `work` goes on.
///
/// # Panics
/// With the first wrong answers, if there were any.
pub(crate) fn nothing_is_wrong_while(truth: &Truth<'_, '_>, from: &Network, names: &[&str], work: impl FnOnce()) {
    let (asked_enough, read_enough) = (AtomicBool::new(false), AtomicBool::new(false));
    let answers = thread::scope(|scope| {
        let reading = scope.spawn(|| truth.read_until(&read_enough));
        let asking = scope.spawn(|| from.enter(|| ask_until(&asked_enough, names)));
        let outcome = catch_unwind(AssertUnwindSafe(work));
        asked_enough.store(true, Ordering::Relaxed);
        let answers = asking.join();
        // What is read last is of after the last answer.
        read_enough.store(true, Ordering::Relaxed);
        reading.join().unwrap_or_else(|panic| resume_unwind(panic));
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
        answers.unwrap_or_else(|panic| resume_unwind(panic))
    });
    let faults: Vec<String> = answers.iter().filter_map(|answer| truth.fault(answer)).collect();
    let found = answers.iter().filter(|answer| answer.outcome.as_ref().is_ok_and(|found| !found.is_empty())).count();
    let (first, last) = (answers.first().expect("an answer"), answers.last().expect("an answer"));
    let rate = answers.len() as f64 / (last.came - first.asked).max(INTERVAL).as_secs_f64();
    println!("{rate:.0} answers a second");
    println!("{} answers, {found} of them with addresses, {} readings", answers.len(), truth.readings());
    assert!(rate >= LEAST_RATE, "{rate:.0} answers a second, of {} in all", answers.len());
    assert!(found > 0, "none of {} answers has an address", answers.len());
    assert!(
        faults.is_empty(),
        "{} of {}: {}",
        faults.len(),
        answers.len(),
        faults.iter().take(3).cloned().collect::<String>()
    );
}

fn ask_until(done: &AtomicBool, names: &[&str]) -> Vec<Answer> {
    let client = Client::new(at_port_53(GATEWAY)).timeout(Duration::from_secs(5));
    let mut answers = Vec::new();
    let start = Instant::now();
    while !done.load(Ordering::Relaxed) {
        let turn = answers.len();
        let name = names[turn % names.len()];
        let asked = Instant::now();
        let reply = client.udp_bytes(&Query::new(name, rtype::A).edns(1232).bytes()).map(Reply::new);
        let outcome = match reply {
            Ok(reply) if matches!(reply.status().as_str(), "NOERROR" | "NXDOMAIN") => {
                Ok(reply.addresses().iter().map(ToString::to_string).collect())
            }
            Ok(reply) => Err(reply.status()),
            Err(error) => Err(error.to_string()),
        };
        answers.push(Answer { name: name.to_owned(), asked, came: Instant::now(), outcome });
        thread::sleep((start + INTERVAL * (turn as u32 + 1)).saturating_duration_since(Instant::now()));
    }
    answers
}
