//! A cluster of etcd, and hosts that share names through it: this program's own library, each host with a table and a thread in
//! a namespace of its own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use callsign::responder::{Client, Listener, Responder, ResponderOptions, Verdict};
use callsign::settings::{ClaimStatus, LinkStatus, StoreOptions, StoreStatus};
use callsign::source::etcd::{Machine, Store};
use callsign::table::{Endpoint, EndpointBuilder, NameTable, Network, NetworkBuilder, Reach, Sharing};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::support::DEADLINE;
use crate::support::netns::{Bridge, Lab, Namespace};
use crate::support::process::{Process, Source};

/// The TTL of hosts: the shortest that is allowed.
pub(crate) const TTL: Duration = Duration::from_secs(5);

/// Members of etcd on one bridge, and places for hosts.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    bridge: Bridge,
    lab: Lab,
    directory: TempDir,
    scheme: &'static str,
    extra: Vec<String>,
}

/// A member: a namespace, and the process in it while it runs.
pub(crate) struct Member {
    pub(crate) namespace: Namespace,
    pub(crate) address: String,
    number: usize,
    process: Option<Process>,
}

impl Cluster {
    /// A cluster that answers.
    pub(crate) fn of(members: usize) -> Cluster {
        Cluster::with(members, "http", |_| Vec::new())
    }

    /// The same with more arguments, made in the directory where the cluster lives.
    pub(crate) fn with(members: usize, scheme: &'static str, arguments: impl Fn(&Path) -> Vec<String>) -> Cluster {
        let lab = Lab::new();
        let bridge = lab.bridge("cluster", &["10.77.0.254/24"]);
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let directory = TempDir::with_prefix_in("callsign-etcd-", place).unwrap();
        let member = |number: usize| {
            let address = format!("10.77.0.{number}");
            let namespace = lab.container(&format!("etcd{number}"), &[(&bridge, &[&format!("{address}/24")])]);
            Member { namespace, address, number, process: None }
        };
        let members: Vec<Member> = (1..=members).map(member).collect();
        let extra = arguments(directory.path());
        let mut cluster = Cluster { members, bridge, lab, directory, scheme, extra };
        cluster.start_all("new");
        cluster
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the members that do not run, and waits until each has a leader.
    pub(crate) fn start_all(&mut self, state: &str) {
        let peers: Vec<String> =
            self.members.iter().map(|member| format!("m{}=http://{}:2380", member.number, member.address)).collect();
        let peers = peers.join(",");
        for at in 0..self.members.len() {
            if self.members[at].process.is_none() {
                self.spawn(at, &peers, state);
            }
        }
        for member in &self.members {
            let process = member.process.as_ref().unwrap();
            process.wait_for(Source::Stderr, "serving client traffic");
        }
    }

    fn spawn(&mut self, at: usize, peers: &str, state: &str) {
        let Member { address, number, .. } = &self.members[at];
        let (client, peer) = (format!("{}://{address}:2379", self.scheme), format!("http://{address}:2380"));
        let data = self.data(at);
        let mut words = vec![
            "etcd".to_owned(),
            format!("--name=m{number}"),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={peers}"),
            format!("--initial-cluster-state={state}"),
            "--initial-cluster-token=test".to_owned(),
            "--logger=zap".to_owned(),
        ];
        words.extend(self.extra.iter().cloned());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let process = self.members[at].namespace.spawn(&words);
        self.members[at].process = Some(process);
    }

    /// Where a member keeps its data.
    pub(crate) fn data(&self, at: usize) -> PathBuf {
        self.path().join(format!("m{}", self.members[at].number))
    }

    /// Ends a member at once, as a power failure does.
    pub(crate) fn kill(&mut self, at: usize) {
        let mut process = self.members[at].process.take().expect("it runs");
        process.signal(Signal::SIGKILL);
        process.wait_exit(DEADLINE);
    }

    pub(crate) fn signal(&self, at: usize, signal: Signal) {
        self.members[at].process.as_ref().expect("it runs").signal(signal);
    }

    /// The members as a host is told of them.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("{}://{}:2379", self.scheme, member.address)).collect()
    }

