//! For the fuzzer: whatever an engine says, the state stands, and what it gives can be put into a table.

use serde::de::DeserializeOwned;

use crate::table::NameTable;

use super::events::{Change, Event};
use super::state::{Answer, Ask, Serving, State};

/// More requests than this in a row are one without end.
const MAX_REQUESTS: usize = 10_000;

/// Takes each line as what an engine says: an event, or the answer to the next thing that is asked.
///
/// # Panics
/// If what has ended still has an address, or asking has no end.
pub fn replay(input: &[u8]) {
    let mut state = State::new(Serving::default());
    let table = NameTable::new();
    state.reconcile();
    for line in input.split(|octet| *octet == b'\n') {
        if let Some(event) = Event::parse(line) {
            state.event(&event);
            put(&mut state, &table);
            if let Change::Ended(id) | Change::Removed(id) = &event.change
                && event.time == 0
            {
                let has_address = |endpoint: &crate::table::Endpoint| !endpoint.addresses().is_empty();
                for network in table.networks() {
                    assert!(!network.snapshot().endpoint(id).is_some_and(has_address), "{event:?}");
                }
            }
            continue;
        }
        let Some(request) = state.poll() else { continue };
        let answer = match &request.ask {
            Ask::Networks => read(line).map(Answer::Networks),
            Ask::Containers | Ask::Summary(_) => read(line).map(Answer::Containers),
            Ask::Network(_) | Ask::Services(_) => read(line).map(|network| Answer::Network(network, Vec::new())),
            Ask::Container(_) => read(line).map(Answer::Container),
        };
        state.answer(request, answer.unwrap_or(Answer::Failed));
        put(&mut state, &table);
    }
    // Of all that is still to be asked the engine has nothing any more.
    state.retry();
    state.poll_services();
    state.reconcile();
    for _ in 0..MAX_REQUESTS {
        let Some(request) = state.poll() else { break };
        let answer = match &request.ask {
            Ask::Networks => Answer::Networks(Vec::new()),
            Ask::Containers => Answer::Containers(Vec::new()),
            _ => Answer::Gone,
        };
        state.answer(request, answer);
    }
    assert!(state.is_settled());
    put(&mut state, &table);
    assert_eq!(table.networks().len(), 0);
}

fn read<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    serde_json::from_slice(line).ok()
}

fn put(state: &mut State, table: &NameTable) {
    let delta = state.take_delta();
    for name in &delta.removed {
        // It may be one that could not be built.
        let _ = table.remove(name);
    }
    for (name, builder) in delta.networks {
        let Ok(network) = builder.build() else { continue };
        match table.network(&name) {
            Some(known) => drop(known.replace_with(&network)),
            None => drop(table.add(network)),
        }
    }
    for (name, endpoints) in delta.endpoints {
        let Some(network) = table.network(&name) else { continue };
        let changed = network.change(|change| {
            for (id, endpoint) in endpoints {
                match endpoint {
                    Some(endpoint) => change.attach(endpoint),
                    None => drop(change.detach(&id)),
                }
            }
        });
        assert!(changed.is_ok());
    }
}
