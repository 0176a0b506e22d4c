//! The configuration file, and the one beside Podman: no text makes the reader panic, every problem is one line that names a line of the file, and what
//! is accepted can be served.

use callsign::source::config::{Config, ConfigError, PodmanConfig};
use callsign::table::{NameTable, Network};

/// Takes the input as a file's text, where it is UTF-8.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match Config::parse(text, "callsign.toml") {
        Ok(config) => is_sound(config),
        Err(error) => tells_lines(&error, text),
    }
    match PodmanConfig::parse(text, "callsign.toml") {
        Ok(config) => {
            // What is wrong with a part was told: a network that it is said of can always be made.
            config.apply("shop", Network::builder("shop")).build().unwrap();
        }
        Err(error) => tells_lines(&error, text),
    }
}

fn tells_lines(error: &ConfigError, text: &str) {
    let lines: Vec<usize> = error.problems().iter().filter_map(|problem| problem.line()).collect();
    assert!(!lines.is_empty() && lines.len() == error.problems().len());
    assert!(lines.is_sorted() && lines.iter().all(|line| (1..=1 + text.matches('\n').count()).contains(line)));
    let told = error.to_string();
    assert_eq!(told.lines().count(), lines.len(), "{told}");
    assert!(told.lines().all(|line| line.starts_with("callsign.toml:")), "{told}");
    assert!(told.chars().all(|char| char == '\n' || !char.is_control()), "{told:?}");
}

fn is_sound(config: Config) {
    assert!(config.server.port > 0);
    let table = NameTable::new();
    let mut listeners = Vec::new();
    for network in config.networks {
        // Two of one name would be refused.
        let network = table.add(network).unwrap();
        let snapshot = network.snapshot();
        listeners.extend(snapshot.settings().listen.iter().map(ToString::to_string));
        for endpoint in snapshot.endpoints() {
            for address in endpoint.addresses() {
                assert_eq!(snapshot.endpoint_at(*address).map(|holder| holder.id()), Some(endpoint.id()));
            }
        }
    }
    let count = listeners.len();
    listeners.sort();
    listeners.dedup();
    assert_eq!(listeners.len(), count, "each address is listened on once");
}
