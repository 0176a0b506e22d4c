//! What is in the store that hosts share, a key and a value a line: see `replay_values`.

/// Takes the input as the lines.
pub fn run(input: &[u8]) {
    callsign::source::etcd::replay_values(input);
}
