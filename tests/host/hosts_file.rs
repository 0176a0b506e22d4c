//! `[server] hosts`: the names of the host's /etc/hosts, for containers.

use std::net::{IpAddr, SocketAddr};

use callsign::wire::rtype;

use crate::support::client::{Client, Query, Reply};
use crate::support::netns::{Bridge, Lab, Namespace, work_in};
use crate::support::process::Source;
use crate::support::program::Program;
use crate::{becomes, needs_root};

/// A host with two networks, one of them internal, and a container on each.
struct Bed {
    lab: Lab,
    shop: Bridge,
    back: Bridge,
}

const GATEWAYS: [&str; 2] = ["10.10.1.1", "10.10.2.1"];

impl Bed {
    fn new() -> Bed {
        let lab = Lab::new();
        let [shop, back] =
            [("shop", "10.10.1.1/24"), ("back", "10.10.2.1/24")].map(|(name, gateway)| lab.bridge(name, &[gateway]));
        Bed { lab, shop, back }
    }

    fn containers(&self) -> [Namespace; 2] {
        [("api", &self.shop, "10.10.1.2/24"), ("job", &self.back, "10.10.2.2/24")]
            .map(|(name, bridge, address)| self.lab.container(name, &[(bridge, &[address])]))
    }

    fn start(&self, server: &str) -> Program {
        Program::with(&config(server)).inside(self.lab.host()).start()
    }
}

fn config(server: &str) -> String {
    format!(
        "[server]\n{server}\nupstreams = [\"127.0.0.66:1\"]\n\
         [[network]]\nname = \"shop\"\nlisten = [\"10.10.1.1\"]\nsubnets = [\"10.10.1.0/24\"]\ndomains = [\"internal\"]\n\
         endpoint = [{{ id = \"api\", addresses = [\"10.10.1.2\"], names = [\"nas\"] }}]\n\
         [[network]]\nname = \"back\"\nlisten = [\"10.10.2.1\"]\nsubnets = [\"10.10.2.0/24\"]\ninternal = true\n"
    )
}

fn ask(container: &Namespace, gateway: &str, query: &Query) -> Reply {
    let server = SocketAddr::new(gateway.parse().unwrap(), 53);
    work_in(Some(container), || Client::new(server).udp(query))
}

fn addresses(container: &Namespace, gateway: &str, name: &str) -> Vec<String> {
    let reply = ask(container, gateway, &Query::new(name, rtype::A));
    let found: Vec<String> = reply.addresses().iter().map(IpAddr::to_string).collect();
    if found.is_empty() { vec![reply.status()] } else { found }
}

#[test]
fn n13_the_names_of_the_hosts_file_are_answered_to_those_who_may_forward() {
    needs_root!("ip");
    let bed = Bed::new();
    let [api, job] = bed.containers();
    bed.lab.host().set_hosts(
        "127.0.0.1 localhost\n127.0.1.1 me\n192.0.2.7 printer.example printer nas db.internal\n10.0.0.300 x\n",
    );
    let program = bed.start("hosts = true");
    let at = |name: &str| addresses(&api, GATEWAYS[0], name);
    assert_eq!(at("printer"), ["192.0.2.7"]);
    assert_eq!(at("printer.example"), ["192.0.2.7"]);
    let reverse = ask(&api, GATEWAYS[0], &Query::reverse("192.0.2.7".parse().unwrap()));
    assert!(reverse.answers()[0].ends_with(" printer.example."), "{:?}", reverse.answers());
    assert_eq!(ask(&api, GATEWAYS[0], &Query::new("printer", rtype::AAAA)).status(), "NOERROR");
    // The view's own names come first, and what is unknown below its domains does not exist.
    assert_eq!(at("nas"), ["10.10.1.2"]);
    assert_eq!(at("db.internal"), ["NXDOMAIN"]);
    // Loopback lines are nobody's: the question goes on, to an upstream that is not there.
    assert_eq!(at("me"), ["SERVFAIL"]);
    // From an internal network there is nothing outside.
    assert_eq!(addresses(&job, GATEWAYS[1], "printer"), ["NXDOMAIN"]);
    // What is wrong in it is said once.
    let told = |text: &str| program.lines(Source::Stderr).iter().filter(|line| line.contains(text)).count();
    assert_eq!(told("\"10.0.0.300\" is not an address; its line is left out"), 1);
    // It is followed as it changes.
    bed.lab.host().set_hosts("192.0.2.8 printer\n10.0.0.300 x\n");
    becomes(vec!["192.0.2.8".to_owned()], || at("printer"));
    assert_eq!(at("printer.example"), ["SERVFAIL"]);
    assert_eq!(told("\"10.0.0.300\" is not an address; its line is left out"), 1);
}

#[test]
fn n13_only_where_it_is_turned_on() {
    needs_root!("ip");
    let bed = Bed::new();
    let [api, _job] = bed.containers();
    bed.lab.host().set_hosts("192.0.2.7 printer\n");
    let program = bed.start("");
    assert_eq!(addresses(&api, GATEWAYS[0], "printer"), ["SERVFAIL"]);
    program.reload_by_change(&config("hosts = true"));
    assert_eq!(addresses(&api, GATEWAYS[0], "printer"), ["192.0.2.7"]);
    program.reload_by_change(&config(""));
    assert_eq!(addresses(&api, GATEWAYS[0], "printer"), ["SERVFAIL"]);
}
