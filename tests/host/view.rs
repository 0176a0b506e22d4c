//! `[host]`: where it listens, what it answers, and that both follow the file.

use callsign::wire::rtype;

use crate::support::client::{Client, Query};
use crate::support::process::{Finished, Process, Source, run, run_with_input};
use crate::support::program::{CALLSIGN, Program, callsign};
use crate::support::sockets::listening;
use crate::support::{free_port, needs};
use crate::{HOST, answers, ask, ip, needs};

const SHOP: &str = "[[network]]
name = \"shop\"
listen = [\"127.0.0.56\"]
subnets = [\"10.10.1.0/24\"]
endpoint = [
  { id = \"shop-web-1\", names = [\"web\"], addresses = [\"10.10.1.4\"], ports = [
    { name = \"http\", port = 80, published = [\"0.0.0.0:8080\", \"[::]:8080\"] },
  ] },
  { id = \"shop-db-1\", names = [\"db\"], addresses = [\"10.10.1.3\"] },
]
";

fn config(port: u16, host: &str) -> String {
    format!("[server]\nport = {port}\nupstreams = [\"127.0.0.66:1\"]\n{host}\n{SHOP}")
}

fn port() -> u16 {
    free_port(&["127.0.0.54", HOST, "127.0.0.56", "127.0.0.57"].map(ip))
}

const WEB: &str = "web.shop.containers.internal";

#[test]
fn v6_the_host_finds_every_network_at_its_own_listener() {
    let port = port();
    let program = Program::with(&config(port, "[host]")).start();
    assert_eq!(answers(HOST, port, WEB, rtype::A), ["10.10.1.4"]);
    assert_eq!(answers(HOST, port, "4.1.10.10.in-addr.arpa", rtype::PTR), [WEB]);
    assert_eq!(answers(HOST, port, "web.shop", rtype::A), ["REFUSED"]);
    // Nothing is forwarded, which the upstream of this configuration would have told by a SERVFAIL.
    let outside = ask(HOST, port, "www.example.com", rtype::A);
    assert_eq!(outside.status(), "REFUSED");
    assert_eq!(
        outside.extended_errors(),
        [(20, "the host view has names below containers.internal only, and forwards nothing".to_owned())]
    );
    // Over TCP, too.
    let tcp = Client::new((ip(HOST), port).into()).tcp(&Query::new(WEB, rtype::A));
    assert_eq!(tcp.addresses(), [ip("10.10.1.4")]);
    program.wait_for(Source::Stderr, "host view is served");
    // The networks' own listeners know nothing of it.
    assert_eq!(answers("127.0.0.56", port, "web", rtype::A), ["10.10.1.4"]);
    assert_eq!(answers("127.0.0.56", port, WEB, rtype::A), ["SERVFAIL"]);
}

#[test]
fn v6_a_reload_changes_where_and_what_and_keeps_sockets_that_stay() {
    let port = port();
    let program = Program::with(&config(port, "[host]")).start();
    let sockets = |listen: &str| listening(program.pid(), (ip(listen), port).into());
    let before = sockets(HOST);
    assert_eq!(before.len(), 2);
    program.reload_by_change(&config(port, "[host]\ndomain = \"test\"\nlisten = [\"127.0.0.55\", \"127.0.0.57\"]"));
    assert_eq!(sockets(HOST), before, "the same sockets");
    for listen in [HOST, "127.0.0.57"] {
        assert_eq!(answers(listen, port, "web.shop.test", rtype::A), ["10.10.1.4"]);
        assert_eq!(answers(listen, port, WEB, rtype::A), ["REFUSED"]);
    }
    program.reload_by_change(&config(port, "[host]\nlisten = \"127.0.0.57\"\nanswer = \"published\""));
    assert_eq!(sockets(HOST), Vec::<String>::new());
    assert_eq!(answers("127.0.0.57", port, WEB, rtype::A), ["127.0.0.1"]);
    assert_eq!(answers("127.0.0.57", port, WEB, rtype::AAAA), ["::1"]);
    let http = "_http._tcp.web.shop.containers.internal";
    assert_eq!(
        ask("127.0.0.57", port, http, rtype::SRV).answers()[0].split_whitespace().rev().take(2).collect::<Vec<_>>(),
        ["shop-web-1.shop.containers.internal.", "8080"]
    );
    let db = ask("127.0.0.57", port, "db.shop.containers.internal", rtype::A);
    assert_eq!(db.extended_errors(), [(0, "db publishes no port that is known here".to_owned())]);
    // A file with a mistake changes nothing.
    program.reload_by_change(&config(port, "[host]\nanswer = \"all\""));
    program.wait_for(Source::Stderr, "`answer` is \"all\"; write \"containers\" or \"published\"");
    assert_eq!(answers("127.0.0.57", port, WEB, rtype::A), ["127.0.0.1"]);
    program.reload_by_change(&config(port, ""));
    assert_eq!(sockets("127.0.0.57"), Vec::<String>::new());
    assert_eq!(answers("127.0.0.56", port, "web", rtype::A), ["10.10.1.4"]);
}

#[test]
fn v6_an_address_goes_from_the_host_view_to_a_network_and_back() {
    let port = port();
    let other = format!(
        "[server]\nport = {port}\n[[network]]\nname = \"host view\"\nlisten = [\"{HOST}\"]\nendpoint = [{{ id = \"a\", addresses = [\"10.9.9.9\"] }}]\n"
    );
    let program = Program::with(&config(port, "[host]")).start();
    for _ in 0..2 {
        // A network may be called anything, even so.
        program.reload_by_change(&other);
        assert_eq!(answers(HOST, port, "a", rtype::A), ["10.9.9.9"]);
        program.reload_by_change(&config(port, "[host]"));
        assert_eq!(answers(HOST, port, WEB, rtype::A), ["10.10.1.4"]);
    }
    // Both at once is a mistake of the file.
    let both = format!("{}\n[[network]]\nname = \"x\"\nlisten = [\"{HOST}\"]\n", config(port, "[host]"));
    let checked = check(&both);
    assert!(checked.stderr.contains(&format!("{HOST}:{port} is listened on already (line 4)")), "{}", checked.stderr);
}

/// A program that makes the sockets of a `.socket` unit, and becomes the program under test.
const ACTIVATE: &str = r#"
import os, socket, sys
address, port, path, program = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
sockets = [socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
for one in sockets:
    one.bind((address, port))
sockets[1].listen()
# Out of the way of the places that they go to.
high = [os.dup2(one.fileno(), 50 + index) for index, one in enumerate(sockets)]
for index, one in enumerate(high):
    os.dup2(one, 3 + index, inheritable=True)
print(" ".join(str(os.fstat(3 + index).st_ino) for index in range(2)), flush=True)
os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()))
os.execv(program, [program, "serve", "--config", path])
"#;

#[test]
fn v6_sockets_of_the_service_manager_are_used() {
    needs!("python3");
    let port = port();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callsign.toml");
    std::fs::write(&file, config(port, "[host]")).unwrap();
    let mut command = needs::command("python3");
    command.args(["-c", ACTIVATE, HOST, &port.to_string()]).arg(&file).arg(CALLSIGN);
    let process = Process::spawn(command);
    process.wait_for(Source::Stderr, "host view is served");
    assert_eq!(answers(HOST, port, WEB, rtype::A), ["10.10.1.4"]);
    // Those that were handed in, and no others beside them.
    let own = listening(process.pid(), (ip(HOST), port).into());
    assert_eq!(own.join(" "), process.lines(Source::Stdout).concat());
}

fn check(config: &str) -> Finished {
    run_with_input(callsign(&["check", "-"]), config)
}

#[test]
fn v6_mistakes_of_the_section_are_told_with_their_lines() {
    let checked = check(
        "[host]\nlisten = [\"127.0.0.300\", \"224.0.0.1\"]\ndomain = \"a..b\"\nanswer = true\nallow = []\nports = 1\n\
         [podman]\ndirectory = \"run\"\n[[network]]\nname = \"a\"\nlisten = [\"127.0.0.1\"]\n\
         endpoint = [{ id = \"x\", ports = [{ port = 1, published = [\"127.0.0.1\"] }] }]\n",
    );
    for line in [
        ":2: \"127.0.0.300\" is not an address",
        ":2: nobody can listen on 224.0.0.1; write listen = \"127.0.0.55\"",
        ":3: \"a..b\" has an empty label; write domain = \"containers.internal\"",
        ":4: `answer` cannot be true or false; write answer = \"published\"",
        ":5: `allow` is empty; leave it out for the host itself",
        ":6: unknown key `ports` in [host]",
        ":8: `directory` is \"run\"; write directory = \"/run/containers/networks/aardvark-dns\"",
        ":12: \"127.0.0.1\" is not where a port can be published; write 127.0.0.1:8080 or [::1]:8080",
    ] {
        assert!(checked.stderr.contains(line), "{line}: {}", checked.stderr);
    }
    let checked = check("[podman]\ndirectory = \"/run/x\"\n");
    assert!(
        checked.stderr.contains("in the host view only, and there is none; write [host], too"),
        "{}",
        checked.stderr
    );
    let checked = check("[host]\ndomain = \"com\"\n");
    assert!(checked.stderr.contains("`com` is a public top-level domain"), "{}", checked.stderr);
    let checked = check(&config(53, "[host]\ndomain = \"test\"\nanswer = \"published\""));
    for line in ["host view", "  listens     127.0.0.55:53", "  domain      test", "  answers     published ports"] {
        assert!(checked.stdout.contains(line), "{line}: {}", checked.stdout);
    }
}

#[test]
fn v6_explain_from_the_host() {
    let port = port();
    let program = Program::with(&config(port, "[host]")).start();
    let file = program.config_path().display().to_string();
    let socket = program.control().display().to_string();
    // Of the file, and of the server that runs.
    for place in [["--config", &file], ["--socket", &socket]] {
        let explain = |name: &str| {
            let mut arguments = vec!["explain", name, "--from", "host"];
            arguments.extend(place);
            run(callsign(&arguments)).expect_success().stdout
        };
        let text = explain(WEB);
        for line in [
            &format!("The host gets 10.10.1.4 for {WEB}."),
            "It is on network shop.",
            &format!("listener  {HOST}:{port} of the host view"),
            "searched  shop: web, matched as it stands: shop-web-1",
            "decision  NOERROR, 1 answer (rule V6)",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let text = explain("www.example.com");
        assert!(
            text.contains("The host view has names below containers.internal only, and asks nobody else."),
            "{text}"
        );
        let text = explain("nothere.shop.containers.internal");
        assert!(text.contains("Names are NAME.NETWORK.containers.internal, or SERVICE.PROJECT"), "{text}");
    }
    let failed = run(callsign(&["explain", "db", "--from", "host", "--config", "examples/two-networks.toml"]));
    assert!(failed.stderr.contains("there is no host view; write [host]"), "{}", failed.stderr);
}
