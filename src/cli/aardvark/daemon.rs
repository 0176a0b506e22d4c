//! `run`: a child that serves, and a parent that ends when the child does, or is ready.

use std::fs::OpenOptions;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::process::ExitCode;

use nix::sys::signal::SigSet;
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, setsid};
use tracing::error;

use crate::cli::descriptors;

use super::arguments::Job;
use super::{NO, fail, fork, lifecycle, syslog};

/// Starts the server and waits until it is ready.
pub(super) fn run(job: &Job) -> ExitCode {
    let (ready, tell) = match io::pipe() {
        Ok(pipe) => pipe,
        Err(error) => return fail(format_args!("cannot make a pipe: {error}"), NO),
    };
    // Before there is any other thread.
    match fork::fork() {
        Ok(ForkResult::Parent { .. }) => {
            // Else the end of the pipe would never come.
            drop(tell);
            wait(ready)
        }
        Ok(ForkResult::Child) => {
            drop(ready);
            serve(job, Caller(Some(tell)))
        }
        Err(error) => fail(format_args!("fork failed with error: {error}"), NO),
    }
}

/// The parent: one octet says that the child is ready, the end that it is gone.
fn wait(mut ready: PipeReader) -> ExitCode {
    match ready.read_exact(&mut [0]) {
        Ok(()) => ExitCode::SUCCESS,
        // What the trouble was the child has written already.
        Err(_) => fail("Error from child process", NO),
    }
}

/// The child.
fn serve(job: &Job, mut caller: Caller) -> ExitCode {
    syslog::install(job.log.as_deref());
    descriptors::raise_limit();
    // Whoever starts us may have blocked signals; we live on them. It fails for signals that do not exist.
    let _ = SigSet::empty().thread_set_mask();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(format_args!("Error starting server cannot start the runtime: {error}"), NO),
    };
    match runtime.block_on(lifecycle::live(job, &mut caller)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            error!("{message}");
            // While the caller still waits: what it has to say comes after this.
            fail(message, NO)
        }
    }
}

/// The process that waits for us, and through it netavark and Podman.
#[derive(Debug)]
pub(super) struct Caller(Option<PipeWriter>);

impl Caller {
    /// Leaves the caller's session, its working directory and its standard streams, of which netavark waits for the end, and says that the
    /// server is ready.
    ///
    /// # Errors
    /// There is no `/dev/null`.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        // It fails for the leader of a process group only, which a forked child is not.
        let _ = setsid();
        let null = OpenOptions::new().read(true).write(true).open("/dev/null");
        let null = null.map_err(|error| io::Error::new(error.kind(), format!("/dev/null: {error}")))?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        // A working directory pins its mount.
        let _ = std::env::set_current_dir("/");
        if let Some(mut pipe) = self.0.take() {
            // A parent that was killed waits for nothing.
            let _ = pipe.write_all(b"1");
        }
        Ok(())
    }
}
