//! What a Docker engine says, an event or an answer a line: see `replay`.

/// Takes the input as the lines.
pub fn run(input: &[u8]) {
    callsign::source::docker::replay(input);
}
