//! `callsign watch`: queries as they are answered.

use std::io::{self, Write};
use std::process::ExitCode;

use callsign::control::client::Call;
use callsign::control::shapes::{Query, Watched};

use super::arguments::{self, Only};
use super::text::{Style, time_of_day};
use super::{block_on, fail, failure, socket};
use crate::cli::NO;

pub(in crate::cli) fn run(arguments: &arguments::Watch) -> ExitCode {
    let target = &arguments.target;
    let call = Call::get("/v1/watch")
        .with("network", arguments.network.as_ref())
        .with("from", arguments.from.as_ref())
        .with("name", arguments.name.as_ref())
        .with("only", arguments.only.map(Only::word));
    let style = Style::of_stdout();
    // Whoever reads it may have gone: that ends it.
    let write = |line: &str| {
        let mut stdout = io::stdout().lock();
        let text = match serde_json::from_str(line) {
            _ if target.json => line.to_owned(),
            Ok(watched) => show(&watched, style),
            Err(_) => line.to_owned(),
        };
        stdout.write_all(format!("{text}\n").as_bytes()).and_then(|()| stdout.flush()).is_ok()
    };
    let outcome = socket(target).and_then(|socket| block_on(call.follow(&socket, write)));
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            let (code, message) = failure(error);
            fail(target, message, code)
        }
        Err((code, message)) => fail(target, message, code.max(NO)),
    }
}

fn show(watched: &Watched, style: Style) -> String {
    match watched {
        Watched::Dropped { dropped } => style.doubtful(&format!("({dropped} queries more: too many to show)")),
        Watched::Query(query) => line(query, style),
    }
}

fn line(query: &Query, style: Style) -> String {
    let Query { name, rtype, network, ms, .. } = query;
    let who = query.container.clone().unwrap_or_else(|| query.client.ip().to_string());
    let answer = match query.rcode.as_deref() {
        None => style.bad("no reply"),
        Some("NOERROR") if query.answers.is_empty() => style.doubtful("nothing"),
        Some("NOERROR") => style.good(&query.answers.join(" ")),
        Some(code) => style.bad(code),
    };
    let from = match (&*query.from, &query.upstream) {
        ("upstream", Some(upstream)) => format!("{upstream}, {ms:.1} ms"),
        ("upstream", None) => format!("upstream, {ms:.1} ms"),
        (from, _) => from.to_owned(),
    };
    format!(
        "{}  {who}@{network}  {name} {rtype}  {answer}  {}",
        style.dim(time_of_day(&query.time)),
        style.dim(&format!("{} [{from}]", query.why))
    )
}
