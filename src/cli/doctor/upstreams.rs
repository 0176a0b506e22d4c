//! The upstreams: whether each answers, whether one is callsign itself, and whether the clock lets certificates be valid.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use callsign::forward::{ForwardOptions, Forwarder, Question, Upstreams};
use callsign::server::Holders;
use callsign::table::Upstream;

use super::block_on;
use super::facts::Facts;
use super::finding::Finding;
use crate::cli::time::utc;

/// How long an upstream may take: less than the check.
const PATIENCE: Duration = Duration::from_millis(4_000);
/// `. NS`, which every resolver knows.
const QUESTION: [u8; 5] = [0, 0, 2, 0, 1];

/// Where an upstream is asked.
fn place(upstream: &Upstream) -> SocketAddr {
    let address = upstream.address();
    SocketAddr::new(address.ip(), address.port().unwrap_or(upstream.transport().port()))
}

/// Why asking an upstream leads back here, if it does.
fn leads_back(upstream: &Upstream, facts: &Facts, ours: &[SocketAddr]) -> Option<String> {
    let place = place(upstream);
    let is_ours = |place: SocketAddr| {
        let held = Holders::default().of(place, false);
        ours.contains(&place)
            || held.process().is_some_and(|(pid, _)| facts.servers.iter().any(|server| server.pid == pid))
    };
    if is_ours(place) {
        return Some(format!("{upstream} is callsign itself"));
    }
    let is_stub = ["127.0.0.53:53", "127.0.0.54:53"].iter().any(|stub| stub.parse() == Ok(place));
    let asked = Facts::resolved_servers();
    let back =
        asked.iter().filter(|_| is_stub).find(|server| server.parse().is_ok_and(|ip| is_ours(SocketAddr::new(ip, 53))));
    back.map(|server| format!("{upstream} is systemd-resolved, which asks callsign at {server}"))
}

fn own(facts: &Facts) -> Vec<SocketAddr> {
    facts.listeners().into_iter().map(|listener| listener.address).collect()
}

pub(super) fn loops(facts: &Facts) -> Vec<Finding> {
    const ID: &str = "loop";
    let ours = own(facts);
    let upstreams = facts.upstreams();
    let mut findings = Vec::new();
    for (upstream, by) in &upstreams {
        if let Some(reason) = leads_back(upstream, facts, &ours) {
            let cure = "write the resolvers to ask in callsign.toml: [server] upstreams = [\"192.0.2.53\"]; on a host with \
                        systemd-resolved, resolv_conf = \"/run/systemd/resolve/resolv.conf\", and take callsign out of its `DNS=`";
            findings.push(Finding::problem(
                ID,
                format!("an upstream leads back to callsign: {reason} ({by} names it)"),
                cure,
            ));
        }
    }
    if findings.is_empty() {
        findings.push(match upstreams.len() {
            0 => Finding::skipped(ID, "loops: there is no upstream"),
            _ => Finding::ok(ID, "no upstream leads back to callsign"),
        });
    }
    findings
}

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    const ID: &str = "upstreams";
    let ours = own(facts);
    let upstreams: Vec<_> = facts.upstreams();
    if upstreams.is_empty() {
        let message = "there is no upstream: names that no container has are not answered";
        return vec![Finding::problem(
            ID,
            message,
            "write [server] upstreams = [\"192.0.2.53\"] in callsign.toml, or a nameserver in /etc/resolv.conf",
        )];
    }
    let asked: Vec<_> =
        upstreams.into_iter().filter(|(upstream, _)| leads_back(upstream, facts, &ours).is_none()).collect();
    if asked.is_empty() {
        return vec![Finding::skipped(ID, "upstreams: all of them are callsign itself")];
    }
    let answers = block_on(async {
        let tasks: Vec<_> = asked.iter().map(|(upstream, _)| tokio::spawn(ask(upstream.clone()))).collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap_or_else(|error| Err(error.to_string())));
        }
        answers
    });
    let answers = match answers {
        Ok(answers) => answers,
        Err(error) => return vec![Finding::skipped(ID, format!("upstreams: {error}"))],
    };
    let answering: Vec<String> = asked
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer.is_ok())
        .map(|((upstream, _), _)| upstream.to_string())
        .collect();
    let mut findings: Vec<Finding> = asked
        .iter()
        .zip(&answers)
        .filter_map(|((upstream, by), answer)| {
            let reason = answer.as_ref().err()?;
            let message = format!("upstream {upstream} does not answer: {reason} ({by} names it)");
            let cure = if is_about_time(reason) {
                format!(
                    "its certificate is not valid now, and the clock of this host says {}: set the clock (`timedatectl set-ntp true`), \
                     or have the server renew its certificate",
                    utc(SystemTime::now())
                )
            } else {
                format!(
                    "check that this host reaches {} (routes, firewall, VPN), or name another upstream in callsign.toml: [server] upstreams",
                    place(upstream)
                )
            };
            // As long as one answers, names are found, only later.
            Some(if answering.is_empty() { Finding::problem(ID, message, cure) } else { Finding::warning(ID, message, cure) })
        })
        .collect();
    if !answering.is_empty() {
        findings.push(Finding::ok(ID, format!("upstreams answer: {}", answering.join(", "))));
    }
    findings
}

