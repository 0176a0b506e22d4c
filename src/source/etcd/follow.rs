//! The task that follows the store: it alone has sockets and clocks, and drives what has neither.

use std::future::{Future, pending};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::table::Feed;

use super::client::{ClientError, Connection, Credentials, Member, Talk};
use super::host::Item;
use super::link::{Pacer, Reason};
use super::own::{Answer, Call, Write};
use super::proto::{
    Compare, CompareTarget, DeleteRangeRequest, KeyValue, LeaseKeepAliveRequest, LeaseKeepAliveResponse, PutRequest,
    RangeRequest, RangeResponse, RequestOp, ResponseHeader, TxnRequest, TxnResponse, WatchCreateRequest,
    WatchProgressRequest, WatchRequest, WatchResponse, end_of, request_op, watch_request,
};
use super::record::Keys;
use super::state_file::Saved;
use super::world::{Heard, World};
use super::{addresses, lock};
use crate::settings::StoreOptions;

/// Keys of one page of a full reading.
const PAGE: i64 = 2_000;
/// Changes of the table that come within this time are one write.
const COALESCE: Duration = Duration::from_millis(20);
/// A watch that says nothing for so long is asked whether it is there, and has so long to say so.
const SILENCE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two writings of the state file.
const SAVE_INTERVAL: Duration = Duration::from_secs(30);
/// Between two lines that say that the store is away.
const REMIND_INTERVAL: Duration = Duration::from_secs(600);
/// A stop does not wait longer for each of its two calls.
const STOP_CALL: Duration = Duration::from_secs(1);

/// What the task is told.
#[derive(Debug)]
pub(super) enum Command {
    Configure(Box<StoreOptions>, Vec<Member>),
    Stop(oneshot::Sender<()>),
}

/// Whom the task listens to, and talks to.
#[derive(Debug)]
pub(super) struct Talks {
    pub feed: Feed,
    pub commands: mpsc::UnboundedReceiver<Command>,
    pub ready: watch::Sender<bool>,
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// See the module.
pub(super) struct Follower {
    world: Arc<Mutex<World>>,
    options: StoreOptions,
    members: Vec<Member>,
    feed: Feed,
    commands: mpsc::UnboundedReceiver<Command>,
    ready: watch::Sender<bool>,
    pacer: Pacer,
    random: u64,
    /// The connection that is being made, or when the next one is tried.
    opening: Option<Later<Result<Connection, ClientError>>>,
    open_at: Instant,
    session: Option<Session>,
    /// When what has changed in the table is published.
    publish_at: Option<Instant>,
    save_at: Instant,
    saving: Option<JoinHandle<bool>>,
    wait_until: Option<Instant>,
    /// When it was last said that the store is away, if it was.
    reminded: Option<Instant>,
    keys: Keys,
}

/// What is under way on one connection.
struct Session {
    connection: Connection,
    member: String,
    list: Option<(Reason, Later<Result<Listed, ClientError>>)>,
    watch: Watch,
    /// When the watch last said something, and whether it was asked to since.
    heard_at: Instant,
    is_asked: bool,
    /// True if the watch was begun just after a full reading.
    is_fresh: bool,
    keep: Keep,
    call: Option<Later<(Answer, Option<ClientError>)>>,
    reconcile_at: Instant,
}

type WatchTalk = Box<Talk<WatchRequest, WatchResponse>>;
type KeepTalk = Box<Talk<LeaseKeepAliveRequest, LeaseKeepAliveResponse>>;

enum Watch {
    /// Everything is to be read first.
    None,
    Opening(Later<Result<WatchTalk, ClientError>>),
    Open(WatchTalk),
}

enum Keep {
    None,
    Opening(i64, Later<Result<KeepTalk, ClientError>>),
    Open { lease: i64, talk: KeepTalk, next: Instant, said: Option<Instant> },
}

/// All that there is.
struct Listed {
    header: ResponseHeader,
    kvs: Vec<KeyValue>,
}

impl Follower {
    pub(super) fn new(
        world: Arc<Mutex<World>>,
        options: StoreOptions,
        members: Vec<Member>,
        talks: Talks,
        random: u64,
    ) -> Follower {
        let Talks { feed, commands, ready } = talks;
        let now = Instant::now();
        let keys = lock(&world).keys.clone();
        Follower {
            pacer: Pacer::new(members.len(), random),
            wait_until: Some(now + options.wait),
            world,
            options,
            members,
            feed,
            commands,
            ready,
            random,
            opening: None,
            open_at: now,
            session: None,
            publish_at: None,
            save_at: now,
            saving: None,
            reminded: None,
            keys,
        }
    }