    /// `etcdctl` at one member.
    #[track_caller]
    pub(crate) fn etcdctl_at(&self, at: usize, words: &[&str]) -> String {
        let member = &self.members[at];
        let endpoint = format!("--endpoints={}://{}:2379", self.scheme, member.address);
        // etcdctl(1) of Debian speaks version 2 unless told otherwise.
        let mut command = vec!["env", "ETCDCTL_API=3", "etcdctl", &endpoint];
        command.extend(words);
        member.namespace.run(&command).expect_success().stdout
    }

    #[track_caller]
    pub(crate) fn etcdctl(&self, words: &[&str]) -> String {
        self.etcdctl_at(0, words)
    }

    /// Puts a value that has any octets.
    #[track_caller]
    pub(crate) fn put(&self, key: &str, value: &str) {
        self.etcdctl(&["put", "--", key, value]);
    }

    /// The keys that there are.
    #[track_caller]
    pub(crate) fn keys(&self) -> BTreeSet<String> {
        let text = self.etcdctl(&["get", "--prefix", "--keys-only", "/callsign/"]);
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Which member leads.
    #[track_caller]
    pub(crate) fn leader(&self) -> usize {
        let deadline = Instant::now() + DEADLINE;
        loop {
            for at in (0..self.members.len()).filter(|at| self.members[*at].process.is_some()) {
                let text = self.etcdctl_at(at, &["endpoint", "status", "--write-out=fields"]);
                let number = |field: &str| {
                    let line = text.lines().find(|line| line.starts_with(&format!("\"{field}\"")))?;
                    line.rsplit(':').next().map(|number| number.trim().to_owned())
                };
                if number("MemberID").is_some() && number("MemberID") == number("Leader") {
                    return at;
                }
            }
            assert!(Instant::now() < deadline, "no leader");
        }
    }

    /// A place for a host: `10.77.0.11` for `host-a`.
    pub(crate) fn place(&self, name: &str) -> Arc<Namespace> {
        Arc::new(self.lab.container(name, &[(&self.bridge, &[&format!("{}/24", address_of(name))])]))
    }

    /// Connects a machine of another lab to the cluster, under this address.
    pub(crate) fn join(&self, machine: &Namespace, address: &str) {
        let end = format!("to{}", address.rsplit('.').next().unwrap_or_default());
        self.lab.host().configure(&format!(
            "link add {end} type veth peer name uplink netns {}\nlink set {end} master cluster up\n",
            machine.name()
        ));
        machine.configure(&format!("address add {address}/24 dev uplink\nlink set uplink up\n"));
    }

    /// A host with these networks.
    pub(crate) fn host(&self, name: &str, networks: Vec<NetworkBuilder>) -> Host {
        self.host_with(name, networks, |_| {})
    }

    pub(crate) fn host_with(
        &self,
        name: &str,
        networks: Vec<NetworkBuilder>,
        change: impl FnOnce(&mut StoreOptions),
    ) -> Host {
        let mut options = self.options(name);
        change(&mut options);
        Host::start(self.place(name), &machine(name), options, networks)
    }

    /// What a host is told.
    pub(crate) fn options(&self, name: &str) -> StoreOptions {
        let mut options = StoreOptions::new(name, self.urls());
        (options.ttl, options.hold, options.linger) = (TTL, 2 * TTL, Duration::from_secs(4));
        options
    }

    /// Lets no packet of a member reach these addresses, or lets them through again. What is sent to it is not answered either,
    /// as behind a firewall that drops.
    pub(crate) fn drop_from(&self, at: usize, addresses: &[String], is_dropped: bool) {
        let action = if is_dropped { "add" } else { "delete" };
        let commands: String =
            addresses.iter().map(|address| format!("route {action} blackhole {address}/32\n")).collect();
        self.members[at].namespace.configure(&commands);
    }
}

/// The address of a host, by the last letter of its name.
pub(crate) fn address_of(name: &str) -> String {
    format!("10.77.0.{}", 11 + u32::from(name.bytes().last().unwrap_or(b'a') - b'a'))
}

/// Hosts of different names are different machines here.
pub(crate) fn machine(name: &str) -> Machine {
    Machine::new(format!("machine of {name}"), "first")
}

/// A network that is shared by its containers' addresses: `10.88.NUMBER.0/24` is this host's part.
pub(crate) fn routed(name: &str, number: u8) -> NetworkBuilder {
    let mut sharing = Sharing::new(Reach::Container);
    sharing.remote_subnets = vec!["10.88.0.0/16".parse().unwrap()];
    network(name, &format!("10.88.{number}.0/24"), &format!("10.88.{number}.1"), sharing)
}

pub(crate) fn network(name: &str, subnet: &str, gateway: &str, mut sharing: Sharing) -> NetworkBuilder {
    sharing.host = None;
    Network::builder(name).subnet(subnet).listen(gateway).domain("internal").sharing(Some(sharing))
}

pub(crate) fn endpoint(id: &str, address: &str, name: &str) -> EndpointBuilder {
    Endpoint::builder(id).address(address).name(name)
}

/// A host: a table, and a thread that shares it.
pub(crate) struct Host {
    pub(crate) table: NameTable,
    pub(crate) name: String,
    pub(crate) namespace: Arc<Namespace>,
    store: Arc<Mutex<Option<Store>>>,
    /// Ends the thread: true for an orderly stop.
    stop: Option<oneshot::Sender<bool>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Host {
    pub(crate) fn start(
        namespace: Arc<Namespace>,
        machine: &Machine,
        options: StoreOptions,
        networks: Vec<NetworkBuilder>,
    ) -> Host {
        let table = NameTable::new();
        for network in networks {
            table.add(network.build().unwrap()).unwrap();
        }
        let (store, name) = (Arc::new(Mutex::new(None)), options.host.clone());
        let (stop, stopped) = oneshot::channel();
        let file = std::fs::File::open(Path::new("/run/netns").join(namespace.name())).unwrap();
        let (inside, shared, machine) = (table.clone(), store.clone(), machine.clone());
        let thread = thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let started = Store::start_on(&machine, options, &inside).unwrap();
                *shared.lock().unwrap() = Some(started);
                if stopped.await.unwrap_or(false) {
                    let store = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(store) = store {
                        store.shutdown().await;
                    }
                }
            });
        });
        let host = Host { table, name, namespace, store, stop: Some(stop), thread: Some(thread) };
        wait("the store starts", DEADLINE, || host.store.lock().unwrap().is_some());
        host
    }

    pub(crate) fn status(&self) -> StoreStatus {
        self.store.lock().unwrap().as_ref().expect("it runs").status()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.store.lock().unwrap().as_ref().expect("it runs").is_ready()
    }

    /// Waits until it follows the store, and has told it of everything.
    #[track_caller]
    pub(crate) fn settled(&self) -> &Host {
        wait_or(DEADLINE, || self.is_settled(), || format!("{} is not settled: {:#?}", self.name, self.status()));
        self
    }

    pub(crate) fn is_settled(&self) -> bool {
        let status = self.status();
        matches!(status.link, LinkStatus::Live { .. }) && matches!(status.claim, ClaimStatus::Claimed { .. })
    }

    pub(crate) fn network(&self, name: &str) -> Arc<Network> {
        self.table.network(name).unwrap()
    }

    /// Stops in order, and gives its place back.
    pub(crate) fn shut_down(mut self) -> Arc<Namespace> {
        self.end(true)
    }

    /// Ends it as `kill -9` would: nothing is said to anybody.
    pub(crate) fn kill(mut self) -> Arc<Namespace> {
        self.end(false)
    }

    fn end(&mut self, is_orderly: bool) -> Arc<Namespace> {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(is_orderly);
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.namespace.clone()
    }

    /// What a container of a network is told of a name: `A ADDRESSES`, `NODATA (text)`, `NXDOMAIN`, `forwarded`.
    pub(crate) fn ask(&self, network: &str, name: &str) -> String {
        ask(&self.table, network, name, RecordType::A)
    }

    pub(crate) fn ask_for(&self, network: &str, name: &str, rtype: RecordType) -> String {
        ask(&self.table, network, name, rtype)
    }

    /// Waits until a name is answered so.
    #[track_caller]
    pub(crate) fn expect(&self, network: &str, name: &str, answer: &str) {
        self.expect_within(DEADLINE, network, name, answer);
    }

    #[track_caller]
    pub(crate) fn expect_within(&self, within: Duration, network: &str, name: &str, answer: &str) {
        let seen = || self.ask(network, name);
        wait_or(
            within,
            || seen() == answer,
            || format!("{name} at {} is {:?} and not {answer:?}: {:#?}", self.name, seen(), self.status()),
        );
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a client of a network is told.
pub(crate) fn ask(table: &NameTable, network: &str, name: &str, rtype: RecordType) -> String {
    let network = table.network(network).expect("the network is there");
    let settings = network.snapshot().settings().clone();
    let listen = SocketAddr::new(settings.listen[0].ip(), 53);
    let listener = Listener::new(network, listen);
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    query.add_query(Query::query(name, rtype));
    query.set_edns(Edns::new());
    let mut out = [0; 65_535];
    let mut responder = Responder::new(Arc::new(ResponderOptions::default()));
    let client = SocketAddr::new(settings.listen[0].ip(), 4_000);
    let len = match responder.respond(&query.to_vec().unwrap(), &Client::udp(&listener, client), &mut out) {
        Verdict::Reply(len) => len,
        Verdict::Forward(_) => return "forwarded".to_owned(),
        other => return format!("{other:?}"),
    };
    let reply = Message::from_vec(&out[..len]).unwrap();
    if !reply.answers.is_empty() {
        let mut data: Vec<String> = reply
            .answers
            .iter()
            .chain(&reply.additionals)
            .map(|record| format!("{} {}", record.record_type(), record.data))
            .collect();
        data.sort();
        return data.join(", ");
    }
    let text = extended_error(&out[..len]);
    match reply.metadata.response_code {
        ResponseCode::NoError => format!("NODATA{text}"),
        ResponseCode::NXDomain => format!("NXDOMAIN{text}"),
        code => format!("{code}{text}"),
    }
}

/// The text of an extended error (RFC 8914), in parentheses.
fn extended_error(reply: &[u8]) -> String {
    let message = Message::from_vec(reply).unwrap();
    let Some(edns) = message.edns else { return String::new() };
    for (code, option) in edns.options().as_ref() {
        if u16::from(*code) == 15
            && let hickory_proto::rr::rdata::opt::EdnsOption::Unknown(_, octets) = option
        {
            return format!(" ({})", String::from_utf8_lossy(&octets[2..]));
        }
    }
    String::new()
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn wait(what: &str, within: Duration, is_so: impl FnMut() -> bool) {
    wait_or(within, is_so, || what.to_owned());
}

#[track_caller]
pub(crate) fn wait_or(within: Duration, mut is_so: impl FnMut() -> bool, what: impl FnOnce() -> String) {
    let deadline = Instant::now() + within;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {within:?}: {}", what());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Asks for names over and over, and remembers each answer that was not as expected.
pub(crate) struct Asking {
    stop: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<thread::JoinHandle<(usize, Vec<String>)>>,
}

impl Asking {
    /// At this host, for these names of a network, and what they are to be.
    pub(crate) fn begin(host: &Host, network: &str, names: &[(&str, &str)]) -> Asking {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (stopped, table, network) = (stop.clone(), host.table.clone(), network.to_owned());
        let names: Vec<(String, String)> =
            names.iter().map(|(name, answer)| ((*name).to_owned(), (*answer).to_owned())).collect();
        let thread = thread::spawn(move || {
            let (mut count, mut wrong) = (0, Vec::new());
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                for (name, answer) in &names {
                    let seen = ask(&table, &network, name, RecordType::A);
                    count += 1;
                    if seen != *answer && wrong.len() < 20 {
                        wrong.push(format!("{name}: {seen}"));
                    }
                }
                thread::sleep(Duration::from_millis(5));
            }
            (count, wrong)
        });
        Asking { stop, thread: Some(thread) }
    }

    /// Ends it: not one answer was wrong.
    #[track_caller]
    pub(crate) fn end(mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let (count, wrong) = self.thread.take().unwrap().join().unwrap();
        assert!(count > 0, "nothing was asked");
        assert!(wrong.is_empty(), "of {count} queries: {wrong:#?}");
    }
}