/// Asks one upstream; the text is what it did instead of answering.
async fn ask(upstream: Upstream) -> Result<(), String> {
    let options = ForwardOptions {
        upstreams: Upstreams::List(vec![upstream]),
        cache_size: 0,
        timeout: PATIENCE,
        ..ForwardOptions::default()
    };
    let forwarder = Arc::new(Forwarder::new(options));
    let question = Question { question: QUESTION.to_vec(), flags: 0, dnssec_ok: false };
    let choice = forwarder.choose(&[0], &[]);
    // An error is an answer, too: it may not like this question.
    match forwarder.ask(&question, &choice).await {
        Ok(_) => Ok(()),
        Err(failure) if failure.detail.is_empty() => Err(failure.text.into_owned()),
        Err(failure) => Err(failure.detail),
    }
}

/// True if a certificate is refused for its dates.
fn is_about_time(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    ["expired", "not valid yet", "notvalidyet"].iter().any(|word| reason.contains(word))
}

pub(super) fn clock(_facts: &Facts) -> Vec<Finding> {
    let built = env!("CALLSIGN_BUILD_TIME").parse().unwrap_or_default();
    vec![clock_at(SystemTime::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(built))]
}

fn clock_at(now: SystemTime, built: SystemTime) -> Finding {
    const ID: &str = "clock";
    if now < built {
        let message = format!(
            "the clock of this host says {}, which is before callsign was built ({}): certificates of encrypted upstreams are refused",
            utc(now),
            utc(built)
        );
        return Finding::problem(ID, message, "set the clock: `timedatectl set-ntp true`, or `date -s`");
    }
    Finding::ok(ID, format!("the clock says {}", utc(now)))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_clock_before_the_build_is_wrong() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let finding = clock_at(at(0), at(1_795_563_657));
        assert_eq!(finding.verdict, Verdict::Problem);
        assert!(finding.message.starts_with("the clock of this host says 1970-01-01 00:00:00 UTC"), "{finding:?}");
        assert_eq!(clock_at(at(1_795_563_657), at(1_795_563_657)).verdict, Verdict::Ok);
        assert_eq!(clock(&Facts::default())[0].verdict, Verdict::Ok);
    }

    #[test]
    fn a_certificate_that_is_out_of_date_is_told_from_others() {
        assert!(is_about_time(
            "invalid peer certificate: certificate expired: verification time 1, certificate is not valid after 0"
        ));
        assert!(is_about_time("invalid peer certificate: certificate not valid yet: verification time 1"));
        assert!(!is_about_time("invalid peer certificate: UnknownIssuer") && !is_about_time("timed out"));
    }
}
