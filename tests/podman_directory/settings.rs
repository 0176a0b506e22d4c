//! The first line as it changes, and settings that come from elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use callsign::source::podman::Directory;
use callsign::table::{NetworkBuilder, Record};

use crate::kit::{Kit, logged, seen};

const ONE: &str = "10.88.0.1\nabc 10.88.0.2  web\n";

#[test]
fn a_first_line_that_changes_changes_the_settings_and_no_container() {
    let mut kit = Kit::new();
    kit.write("podman", ONE);
    assert_eq!(kit.settle(), seen(&["new"]));
    kit.write("podman", ONE.replace("10.88.0.1", "10.88.0.1,fd00::1 9.9.9.9"));
    assert_eq!(kit.settle(), seen(&["set"]));
    assert_eq!(kit.header("podman"), "10.88.0.1,fd00::1 9.9.9.9:53");
    assert_eq!(kit.endpoints("podman"), ["abc 10.88.0.2 web"]);
    // The same said in other words is no change.
    kit.write("podman", ONE.replace("10.88.0.1", "10.88.0.1,fd00:0::1,10.88.0.1 9.9.9.9 more"));
    assert_eq!(kit.settle(), seen(&[]));
}

#[test]
fn a_first_line_without_an_address_leaves_the_last_good_one_in_force() {
    let mut kit = Kit::new();
    kit.write("podman", ONE.replace("10.88.0.1", "10.88.0.1 9.9.9.9"));
    kit.settle();
    kit.write("podman", "def 10.88.0.3  db\nabc 10.88.0.2  web\nghi 10.88.0.4  new\n");
    assert_eq!(kit.settle(), seen(&["changed"]));
    assert_eq!(kit.header("podman"), "10.88.0.1 9.9.9.9:53");
    assert_eq!(kit.endpoints("podman"), ["abc 10.88.0.2 web", "ghi 10.88.0.4 new"]);
    // Nor is a network without any served: but its containers are known to others.
    kit.write("other", "web\nabc 10.89.0.2  web\n");
    kit.settle();
    assert_eq!((kit.header("other").as_str(), kit.read().left), ("", 1));
    assert_eq!(kit.endpoints("other"), ["abc 10.89.0.2 web"]);
}

#[test]
fn the_template_has_the_last_word() {
    let mut kit = Kit::with(|directory| {
        directory.template(|name, network| network.ttl(7).internal(name == "podman").alias("pay", "pay.example.com"))
    });
    kit.write("podman", ONE);
    kit.write("other", "10.89.0.1\n");
    kit.settle();
    assert_eq!((kit.snapshot("podman").settings().ttl, kit.snapshot("podman").records().len()), (7, 1));
    assert_eq!(kit.header("podman"), "10.88.0.1  internal");
    assert_eq!(kit.header("other"), "10.89.0.1");
    // One that cannot be used costs a line in the log, not the network.
    let lines = logged(|| {
        kit.directory.set_template(|_, network| network.ttl(8).subnet("x"));
        kit.settle();
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(kit.snapshot("podman").settings().ttl, 0);
}

#[test]
fn another_template_makes_the_settings_anew_though_no_file_changed() {
    let mut kit = Kit::new();
    kit.write("podman", ONE);
    kit.settle();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    kit.directory.set_template(move |_, network| {
        counted.fetch_add(1, Ordering::Relaxed);
        network.ttl(9)
    });
    assert_eq!(kit.settle(), seen(&["set"]));
    assert_eq!(kit.endpoints("podman"), ["abc 10.88.0.2 web"]);
    kit.directory.set_template(|_, network| network.ttl(9));
    assert_eq!(kit.settle(), seen(&[]), "it says the same");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

/// They are no settings, and nothing else of the network changes with them.
#[test]
fn aliases_and_records_that_alone_change_are_applied() {
    let mut kit = Kit::new();
    kit.write("podman", ONE);
    kit.settle();
    kit.directory.set_template(|_, network| network.alias("pay", "db"));
    assert_eq!(kit.settle(), seen(&["set"]));
    assert_eq!(kit.snapshot("podman").records().len(), 1);
    let text = |value: &'static str| {
        move |_: &str, network: NetworkBuilder| {
            network.record(Record::parse("web", "TXT", value, None).unwrap_or_else(|error| panic!("{error}")))
        }
    };
    for value in ["one", "two"] {
        kit.directory.set_template(text(value));
        assert_eq!(kit.settle(), seen(&["set"]), "{value}");
        assert_eq!(kit.snapshot("podman").records()[0].rdata()[1..], *value.as_bytes());
    }
    kit.directory.set_template(text("two"));
    assert_eq!(kit.settle(), seen(&[]), "it says the same");
    kit.directory.set_template(|_, network| network);
    assert_eq!(kit.settle(), seen(&["set"]));
    assert_eq!(kit.snapshot("podman").records().len(), 0);
    assert_eq!(kit.endpoints("podman"), ["abc 10.88.0.2 web"]);
}

#[test]
fn the_search_domain_is_the_domain_of_all_networks() {
    let domains = |make: &dyn Fn(Directory) -> Directory| {
        let mut kit = Kit::with(make);
        kit.write("podman", ONE);
        kit.settle();
        kit.snapshot("podman").settings().domains.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(domains(&|directory| directory), ["dns.podman"]);
    for (text, domain) in
        [(".dns.podman", "dns.podman"), ("Corp.example", "corp.example"), (".a.b.", "a.b"), ("x", "x")]
    {
        assert_eq!(domains(&|directory| directory.filter_domain(text)), [domain], "{text}");
    }
    for text in ["", ".", "..", "a..b"] {
        assert_eq!(domains(&|directory| directory.filter_domain(text)), [""; 0], "{text}");
    }
}
