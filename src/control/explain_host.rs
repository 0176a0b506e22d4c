//! Why the host gets its answer from the host view (answers.md V6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::responder::{Client, Finding, HostView, Listener, Rule, Verdict};
use crate::wire::rtype;

use super::explain::{BUFFER, CLIENT_PORT, Inquiry, Outcome, World, listed, packet, searched};
use super::records::Said;
use super::shapes::{self, Explained, Technical, VERSION};

/// Who asks, where an inquiry is about the host view.
pub(super) const HOST: &str = "host";

/// Explains, without asking anybody: the host view forwards nothing.
pub(super) fn explain(world: &World<'_>, view: &Arc<HostView>, inquiry: &Inquiry) -> Outcome {
    let listen = view.listen().first().map(|address| (address.ip(), address.port().unwrap_or(world.port)));
    let listen: SocketAddr = listen.unwrap_or((Ipv4Addr::LOCALHOST.into(), world.port)).into();
    let from: IpAddr = if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    let listener = Listener::of_host_view(view.clone(), listen);
    let (query, mut out) = (packet(inquiry), [0; BUFFER]);
    let client = Client::udp(&listener, SocketAddr::new(from, CLIENT_PORT));
    let (verdict, explanation) = world.responder().explain(&query, &client, &mut out);
    let said = match &verdict {
        Verdict::Reply(len) => Said::read(&out[..*len]),
        // A question that waits for a container's start.
        _ => Said::default(),
    };
    let name = &inquiry.name;
    let domain = view.domain();
    let found = explanation.searched.iter().find(|each| each.finding != Finding::Nothing);
    let on = found.map(|found| format!("It is on network {}.", found.network));
    let (result, conclusion, cause, advice) = match (&verdict, &*said.rcode) {
        (Verdict::Hold(hold), _) => {
            let seconds = hold.as_secs_f64();
            ("held", format!("The host waits up to {seconds} s for {name}: its container is about to start."), on, None)
        }
        (_, "NOERROR") if !said.answers.is_empty() => {
            ("answered", format!("The host gets {} for {name}.", listed(&said.answers)), on, None)
        }
        (_, "NOERROR") => {
            let rtype = rtype::mnemonic(inquiry.rtype);
            let result = if explanation.rule == Rule::N7 { "not_running" } else { "no_such_record" };
            let cause = said.errors.first().map(|error| format!("The server says: {error}."));
            (result, format!("The host gets no {rtype} record for {name}."), cause.or(on), None)
        }
        (_, "NXDOMAIN") => (
            "no_such_name",
            format!("The host gets \"no such name\" for {name}."),
            Some("No container on that network, and of no such project, has that name.".to_owned()),
            Some(format!("Names are NAME.NETWORK.{domain}, or SERVICE.PROJECT.{domain} with Compose.")),
        ),
        _ if explanation.rule == Rule::V6Outside => (
            "refused",
            format!("The host is refused an answer for {name}."),
            Some(format!("The host view has names below {domain} only, and asks nobody else.")),
            None,
        ),
        (_, code) => ("refused", format!("The host gets no answer ({code}) for {name}."), None, None),
    };
    let mut networks: Vec<String> = view.networks().iter().map(|network| network.name().to_owned()).collect();
    networks.sort();
    networks.dedup();
    let explained = Explained {
        api: VERSION,
        name: name.to_string(),
        rtype: rtype::mnemonic(inquiry.rtype),
        client: shapes::Client { address: from, container: None, id: None, networks },
        result: result.to_owned(),
        conclusion,
        cause,
        nearest: None,
        advice: advice.into_iter().collect(),
        upstream: None,
        technical: Technical {
            listener: listen,
            network: explanation.network.clone(),
            client: explanation.client.to_string(),
            searched: explanation.searched.iter().map(searched).collect(),
            rule: explanation.rule.to_string(),
            decision: explanation.decision.clone(),
            forward: None,
            answers: said.records,
            additional: said.additional,
            errors: said.errors,
        },
    };
    Outcome::of(explained)
}
