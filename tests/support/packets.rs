//! What becomes of the packets of a namespace: some are lost, all are lost, or those to a port are counted. By nftables,
//! which every kernel has; netem is missing from many.

use super::netns::Namespace;
use super::process::run_with_input;

/// Loses `percent` of the packets at random, each way, from now on; 0 for none.
pub fn lose(place: &Namespace, percent: u32) {
    let rule = |chain: &str| match percent {
        0 => String::new(),
        1..100 => format!("add rule inet loss {chain} numgen random mod 100 < {percent} drop\n"),
        100.. => format!("add rule inet loss {chain} drop\n"),
    };
    let rules = rule("in") + &rule("out");
    nft(
        place,
        &format!(
            "add table inet loss\ndelete table inet loss\nadd table inet loss\n\
             add chain inet loss in {{ type filter hook input priority 0; }}\n\
             add chain inet loss out {{ type filter hook output priority 0; }}\n{rules}"
        ),
    );
}

/// Counts the packets that arrive for `port`, UDP and TCP, from now on; see [`counted`].
pub fn count(place: &Namespace, port: u16) {
    nft(
        place,
        &format!(
            "add table inet count{port}\ndelete table inet count{port}\nadd table inet count{port}\nadd counter inet count{port} seen\n\
             add chain inet count{port} in {{ type filter hook prerouting priority -300; }}\n\
             add rule inet count{port} in meta l4proto {{ tcp, udp }} th dport {port} counter name seen\n"
        ),
    );
}

/// How many packets have arrived for `port` since [`count`].
pub fn counted(place: &Namespace, port: u16) -> u64 {
    let text = nft(place, &format!("list counter inet count{port} seen\n"));
    let (_, rest) = text.split_once("packets ").unwrap_or_else(|| panic!("no counter: {text}"));
    rest.split_whitespace().next().and_then(|packets| packets.parse().ok()).expect("a number of packets")
}

#[track_caller]
fn nft(place: &Namespace, commands: &str) -> String {
    let mut command = place.command("nft");
    command.args(["-f", "-"]);
    run_with_input(command, commands).expect_success().stdout
}
