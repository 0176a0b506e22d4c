//! What etcd says of a watch, and pages of what it has: see `replay_watch`.

/// Takes the input as the messages.
pub fn run(input: &[u8]) {
    callsign::source::etcd::replay_watch(input);
}
