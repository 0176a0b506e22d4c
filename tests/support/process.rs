//! Programs that a test runs: their output as it comes, waits for a line of it, signals, and what /proc says of them.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::DEADLINE;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The program's standard output.
    Stdout,
    /// The program's standard error.
    Stderr,
    /// The program's messages to systemd (sd_notify), one line each.
    Notify,
}

/// A place in a program's output: what was there before it does not count for a wait that starts from it.
pub type Mark = usize;

/// The lines of a program so far, from all sources in the order in which they were read.
#[derive(Default)]
pub struct Log {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<(Source, String)>,
    /// How many of the program's two pipes are at their end: the program is gone when both are.
    ended: usize,
}

impl Log {
    /// Adds one line.
    pub fn push(&self, source: Source, line: String) {
        self.state.lock().unwrap().lines.push((source, line));
        self.changed.notify_all();
    }

    fn end(&self) {
        self.state.lock().unwrap().ended += 1;
        self.changed.notify_all();
    }

    fn follow(self: &Arc<Log>, source: Source, pipe: impl Read + Send + 'static) {
        let log = self.clone();
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|octets| octets > 0) {
                let text = String::from_utf8_lossy(&line);
                log.push(source, text.trim_end_matches(['\n', '\r']).to_owned());
                line.clear();
            }
            log.end();
        });
    }

    /// Waits until `seen` finds what it looks for; `None` when the program has ended or `within` is over before.
    fn wait<T>(&self, within: Duration, mut seen: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + within;
        let mut state = self.state.lock().unwrap();
        loop {
            // In this order: a program's last line is still found after its end.
            let found = seen(&state);
            let left = deadline.saturating_duration_since(Instant::now());
            if found.is_some() || state.ended == 2 || left.is_zero() {
                return found;
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

/// A running program, killed on drop.
pub struct Process {
    words: String,
    child: Child,
    log: Arc<Log>,
}

impl Process {
    /// Starts `command` with no standard input and its output captured.
    pub fn spawn(command: Command) -> Process {
        Process::spawn_with_input(command, "")
    }

    /// Starts `command` with `input`, which must be short, as its whole standard input.
    pub fn spawn_with_input(mut command: Command, input: &str) -> Process {
        let words = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {words}: {error}"));
        // A program that reads nothing may be gone already.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        let log = Arc::new(Log::default());
        log.follow(Source::Stdout, child.stdout.take().expect("piped"));
        log.follow(Source::Stderr, child.stderr.take().expect("piped"));
        Process { words, child, log }
    }

    /// Its output, for those who add to it.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Its process ID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of the output so far.
    pub fn mark(&self) -> Mark {
        self.log.state.lock().unwrap().lines.len()
    }

    /// The lines of one source so far.
    pub fn lines(&self, source: Source) -> Vec<String> {
        let state = self.log.state.lock().unwrap();
        state.lines.iter().filter(|(from, _)| *from == source).map(|(_, line)| line.clone()).collect()
    }

    /// Waits for a line that contains `text` and gives it whole; it may have been written already.
    ///
    /// # Panics
    /// With all the output, if the program ends without it or [`DEADLINE`] is over.
    #[track_caller]
    pub fn wait_for(&self, source: Source, text: &str) -> String {
        self.wait_after(0, source, text)
    }

    /// [`wait_for`](Self::wait_for) among the lines after `mark`.
    #[track_caller]
    pub fn wait_after(&self, mark: Mark, source: Source, text: &str) -> String {
        let is_it = |(from, line): &&(Source, String)| *from == source && line.contains(text);
        let found =
            self.log.wait(DEADLINE, |state| state.lines[mark..].iter().find(is_it).map(|(_, line)| line.clone()));
        // Not in a closure: the panic is to name the caller's line.
        match found {
            Some(line) => line,
            None => panic!("no {source:?} line with {text:?} from {self:?}"),
        }
    }

    /// Waits until it has ended and all its output is read.
    ///
    /// # Panics
    /// With all the output, if it still runs after `within`.
    #[track_caller]
    pub fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        self.log.wait(within, |_| None::<()>);
        if self.log.state.lock().unwrap().ended < 2 {
            panic!("still running after {within:?}: {self:?}");
        }
        self.child.wait().expect("a child of ours")
    }

    /// What it gave, once it has ended: see [`wait_exit`](Self::wait_exit).
    #[track_caller]
    pub fn finish(mut self, within: Duration) -> Finished {
        let status = self.wait_exit(within);
        let text = |source| self.lines(source).iter().map(|line| format!("{line}\n")).collect();
        Finished { words: self.words.clone(), status, stdout: text(Source::Stdout), stderr: text(Source::Stderr) }
    }

    /// Sends `signal`.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).unwrap_or_else(|error| panic!("{signal} to {self:?}: {error}"));
    }

    /// Resident memory, KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a VmRSS line");
        line.trim().trim_end_matches("kB").trim().parse().expect("a number of kB")
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        let directory = format!("/proc/{}/fd", self.pid());
        std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory}: {error}")).count()
    }

    /// Memory that is of no file (RssAnon), octets.
    pub fn private_memory(&self) -> u64 {
        let file = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.strip_suffix("kB"));
        line.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or_else(|| panic!("{file}: {status}")) << 10
    }

    /// Threads.
    pub fn threads(&self) -> usize {
        let directory = format!("/proc/{}/task", self.pid());
        std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory}: {error}")).count()
    }

    /// Processor time of all its threads so far, in steps of 10 ms.
    pub fn cpu_time(&self) -> Duration {
        let stat = self.proc("stat");
        // The second field is the program's name in parentheses and may have spaces; utime and stime are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        // USER_HZ, the unit of these fields, is 100 on every architecture that Rust's std supports on Linux.
        Duration::from_millis(ticks * 10)
    }

    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.pid());
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.log.state.lock().unwrap();
        let ended = if state.ended == 2 { "ended" } else { "running" };
        writeln!(f, "{} ({ended}), whose output is:", self.words)?;
        state.lines.iter().try_for_each(|(source, line)| writeln!(f, "  {source:?}: {line}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a child that was waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that ran to its end.
#[derive(Debug)]
pub struct Finished {
    /// The command, for messages.
    pub words: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, lines ended by `\n`.
    pub stdout: String,
    /// Its standard error, lines ended by `\n`.
    pub stderr: String,
}

impl Finished {
    /// Itself, if the program ended with 0.
    ///
    /// # Panics
    /// With its output, if not.
    #[track_caller]
    pub fn expect_success(self) -> Finished {
        assert!(self.status.success(), "{} failed: {}\n{}{}", self.words, self.status, self.stdout, self.stderr);
        self
    }
}

/// Runs `command` to its end.
///
/// # Panics
/// If it takes longer than [`DEADLINE`].
#[track_caller]
pub fn run(command: Command) -> Finished {
    run_with_input(command, "")
}

/// [`run`] with a short standard input.
#[track_caller]
pub fn run_with_input(command: Command, input: &str) -> Finished {
    Process::spawn_with_input(command, input).finish(DEADLINE)
}
