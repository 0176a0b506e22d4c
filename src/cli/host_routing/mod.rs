//! `callsign host`: the names of containers on the host itself. It tells the host's resolver to ask callsign for one domain, takes
//! that back, and says how it stands.

pub(super) mod arguments;
mod steps;
mod ways;

use std::io::{self, Write};
use std::process::ExitCode;

use callsign::source::config::Config;
use nix::unistd::Uid;
use serde::Serialize;

use super::host_names::{Standing, Trouble, Way, unanswered, unreached};
use super::system::Resolver;
use super::{NO, output};
use arguments::{Action, Disable, Enable, Host, Status};
use ways::Routing;

pub(super) fn run(arguments: &Host) -> ExitCode {
    let done = match &arguments.action {
        Action::Enable(arguments) => enable(arguments),
        Action::Disable(arguments) => disable(arguments),
        Action::Status(arguments) => return status(arguments),
    };
    done.unwrap_or_else(|message| output::fail(message, NO))
}

fn enable(arguments: &Enable) -> Result<ExitCode, String> {
    need_root(arguments.dry_run)?;
    let place = &arguments.place;
    // At boot the unit names everything.
    let config = match !arguments.boot && place.config.exists() {
        true => Some(Config::load(&place.config).map_err(|error| error.to_string())?),
        false => None,
    };
    let host = config.as_ref().and_then(|config| config.host.clone()).unwrap_or_default();
    let mut routing =
        Routing { domain: place.domain(&host), listen: place.listen(&host), reverse: arguments.reverse.clone() };
    if arguments.boot {
        steps::take(&routing.boot_steps()?, arguments.dry_run)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let (true, Some(config)) = (routing.reverse.is_empty(), &config) {
        let subnets = config.networks.iter().flat_map(|network| network.snapshot().settings().subnets.clone());
        // Those that are everybody's are nobody's to route.
        routing.reverse = subnets.filter(|subnet| !subnet.addr().is_loopback() && subnet.prefix_len() > 0).collect();
    }
    let resolver = Resolver::find();
    let Some(way) = Way::of(&resolver) else {
        let text = ways::by_hand(&routing)?;
        return Ok(output::result(&text, NO));
    };
    let program = std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
    let steps = [ways::undo(Some(way), &resolver)?, routing.steps(way, &program)?].concat();
    steps::take(&steps, arguments.dry_run)
        .map_err(|error| format!("{error}\n`callsign host disable` undoes what was done"))?;
    if !arguments.dry_run {
        output::line(format_args!(
            "{} asks {} for names below {} now, and for no others",
            resolver.name(),
            routing.listen,
            routing.domain
        ));
        let troubles = [unreached(&resolver), unanswered(routing.listen, Some(&routing.domain.to_string()))];
        for Trouble { message, cure } in troubles.into_iter().flatten() {
            output::line(format_args!("But {message}.\n    {cure}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn disable(arguments: &Disable) -> Result<ExitCode, String> {
    need_root(arguments.dry_run)?;
    let steps = ways::undo(None, &Resolver::find())?;
    if steps.is_empty() {
        output::line("Nothing to undo: this host was not told to ask callsign.");
    }
    steps::take(&steps, arguments.dry_run)?;
    Ok(ExitCode::SUCCESS)
}

fn need_root(dry_run: bool) -> Result<(), String> {
    match dry_run || Uid::effective().is_root() {
        true => Ok(()),
        false => Err("this changes the host's resolver, and needs root; --dry-run shows the steps".to_owned()),
    }
}

/// The document of `status --json`.
#[derive(Debug, Serialize)]
struct Document {
    /// Of this document.
    version: u32,
    /// Who answers the look-ups of this host.
    resolver: String,
    /// True if it was told to ask callsign.
    enabled: bool,
    /// True if that is whole, and callsign answers.
    working: bool,
    /// By which way: `delegate`, `link` or `dnsmasq`.
    way: Option<&'static str>,
    /// Where callsign is asked.
    listen: Option<String>,
    /// What it is asked for: the domain, and reverse zones.
    zones: Vec<String>,
    /// What `callsign host disable` removes: files and the link.
    traces: Vec<&'static str>,
    problems: Vec<Problem>,
}

#[derive(Debug, Serialize)]
struct Problem {
    message: String,
    cure: String,
}

fn status(arguments: &Status) -> ExitCode {
    let Standing { resolver, traces, setting, problems } = match Standing::read() {
        Ok(standing) => standing,
        Err(message) => return output::failure(arguments.json, &message, NO),
    };
    let document = Document {
        version: 1,
        resolver: resolver.name(),
        enabled: !traces.is_empty(),
        working: !traces.is_empty() && problems.is_empty(),
        way: setting.way.map(Way::name),
        listen: setting.listen.map(|listen| listen.to_string()),
        zones: setting.zones,
        traces,
        problems: problems.into_iter().map(|Trouble { message, cure }| Problem { message, cure }).collect(),
    };
    let code = if document.working { 0 } else { NO };
    if arguments.json { output::json(&document, code) } else { output::written(code, |out| document.show(out)) }
}

impl Document {
    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        for Problem { message, cure } in &self.problems {
            writeln!(out, "{message}\n    {cure}")?;
        }
        writeln!(out, "resolver  {}", self.resolver)?;
        if !self.enabled {
            return writeln!(out, "enabled   no; `callsign host enable` tells it to ask callsign");
        }
        writeln!(out, "enabled   yes, by {}", self.way.unwrap_or("a part of a way"))?;
        if let Some(listen) = &self.listen {
            writeln!(out, "callsign  {listen}")?;
        }
        writeln!(out, "zones     {}", self.zones.join(" "))?;
        writeln!(out, "traces    {}", self.traces.join(" "))
    }
}
