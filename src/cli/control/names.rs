//! `callsign names`: what is answered, and by which container.

use std::process::ExitCode;

use callsign::control::client::Call;
use callsign::control::shapes::{Name, Names};

use super::arguments;
use super::show;
use super::text::{Cell, Style, Table};

pub(in crate::cli) fn run(arguments: &arguments::Names) -> ExitCode {
    let call = Call::get("/v1/names").with("network", arguments.network.as_ref());
    show::<Names>(&arguments.target, &call, |names, style| (table(names, style), 0))
}

fn table(names: &Names, style: Style) -> String {
    let mut table = Table::new(style, &["network", "name", "answers", "container"]);
    for network in &names.networks {
        for name in &network.names {
            table.row([
                network.network.clone().into(),
                name.name.clone().into(),
                answers(name, style),
                containers(name, style),
            ]);
        }
    }
    if table.is_empty() { "no names\n".to_owned() } else { table.text() }
}

fn answers(name: &Name, style: Style) -> Cell {
    let mut parts: Vec<String> = name.addresses.iter().map(ToString::to_string).collect();
    parts.extend(name.alias.iter().map(|target| format!("alias of {target}")));
    parts.extend(name.records.iter().cloned());
    if !parts.is_empty() {
        return parts.join(" ").into();
    }
    let are_all =
        |state| !name.containers.is_empty() && name.containers.iter().all(|container| container.state == state);
    let word = ["stopped", "unreachable"].into_iter().find(|state| are_all(*state));
    Cell::painted(word.unwrap_or("no address"), |text| style.bad(text))
}

fn containers(name: &Name, style: Style) -> Cell {
    let all: Vec<String> = name
        .containers
        .iter()
        .map(|container| {
            let host = container.host.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
            // By its ID where another one has the same name.
            let is_shared = name.containers.iter().filter(|other| other.name == container.name).count() > 1;
            let known_as = if is_shared { &container.id } else { &container.name };
            match &*container.state {
                "up" => format!("{known_as}{host}"),
                state => format!("{known_as}{host} ({state})"),
            }
        })
        .collect();
    let is_up = name.containers.iter().all(|container| container.state == "up");
    Cell::painted(&all.join(" "), |text| if is_up { text.to_owned() } else { style.doubtful(text) })
}
