//! The manual pages and the completions: of the arguments and of the configuration's schema, so that they say what the program
//! does. What a package has of them is written by the program that is in it.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use callsign::source::config::schema::{KeySchema, TableSchema, ValueKind, callsign_toml};
use clap::CommandFactory;

use super::arguments::{Arguments, Completions, Man};
use super::{NO, output};

const NAME: &str = "callsign";

/// Runs `callsign completions`.
pub(super) fn completions(arguments: &Completions) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), NAME, &mut text);
    output::written(0, |out| out.write_all(&text))
}

/// Runs `callsign man`.
pub(super) fn run(arguments: &Man) -> ExitCode {
    match &arguments.dir {
        None => output::written(0, |out| {
            let mut page = Vec::new();
            clap_mangen::Man::new(Arguments::command()).render(&mut page)?;
            out.write_all(&page)
        }),
        Some(directory) => match write_pages(directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => output::fail(format_args!("{}: {error}", directory.display()), NO),
        },
    }
}

fn write_pages(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Arguments::command(), directory)?;
    fs::write(directory.join("callsign.toml.5"), configuration_page())
}

/// callsign.toml(5).
fn configuration_page() -> String {
    let mut page = String::new();
    let root = callsign_toml();
    let version = env!("CARGO_PKG_VERSION");
    let _ = write!(
        page,
        ".TH callsign.toml 5 \"\" \"callsign {version}\"\n\
         .SH NAME\ncallsign.toml \\- {}\n\
         .SH DESCRIPTION\n\
         \\fI/etc/callsign/callsign.toml\\fR is read by \\fBcallsign serve\\fR at its start and whenever it changes, and \\fBcallsign \
         check\\fR says what is wrong with it. It is TOML. \\fI/etc/callsign/podman.toml\\fR, for Podman's server, has the same \
         tables without what Podman says itself: the port, listen addresses and endpoints.\n",
        text(root.about.trim_end_matches('.'))
    );
    tables(&mut page, root);
    page.push_str(".SH SEE ALSO\n\\fBcallsign\\fR(1), \\fBcallsign-check\\fR(1)\n");
    page
}

/// A section for each table that the keys of one lead to.
fn tables(page: &mut String, table: &TableSchema) {
    for key in table.own_keys() {
        if let ValueKind::Table(of) | ValueKind::Tables(of) = key.value {
            let _ = write!(page, ".SH {}\n{}\n", escaped(of.heading), text(of.about));
            of.own_keys().for_each(|key| item(page, key));
            tables(page, of);
        }
    }
}

fn item(page: &mut String, key: &KeySchema) {
    let default = match key.default {
        _ if key.value.is_required() => " Required.".to_owned(),
        "" => String::new(),
        default => format!(" Default: {}.", text(default.trim_end_matches('.'))),
    };
    let _ = write!(page, ".TP\n\\fB{}\\fR\n{}{default}\n", escaped(key.name), text(key.meaning));
    if !matches!(key.value, ValueKind::Table(_) | ValueKind::Tables(_)) {
        let _ = write!(page, ".IP\n\\fI{}\\fR\n", escaped(key.example));
    }
}

/// A sentence in Markdown, as roff: code in bold, of a link its text.
fn text(markdown: &str) -> String {
    let mut plain = String::new();
    let mut rest = markdown;
    // [text](address)
    while let Some((before, link)) = rest.split_once('[')
        && let Some((shown, behind)) = link.split_once("](")
        && let Some((_, after)) = behind.split_once(')')
        && !shown.contains(['`', '['])
    {
        plain.push_str(before);
        plain.push_str(shown);
        rest = after;
    }
    plain.push_str(rest);
    let mut roff = String::new();
    for (number, part) in plain.split('`').enumerate() {
        let is_code = number % 2 == 1;
        roff.push_str(if is_code { "\\fB" } else { "" });
        roff.push_str(&escaped(part));
        roff.push_str(if is_code { "\\fR" } else { "" });
    }
    roff
}

/// Text without a meaning for roff.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_every_table_is_in_the_manual() {
        fn visit(page: &str, table: &TableSchema) {
            for key in table.own_keys() {
                if let ValueKind::Table(of) | ValueKind::Tables(of) = key.value {
                    assert!(page.contains(&format!("\n.SH {}\n", of.heading)), "{}", of.heading);
                    of.own_keys().for_each(|key| {
                        assert!(page.contains(&format!("\n\\fB{}\\fR\n", escaped(key.name))), "{}", key.name);
                    });
                    visit(page, of);
                }
            }
        }
        visit(&configuration_page(), callsign_toml());
    }

    #[test]
    fn markdown_becomes_roff() {
        assert_eq!(text("`a-b` is [here](x.md), \\."), "\\fBa\\-b\\fR is here, \\e.");
        assert_eq!(text("`[server]` and [a](b) [c](d)"), "\\fB[server]\\fR and [a](b) [c](d)");
        assert_eq!(text(".dns"), "\\&.dns");
    }
}