    /// Follows the store until it is told to stop.
    pub(super) async fn run(mut self) {
        self.restore().await;
        loop {
            self.step();
            let wake = self.deadline();
            let session = self.session.as_mut();
            let (mut list, mut watch, mut keep, call) = match session {
                Some(Session { list, watch, keep, call, .. }) => {
                    (list.as_mut(), Some(watch), Some(keep), call.as_mut())
                }
                None => (None, None, None, None),
            };
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Configure(options, members)) => self.configure(*options, members),
                    Some(Command::Stop(done)) => {
                        self.stop().await;
                        // Who waited for it may have gone.
                        let _ = done.send(());
                        return;
                    }
                    // The store was dropped.
                    None => return,
                },
                event = self.feed.next() => {
                    let mut world = lock(&self.world);
                    world.note(event);
                    while let Some(event) = self.feed.try_next() {
                        world.note(event);
                    }
                    if world.is_publish_due() {
                        self.publish_at.get_or_insert(Instant::now() + COALESCE);
                    }
                }
                opened = maybe(self.opening.as_mut()) => {
                    self.opening = None;
                    match opened {
                        Ok(connection) => self.begin(connection),
                        Err(error) => self.fail(&error),
                    }
                }
                listed = async { match &mut list { Some((_, list)) => list.await, None => pending().await } } => {
                    self.take_list(listed).await;
                }
                message = async { match &mut watch { Some(watch) => watch.next().await, None => pending().await } } => {
                    self.take_watch(message);
                }
                message = async { match &mut keep { Some(keep) => keep.next().await, None => pending().await } } => {
                    self.take_keep(message);
                }
                answer = maybe(call) => self.take_answer(answer),
                saved = async { match &mut self.saving { Some(saving) => saving.await, None => pending().await } } => {
                    self.saving = None;
                    if !saved.unwrap_or(false) {
                        lock(&self.world).not_saved();
                    }
                }
                () = sleep_until(wake.into()) => self.wake(),
            }
            for notice in lock(&self.world).take_notices() {
                warn!("{notice}");
            }
        }
    }

    /// What is known from the last run, until the store says otherwise.
    async fn restore(&mut self) {
        let Some(path) = self.options.state.clone() else { return };
        let read = spawn_blocking(move || (Saved::read(&path), path)).await;
        let Ok((read, path)) = read else { return };
        match read {
            Ok(saved) => {
                let mut world = lock(&self.world);
                world.restore(&saved, Instant::now());
                if world.is_known() {
                    info!(
                        file = %path.display(),
                        age = SystemTime::now().duration_since(saved.time()).unwrap_or_default().as_secs(),
                        "names of other hosts are answered as they were last known, until etcd is reached"
                    );
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => warn!("{}: {error}; names of other hosts are unknown until etcd is reached", path.display()),
        }
    }

    /// Begins what can be begun.
    fn step(&mut self) {
        let now = Instant::now();
        if !*self.ready.borrow() {
            let is_over = self.wait_until.is_none_or(|until| now >= until);
            let mut world = lock(&self.world);
            if is_over && !world.is_known() {
                world.wait_no_longer();
            }
            if is_over || world.is_known() {
                self.ready.send_replace(true);
            }
        }
        let Some(session) = &mut self.session else {
            if self.opening.is_none() && now >= self.open_at {
                self.opening = Some(Box::pin(open(self.members[self.pacer.member()].clone(), self.options.clone())));
            }
            return;
        };
        let mut world = lock(&self.world);
        // Our own claim does not wait for the reading: others are to know of us.
        if session.call.is_none() {
            let since_start = world.since_start(now);
            let call = world.own.poll(since_start);
            session.call = call.map(|call| ask(&self.keys, &self.options, session.connection.clone(), call));
        }
        session.keep.follow(world.own.lease(), &session.connection, now);
    }

    /// When there is something to do, if nothing else happens.
    fn deadline(&self) -> Instant {
        let now = Instant::now();
        let world = lock(&self.world);
        let mut wake = now + SAVE_INTERVAL;
        let mut by = |at: Option<Instant>| wake = at.map_or(wake, |at| wake.min(at));
        by(self.publish_at);
        by(self.wait_until.filter(|_| !*self.ready.borrow()));
        by(world.deadline());
        by(Some(self.save_at).filter(|_| world.is_unsaved() && self.saving.is_none()));
        let Some(session) = &self.session else {
            by(Some(self.open_at).filter(|_| self.opening.is_none()));
            return wake;
        };
        if session.call.is_none() {
            let since_start = world.since_start(now);
            by(world.own.deadline().map(|at| now + at.saturating_sub(since_start)));
        }
        if let Watch::Open(_) = session.watch {
            by(Some(session.heard_at + SILENCE + if session.is_asked { PATIENCE } else { Duration::ZERO }));
            by(Some(session.reconcile_at).filter(|_| session.list.is_none()));
        }
        if let Keep::Open { next, said, .. } = &session.keep {
            by(Some(said.map_or(*next, |said| said + PATIENCE)));
        }
        wake
    }

    /// Does what is due.
    fn wake(&mut self) {
        let now = Instant::now();
        let mut world = lock(&self.world);
        world.tick(now);
        if self.publish_at.is_some_and(|at| now >= at) {
            self.publish_at = None;
            world.publish(now);
        }
        if now >= self.save_at && self.saving.is_none() {
            self.save_at = now + SAVE_INTERVAL;
            if let Some(path) = self.options.state.clone() {
                self.saving = world.take_unsaved().map(|saved| spawn_blocking(move || save(&saved, &path)));
            }
        }
        drop(world);
        let Some(session) = &mut self.session else { return };
        if let Watch::Open(watch) = &session.watch {
            let silent = now.saturating_duration_since(session.heard_at);
            if silent >= SILENCE + PATIENCE && session.is_asked {
                return self.fail(&ClientError::Unreachable("the watch is silent".to_owned()));
            }
            if silent >= SILENCE && !session.is_asked {
                session.is_asked = true;
                watch.say(WatchRequest { request: Some(watch_request::Request::Progress(WatchProgressRequest {})) });
            }
            if now >= session.reconcile_at && session.list.is_none() {
                session.reconcile_at = now + spread(self.options.reconcile, &mut self.random);
                session.list = Some(list(&self.keys, &session.connection, Reason::Reconcile));
                lock(&self.world).begin_list();
            }
        }
        if let Keep::Open { lease, talk, next, said } = &mut session.keep {
            if said.is_some_and(|said| now >= said + PATIENCE) {
                return self.fail(&ClientError::Silent("LeaseKeepAlive"));
            }
            if now >= *next && said.is_none() {
                talk.say(LeaseKeepAliveRequest { id: *lease });
                *said = Some(now);
                *next = now + self.options.ttl / 3;
            }
        }
    }

    /// There is a connection.
    fn begin(&mut self, connection: Connection) {
        let now = Instant::now();
        let mut world = lock(&self.world);
        world.set_addresses(addresses(&self.options, connection.local()), now);
        let mut session = Session {
            member: self.members[self.pacer.member()].to_string(),
            list: None,
            watch: Watch::None,
            heard_at: now,
            is_asked: false,
            is_fresh: false,
            keep: Keep::None,
            call: None,
            reconcile_at: now + spread(self.options.reconcile, &mut self.random),
            connection,
        };
        match world.position.filter(|_| world.is_synced()) {
            Some(position) => session.watch = watch_from(&self.keys, &session.connection, position.revision + 1),
            None => {
                session.list = Some(list(&self.keys, &session.connection, Reason::Start));
                world.begin_list();
            }
        }
        drop(world);
        self.session = Some(session);
    }

    /// The member does not do what it should: the next one.
    fn fail(&mut self, error: &ClientError) {
        let now = Instant::now();
        let member = self.session.take().map(|session| session.member);
        let text = match member {
            Some(member) => format!("{member}: {error}"),
            None => error.to_string(),
        };
        debug!("{text}");
        self.open_at = now + self.pacer.failed();
        let was_live = lock(&self.world).away(&text, now);
        // One member that fails is nobody's business, if another one does not.
        let is_due = self.reminded.is_none_or(|when| now.saturating_duration_since(when) >= REMIND_INTERVAL);
        if was_live {
            info!("{text}; taking another member of etcd");
        } else if is_due && self.pacer.have_all_failed() {
            self.reminded = Some(now);
            warn!("etcd does not answer, so names of other hosts stay as they are: {text}");
        }
    }

    /// All that there is was read, or could not be.
    async fn take_list(&mut self, listed: Result<Listed, ClientError>) {
        let Some(session) = &mut self.session else { return };
        let Some((reason, _)) = session.list.take() else { return };
        let now = Instant::now();
        match listed {
            Ok(Listed { header, kvs }) => {
                let mut world = lock(&self.world);
                let is_missed = world.listed(kvs, &header, reason, now);
                let revision = world.position.map_or(header.revision, |position| position.revision);
                drop(world);
                // A watch that has missed something is not to be believed.
                if is_missed || !matches!(session.watch, Watch::Open(_)) {
                    session.watch = watch_from(&self.keys, &session.connection, revision + 1);
                    (session.heard_at, session.is_asked, session.is_fresh) = (now, false, true);
                }
            }
            Err(error) => {
                let connection = session.connection.clone();
                if !lock(&self.world).is_synced() && !error.is_denied() && !error.is_token() {
                    self.read_alone(&connection).await;
                }
                let user = self.options.user.as_ref().map_or("the user of our certificate", |(user, _)| user);
                if error.is_denied() {
                    let root = self.keys.root();
                    let text = format!("etcd does not let {user} read {root}: give it a role with read on that prefix");
                    return self.fail(&ClientError::Local(text));
                }
                self.fail(&error);
            }
        }
    }

    /// At a start without a leader: what one member knows is better than nothing.
    async fn read_alone(&mut self, connection: &Connection) {
        let Ok(Listed { header, kvs }) = read_all(self.keys.root(), connection, false).await else { return };
        let mut world = lock(&self.world);
        if world.position.is_none_or(|position| position.judge_store(&header).is_ok()) {
            info!("etcd has no leader: names of other hosts are answered as one member knows them");
            world.listed(kvs, &header, Reason::Start, Instant::now());
        }
    }

    /// The watch said something.
    fn take_watch(&mut self, message: WatchNews) {
        let Some(session) = &mut self.session else { return };
        let now = Instant::now();
        let message = match message {
            WatchNews::Opened(Ok(talk)) => {
                session.watch = Watch::Open(talk);
                return;
            }
            WatchNews::Message(Ok(message)) => message,
            WatchNews::Opened(Err(error)) | WatchNews::Message(Err(error)) => return self.fail(&error),
        };
        session.heard_at = now;
        session.is_asked = false;
        let heard = lock(&self.world).heard(message, session.is_fresh, now);
        match heard {
            Heard::News => {}
            Heard::Created => {
                let was_away = self.reminded.take().is_some();
                self.pacer.succeeded();
                lock(&self.world).live(&session.member, now);
                if was_away {
                    info!(member = session.member, "etcd is followed again");
                } else {
                    debug!(member = session.member, "etcd is followed");
                }
            }
            Heard::List(reason) => {
                debug!(reason = reason.as_str(), "everything is read");
                session.watch = Watch::None;
                session.list = Some(list(&self.keys, &session.connection, reason));
                lock(&self.world).begin_list();
            }
            Heard::Over(why) => {
                self.fail(&ClientError::Unreachable(format!("etcd has ended the watch: {why}")));
            }
        }
    }

    /// The lease's stream said something.
    fn take_keep(&mut self, message: KeepNews) {
        let Some(session) = &mut self.session else { return };
        let now = Instant::now();
        match message {
            KeepNews::Opened(lease, Ok(talk)) => {
                // The first request went ahead.
                session.keep = Keep::Open { lease, talk, next: now + self.options.ttl / 3, said: Some(now) };
            }
            KeepNews::Message(Ok(answer)) => {
                if let Keep::Open { said, .. } = &mut session.keep {
                    *said = None;
                }
                let mut world = lock(&self.world);
                let since_start = world.since_start(now);
                world.own.kept_alive(answer.id, answer.ttl, since_start);
                world.tick(now);
            }
            KeepNews::Opened(_, Err(error)) | KeepNews::Message(Err(error)) => self.fail(&error),
        }
    }

    /// A call of our own claim was answered.
    fn take_answer(&mut self, (answer, error): (Answer, Option<ClientError>)) {
        let now = Instant::now();
        if let Some(session) = &mut self.session {
            session.call = None;
        }
        {
            let mut world = lock(&self.world);
            let since_start = world.since_start(now);
            world.own.answer(answer, since_start);
            world.tick(now);
        }
        if let Some(error) = error {
            self.fail(&error);
        }
    }

    fn configure(&mut self, options: StoreOptions, members: Vec<Member>) {
        let now = Instant::now();
        lock(&self.world).configure(&options, now);
        if members != self.members {
            self.pacer = Pacer::new(members.len(), self.random);
        }
        (self.options, self.members) = (options, members);
        // By the new rules, whatever they are; nothing is lost by it.
        self.session = None;
        self.opening = None;
        self.open_at = now;
        let mut world = lock(&self.world);
        world.away("the configuration has changed", now);
    }

    /// Says that we stop, as far as somebody listens.
    async fn stop(&mut self) {
        if let Some(saving) = self.saving.take() {
            // It is told of where it is made.
            let _ = saving.await;
        }
        let saved = lock(&self.world).take_unsaved();
        if let (Some(saved), Some(path)) = (saved, self.options.state.clone()) {
            let _ = spawn_blocking(move || save(&saved, &path)).await;
        }
        let Some(mut session) = self.session.take() else { return };
        if let Some(call) = session.call.take()
            && let Ok((answer, _)) = timeout(STOP_CALL, call).await
        {
            let mut world = lock(&self.world);
            let since_start = world.since_start(Instant::now());
            world.own.answer(answer, since_start);
        }
        let Some((write, lease)) = lock(&self.world).own.leave() else { return };
        let txn = to_txn(&self.keys, &write);
        let written = timeout(STOP_CALL, session.connection.txn(txn)).await;
        let revoked = timeout(STOP_CALL, session.connection.revoke(lease)).await;
        if !matches!((written, revoked), (Ok(Ok(_)), Ok(Ok(())))) {
            debug!("etcd was not told of the stop: this host's names go with its lease");
        }
    }
}

async fn maybe<T>(later: Option<&mut Later<T>>) -> T {
    match later {
        Some(later) => later.await,
        None => pending().await,
    }
}

enum WatchNews {
    Opened(Result<WatchTalk, ClientError>),
    Message(Result<WatchResponse, ClientError>),
}

impl Watch {
    /// Cancelling it loses nothing.
    async fn next(&mut self) -> WatchNews {
        match self {
            Watch::None => pending().await,
            Watch::Opening(opening) => WatchNews::Opened(opening.await),
            Watch::Open(talk) => WatchNews::Message(talk.next().await),
        }
    }
}

enum KeepNews {
    Opened(i64, Result<KeepTalk, ClientError>),
    Message(Result<LeaseKeepAliveResponse, ClientError>),
}

impl Keep {
    /// Cancelling it loses nothing.
    async fn next(&mut self) -> KeepNews {
        match self {
            Keep::None => pending().await,
            Keep::Opening(lease, opening) => KeepNews::Opened(*lease, opening.await),
            Keep::Open { talk, .. } => KeepNews::Message(talk.next().await),
        }
    }

    /// Keeps this lease alive from now on.
    fn follow(&mut self, wanted: Option<i64>, connection: &Connection, now: Instant) {
        match (&mut *self, wanted) {
            (Keep::Open { lease, next, said, .. }, Some(wanted)) => {
                if *lease != wanted {
                    // One stream serves all leases.
                    (*lease, *next, *said) = (wanted, now, None);
                }
            }
            (Keep::Opening(lease, _), Some(wanted)) if *lease == wanted => {}
            (Keep::None | Keep::Opening(..), Some(wanted)) => {
                let connection = connection.clone();
                let opening = async move { connection.keep_alive(LeaseKeepAliveRequest { id: wanted }).await };
                *self = Keep::Opening(wanted, Box::pin(opening));
            }
            (_, None) => *self = Keep::None,
        }
    }
}

/// Up to a fifth earlier or later, so that hosts do not read everything at the same moments.
fn spread(interval: Duration, random: &mut u64) -> Duration {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    interval.mul_f64(0.8 + 0.4 * (*random >> 11) as f64 / (1u64 << 53) as f64)
}

fn save(saved: &Saved, path: &Path) -> bool {
    let written = saved.write(path);
    if let Err(error) = &written {
        warn!("{}: {error}; names of other hosts would be unknown after a restart without etcd", path.display());
    }
    written.is_ok()
}

async fn open(member: Member, options: StoreOptions) -> Result<Connection, ClientError> {
    let credentials = spawn_blocking(move || Credentials::read(&options)).await;
    let credentials = credentials.map_err(|error| ClientError::Local(error.to_string()))?;
    let credentials = credentials.map_err(|error| ClientError::Local(error.to_string()))?;
    Connection::open(&member, &credentials).await
}

fn watch_from(keys: &Keys, connection: &Connection, revision: i64) -> Watch {
    let key = keys.root().as_bytes().to_vec();
    let create = WatchCreateRequest { range_end: end_of(&key), key, start_revision: revision };
    let connection = connection.clone();
    Watch::Opening(Box::pin(async move {
        connection.watch(WatchRequest { request: Some(watch_request::Request::Create(create)) }).await
    }))
}

fn list(keys: &Keys, connection: &Connection, reason: Reason) -> (Reason, Later<Result<Listed, ClientError>>) {
    let (root, connection) = (keys.root().to_owned(), connection.clone());
    (reason, Box::pin(async move { read_all(&root, &connection, true).await }))
}

/// All keys at one revision, page by page.
async fn read_all(root: &str, connection: &Connection, needs_leader: bool) -> Result<Listed, ClientError> {
    let (mut key, range_end) = (root.as_bytes().to_vec(), end_of(root.as_bytes()));
    let (mut revision, mut kvs) = (0, Vec::new());
    let mut first: Option<ResponseHeader> = None;
    loop {
        let request = RangeRequest {
            key: key.clone(),
            range_end: range_end.clone(),
            limit: PAGE,
            revision,
            // The first page is what all agree on; the others are of that revision.
            serializable: !needs_leader || first.is_some(),
        };
        let RangeResponse { header, kvs: page, more } = connection.range(request, needs_leader).await?;
        let header = first.get_or_insert(header.unwrap_or_default());
        revision = header.revision;
        let Some(last) = page.last().filter(|_| more) else {
            kvs.extend(page);
            return Ok(Listed { header: *header, kvs });
        };
        key.clone_from(&last.key);
        key.push(0);
        kvs.extend(page);
    }
}

/// Asks for our own claim. An error besides means that the connection is of no use.
fn ask(
    keys: &Keys,
    options: &StoreOptions,
    connection: Connection,
    call: Call,
) -> Later<(Answer, Option<ClientError>)> {
    let (keys, ttl) = (keys.clone(), options.ttl);
    let user = options.user.as_ref().map_or_else(|| "the user of our certificate".to_owned(), |(user, _)| user.clone());
    Box::pin(async move {
        let answer = match call {
            Call::ReadHost => {
                let request = RangeRequest { key: keys.own_host().into_bytes(), limit: 1, ..RangeRequest::default() };
                connection.range(request, true).await.map(|answer| Answer::Host(first(answer.kvs)))
            }
            Call::Grant => connection.grant(ttl).await.map(|answer| match answer.error.as_str() {
                "" if answer.id != 0 => Answer::Granted(answer.id),
                error => Answer::Denied(format!("etcd grants no lease: {error}")),
            }),
            Call::Write(write) => connection.txn(to_txn(&keys, &write)).await.map(written),
            Call::Revoke(lease) => {
                // It may be gone.
                let _ = connection.revoke(lease).await;
                Ok(Answer::Revoked)
            }
        };
        match answer {
            Ok(answer) => (answer, None),
            Err(error) if error.is_lease() => (Answer::NoLease, None),
            Err(error) if error.is_denied() => {
                let own = keys.own_host();
                let own = own.trim_end_matches("host");
                (
                    Answer::Denied(format!(
                        "etcd does not let {user} read and write {own}: give it a role with readwrite on that prefix"
                    )),
                    None,
                )
            }
            Err(ClientError::Refused(_, tonic::Code::ResourceExhausted, message)) => {
                (Answer::Denied(format!("etcd does not take it: {message}")), None)
            }
            Err(error) => (Answer::Unknown, Some(error)),
        }
    })
}

fn written(answer: TxnResponse) -> Answer {
    if answer.succeeded {
        return Answer::Written(answer.header.unwrap_or_default().revision);
    }
    let host = answer.responses.into_iter().next().and_then(|response| response.range);
    Answer::Conflict(host.and_then(|range| first(range.kvs)))
}

fn first(kvs: Vec<KeyValue>) -> Option<Item> {
    let kv = kvs.into_iter().next()?;
    Some(Item { key: kv.key, value: kv.value, revision: kv.mod_revision })
}

fn to_txn(keys: &Keys, write: &Write) -> TxnRequest {
    let host = keys.own_host().into_bytes();
    let op = |request| RequestOp { request: Some(request) };
    let put =
        |key: Vec<u8>, value: Vec<u8>| op(request_op::Request::Put(PutRequest { key, value, lease: write.lease }));
    let delete =
        |key: Vec<u8>, range_end: Vec<u8>| op(request_op::Request::DeleteRange(DeleteRangeRequest { key, range_end }));
    let mut success = vec![put(host.clone(), write.host.clone())];
    if write.clears {
        let endpoints = keys.own_endpoints().into_bytes();
        let end = end_of(&endpoints);
        success.push(delete(endpoints, end));
    }
    success.extend(write.puts.iter().map(|(key, value)| put(key.clone().into_bytes(), value.clone())));
    success.extend(write.deletes.iter().map(|key| delete(key.clone().into_bytes(), Vec::new())));
    let compare = Compare { target: CompareTarget::Mod as i32, key: host.clone(), mod_revision: Some(write.expected) };
    let read = RangeRequest { key: host, limit: 1, ..RangeRequest::default() };
    TxnRequest { compare: vec![compare], success, failure: vec![op(request_op::Request::Range(read))] }
}
