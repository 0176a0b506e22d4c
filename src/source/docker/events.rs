//! What an event of the engine means: which addresses go off at once, and what is to be asked anew. Pure.
//!
//! No meaning depends on the order of events: today's engines send `disconnect` before `die`, older ones after it, and any
//! may come twice or not at all (docker.md §3).

use std::collections::BTreeMap;

use serde::Deserialize;

/// The types and actions that are subscribed to. Each probe of a health check makes three more events, which are not.
/// Podman reports `die`, but filters by its own name for it, `died`.
pub(super) const FILTERS: &str = r#"{"type":["container","network"],"event":["create","start","die","died","rename","pause","unpause","connect","disconnect","destroy","remove","update","health_status"]}"#;
/// Ids have 64 or 25 characters.
const MAX_ID: usize = 128;

/// An event, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) change: Change,
    /// When it happened, in ns since 1970 by the engine's clock; 0 if it does not say.
    pub(super) time: i64,
}

/// What happened. Ids are of containers and networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A container was created.
    Created(String),
    /// A container changed.
    Changed(String),
    /// A container's process ended: it has no addresses any more.
    Ended(String),
    /// A container is gone.
    Removed(String),
    /// A container got an address on a network.
    Connected { container: String, network: String },
    /// A container has no address on a network any more.
    Disconnected { container: String, network: String },
    /// A network is there, or changed.
    NetworkChanged(String),
    /// A network is gone.
    NetworkRemoved(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Message {
    r#type: String,
    action: String,
    actor: Actor,
    #[serde(rename = "timeNano")]
    time_nano: i64,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes")]
    attributes: BTreeMap<String, String>,
}

impl Event {
    /// Reads a line of the stream; `None` if it means nothing here, or is no event.
    pub(super) fn parse(line: &[u8]) -> Option<Event> {
        let Message { r#type, action, actor: Actor { id, mut attributes }, time_nano: time } =
            serde_json::from_slice(line).ok()?;
        let is_id = |id: &String| !id.is_empty() && id.len() <= MAX_ID;
        let id = Some(id).filter(is_id)?;
        let container = attributes.remove("container").filter(is_id);
        let change = match (r#type.as_str(), action.as_str(), container) {
            ("container", "create", _) => Change::Created(id),
            ("container", "die", _) => Change::Ended(id),
            // The second is Podman's word for it.
            ("container", "destroy" | "remove", _) => Change::Removed(id),
            // Also `health_status: healthy`, and what is not known yet: looking is never wrong.
            ("container", ..) => Change::Changed(id),
            ("network", "connect", Some(container)) => Change::Connected { container, network: id },
            ("network", "disconnect", Some(container)) => Change::Disconnected { container, network: id },
            // Podman says the container's id only.
            ("network", "connect" | "disconnect", None) => Change::Changed(id),
            ("network", "create" | "update", _) => Change::NetworkChanged(id),
            ("network", "destroy" | "remove", _) => Change::NetworkRemoved(id),
            _ => return None,
        };
        Some(Event { change, time })
    }
}

/// A time such as `2026-11-24T18:40:19.685497249Z` in ns since 1970; `None` for what is none, and for year 1, which stands
/// for "never".
pub(super) fn nanoseconds(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let rest = text.get(19..)?;
    let fraction = rest.strip_prefix('.').unwrap_or("");
    let digits = fraction.len() - fraction.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let nanos: i64 = if digits == 0 { 0 } else { format!("{:0<9.9}", &fraction[..digits]).parse().ok()? };
    let zone = if digits == 0 { rest } else { &fraction[digits..] };
    let offset = match zone {
        "Z" => 0,
        _ => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            sign * (hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?) * 60
        }
    };
    if !(1970..2200).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    // Days since 1970-03-01, with years that begin in March, so that the leap day is a year's last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some((days * 86_400 + hour * 3_600 + minute * 60 + second - offset) * 1_000_000_000 + nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Change> {
        Event::parse(text.as_bytes()).map(|event| event.change)
    }

    fn event(kind: &str, action: &str, attributes: &str) -> Option<Change> {
        parse(&format!(
            r#"{{"Type":"{kind}","Action":"{action}","Actor":{{"ID":"x1","Attributes":{{{attributes}}}}},"timeNano":7}}"#
        ))
    }

    #[test]
    fn what_an_event_means() {
        let x1 = || "x1".to_owned();
        assert_eq!(event("container", "die", ""), Some(Change::Ended(x1())));
        for action in ["destroy", "remove"] {
            assert_eq!(event("container", action, ""), Some(Change::Removed(x1())), "{action}");
            assert_eq!(event("network", action, ""), Some(Change::NetworkRemoved(x1())), "{action}");
        }
        assert_eq!(event("container", "create", ""), Some(Change::Created(x1())));
        for action in ["start", "rename", "pause", "health_status: healthy", "init", "cleanup"] {
            assert_eq!(event("container", action, r#""name":"e1new","oldName":"/e1""#), Some(Change::Changed(x1())));
        }
        let at = r#""container":"c1","name":"n1","type":"bridge""#;
        let (container, network) = ("c1".to_owned(), x1());
        assert_eq!(
            event("network", "connect", at),
            Some(Change::Connected { container: container.clone(), network: network.clone() })
        );
        assert_eq!(event("network", "disconnect", at), Some(Change::Disconnected { container, network }));
        assert_eq!(event("network", "create", ""), Some(Change::NetworkChanged(x1())));
        assert_eq!(event("network", "prune", ""), None);
        assert_eq!(event("service", "update", ""), None);
    }

    #[test]
    fn podman_7_1_a_connect_without_its_network_is_a_changed_container() {
        let podman = r#"{"status":"connect","id":"7ae6","Type":"network","Action":"connect","Actor":{"ID":"7ae6","Attributes":{"containerExitCode":"0","image":"","name":"pe1","podId":""}}}"#;
        assert_eq!(parse(podman), Some(Change::Changed("7ae6".to_owned())));
        assert_eq!(parse(&podman.replace("connect", "disconnect")), Some(Change::Changed("7ae6".to_owned())));
    }

    #[test]
    fn what_is_no_event_means_nothing() {
        for text in ["", "{", "[]", "{}", r#"{"Type":"container","Action":"die"}"#, r#"{"Type":5}"#, "\u{1}"] {
            assert_eq!(parse(text), None, "{text}");
        }
        let long = format!(r#"{{"Type":"container","Action":"die","Actor":{{"ID":"{}"}}}}"#, "a".repeat(129));
        assert_eq!(parse(&long), None);
    }

    #[test]
    fn times() {
        assert_eq!(nanoseconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(nanoseconds("2026-11-24T18:40:19.685497249Z"), Some(1_795_545_619_685_497_249));
        assert_eq!(nanoseconds("2026-11-24T20:40:19.5+02:00"), Some(1_795_545_619_500_000_000));
        assert_eq!(nanoseconds("2024-02-29T00:00:00Z"), Some(1_709_164_800_000_000_000));
        for text in ["0001-01-01T00:00:00Z", "", "now", "2026-11-24", "2026-11-24T18:40:19.5", "2026-11-24T18:40:19é"]
        {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
    }
}
