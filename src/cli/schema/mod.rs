//! `callsign schema`: the configuration file's keys, for editors and for the documentation.

mod json;
mod markdown;

use std::process::ExitCode;

use callsign::source::config::schema::{callsign_toml, podman_toml};

use super::arguments::{Schema, SchemaFormat};
use super::output;

/// Runs `callsign schema`.
pub(super) fn run(arguments: &Schema) -> ExitCode {
    let root = if arguments.podman { podman_toml() } else { callsign_toml() };
    match arguments.format {
        SchemaFormat::Json => output::json(&json::schema(root), 0),
        SchemaFormat::Markdown => output::result(&markdown::tables(root), 0),
    }
}
