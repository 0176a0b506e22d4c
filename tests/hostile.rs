//! A hostile upstream: PolarDNS, a server made to break resolvers, with every example that its own documentation has of each
//! of its responses and modifiers (over 400), over UDP and over TCP. Nobody crashes or hangs, nothing grows without bound,
//! and a client gets either a message that is whole or an error that says what happened.
//!
//! `pip install polardns` (MIT) in a virtual environment on the PATH; `tests/all` does it.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callsign::forward::{Asked, AskedEdns, ForwardOptions, Forwarder, Question, relay};
use callsign::wire::message::{Header, flag, records};
use callsign::wire::{Name, rcode, rtype};
use support::free_port;
use support::needs;
use support::process::{Process, Source, run};

/// The time for one question.
const TIMEOUT: Duration = Duration::from_millis(400);
/// What a busy machine may add to it.
const GRACE: Duration = Duration::from_secs(20);

/// PolarDNS, from a copy of its package: its address is in a file of it.
struct Polar {
    address: SocketAddr,
    /// Type and name of each example.
    examples: BTreeSet<(u16, String)>,
    _process: Process,
    _directory: tempfile::TempDir,
}

impl Polar {
    fn start() -> Polar {
        let program = needs::find("polardns").expect("it was looked for");
        let python = program.parent().unwrap().join("python3");
        let mut find = Command::new(&python);
        find.args(["-c", "import polardns; print(polardns.__path__[0])"]);
        let package = run(find).expect_success().stdout;
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("polardns");
        let mut cp = needs::command("cp");
        cp.arg("-r").arg(package.trim()).arg(&copy);
        run(cp).expect_success();
        let address = SocketAddr::new("127.0.0.1".parse().unwrap(), free_port(&["127.0.0.1".parse().unwrap()]));
        let config = fs::read_to_string(copy.join("polardns.toml")).unwrap();
        fs::write(copy.join("polardns.toml"), config.replace("0.0.0.0:53", &address.to_string())).unwrap();
        let mut command = Command::new(&python);
        command.args(["-u", "-c", "from polardns.core import main; main()"]).env("PYTHONPATH", directory.path());
        // It writes `polardns_real.py` into its working directory.
        command.current_dir(directory.path());
        let process = Process::spawn(command);
        process.wait_for(Source::Stdout, "listener at udp://");
        Polar { address, examples: examples(&copy.join("modules")), _process: process, _directory: directory }
    }
}

/// `command = "dig AAAA always.10.yourdomain.com @127.0.0.1 +tcp"` of each module's file.
fn examples(modules: &Path) -> BTreeSet<(u16, String)> {
    let files = fs::read_dir(modules).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "toml"));
    let text: String = files.map(|file| fs::read_to_string(file).unwrap()).collect();
    let commands = text.lines().filter_map(|line| line.strip_prefix("command = \"dig "));
    let example = |command: &str| {
        let words = command.trim_end_matches('"').split_whitespace().map(|word| word.replace("${RANDOM}", "1"));
        let (mut rtype, mut name) = (rtype::A, None);
        for word in words.filter(|word| !word.starts_with(['@', '+', '-'])) {
            match rtype::parse(&word) {
                Some(known) => rtype = known,
                None => name = name.or(Some(word)),
            }
        }
        name.filter(|name| name.parse::<Name>().is_ok()).map(|name| (rtype, name))
    };
    commands.filter_map(example).collect()
}

/// What becomes of one question, in a word or two.
async fn ask(forwarder: Arc<Forwarder>, rtype: u16, name: String) -> String {
    let name: Name = name.parse().unwrap();
    let question = [name.as_wire(), &rtype.to_be_bytes(), &[0, 1]].concat();
    let choice = forwarder.choose(name.as_wire(), &[]);
    let asked = Question { question: question.clone(), flags: flag::RD, dnssec_ok: true };
    let start = Instant::now();
    let result = forwarder.resolve(&asked, &choice).await;
    assert!(start.elapsed() < TIMEOUT + GRACE, "{name} took {:?}", start.elapsed());
    let reply = match result {
        Ok(reply) => reply,
        Err(failure) => {
            // A failure that is remembered has the code of the first time: the upstream's, where it had one.
            let is_error = !matches!(failure.rcode, rcode::NOERROR | rcode::NXDOMAIN);
            assert!(is_error && !failure.text.is_empty(), "{name}: {failure:?}");
            return format!("error {}: {}", failure.ede, failure.text.split_once(": ").map_or("", |(_, said)| said));
        }
    };
    for limit in [512, 1232, 65_535] {
        let edns = Some(AskedEdns { dnssec_ok: true, options: &[] });
        let asked = Asked { id: 7, flags: flag::RD, question: &question, limit, edns, aliases: &[] };
        let mut out = Vec::new();
        if relay(&reply, &asked, &mut out).is_err() {
            return "refused as it is relayed".to_owned();
        }
        let header = Header::read(&out).expect("a header");
        assert!(out.len() <= limit && header.id == 7 && out[12..].starts_with(&question), "{name}");
        assert!(records(&out).all(|record| record.is_ok()), "{name}");
    }
    format!("relayed {}", rcode::mnemonic(Header::read(&reply).unwrap().rcode()))
}

/// Pages of this process in memory, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of VmRSS");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn everything_that_polardns_can_do() {
    needs!("polardns");
    let polar = Polar::start();
    assert!(polar.examples.len() > 300, "{} examples", polar.examples.len());
    let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
    let mut grown = 0;
    for upstream in [polar.address.to_string(), format!("tcp://{}", polar.address)] {
        let upstreams = vec![upstream.parse().unwrap()].into();
        let options = ForwardOptions { timeout: TIMEOUT, upstreams, cache_size: 1 << 20, ..ForwardOptions::default() };
        let forwarder = Arc::new(Forwarder::new(options));
        for round in 0..2 {
            let before = resident();
            let mut waiting = tokio::task::JoinSet::new();
            for (rtype, name) in &polar.examples {
                // As many at a time as a Python server bears.
                if waiting.len() >= 8 {
                    *outcomes.entry(waiting.join_next().await.unwrap().unwrap()).or_default() += 1;
                }
                waiting.spawn(ask(forwarder.clone(), *rtype, name.clone()));
            }
            while let Some(outcome) = waiting.join_next().await {
                *outcomes.entry(outcome.unwrap()).or_default() += 1;
            }
            if round > 0 {
                grown = grown.max(resident().saturating_sub(before));
            }
        }
        // It still serves after all that.
        assert_eq!(ask(forwarder.clone(), rtype::A, "always77.yourdomain.com".into()).await, "relayed NOERROR");
    }
    println!("{} examples; {outcomes:#?}; grown by {grown} KiB in the second round", polar.examples.len());
    assert!(grown < 16 * 1024, "grown by {grown} KiB in the second round");
    assert!(outcomes.keys().any(|outcome| outcome.starts_with("error")), "some of it is an error");
}
