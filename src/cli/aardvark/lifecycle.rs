//! The life of the server: from the pid file to the last container.

use std::path::Path;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::arguments::Job;
use super::daemon::Caller;
use super::pid_file::{Claim, PidFile};
use super::service::Service;
use super::siblings::tell_servers_of;
use super::signals::{Order, Signals};
use crate::cli::output;
use crate::cli::steering::Steering;

/// How long somebody who orders a reading waits for files that are being written.
const PATIENCE: Duration = Duration::from_secs(1);

/// Serves until there is nothing left to serve, or until told to stop.
///
/// # Errors
/// Why it could not start, as netavark's users are shown it.
pub(super) async fn live(job: &Job, caller: &mut Caller) -> Result<(), String> {
    // Before the pid file tells whom to signal: a SIGHUP that nobody takes ends the process.
    let mut signals = Signals::take().map_err(|error| format!("Error starting server cannot take signals: {error}"))?;
    let no_pid_file = |error| {
        let directory = shown(&job.directory);
        format!("Error creating aardvark pid: the directory {directory} of --config cannot be used: {error}")
    };
    let pid_file = match PidFile::claim(&job.directory).await.map_err(no_pid_file)? {
        Claim::Ours(pid_file) => pid_file,
        Claim::Theirs(pid) => {
            info!(%pid, "another server has this directory, and was told to read it");
            return caller.leave().map_err(|error| error.to_string());
        }
    };
    pid_file.write().map_err(no_pid_file)?;
    let outcome = serve(job, caller, &mut signals, &pid_file).await;
    pid_file.remove();
    outcome
}

async fn serve(job: &Job, caller: &mut Caller, signals: &mut Signals, pid_file: &PidFile) -> Result<(), String> {
    let starting = |error: String| format!("Error starting server {error}");
    let (steering, mut orders) = Steering::new("podman", &job.directory);
    let mut service = Service::start(job, steering.clone()).await.map_err(starting)?;
    service.read().await;
    // Half a file may be all that there is.
    while service.is_unsure() && !service.is_serving() {
        service.wait().await;
        service.read().await;
    }
    if service.is_empty() {
        info!(directory = shown(&job.directory), "there is no network to serve");
        output::complain(format_args!("there is no network in {}", shown(&job.directory)));
        return Ok(());
    }
    if !service.failures().is_empty() && tell_servers_of(&job.directory) {
        // Of a directory that was here before this one, and is gone: that server ends when it sees it.
        service.wait_for_sockets().await;
    }
    let failures = service.failures();
    if !failures.is_empty() {
        return Err(starting(failures.join("\n")));
    }
    caller.leave().map_err(|error| starting(error.to_string()))?;
    info!(version = env!("CARGO_PKG_VERSION"), directory = shown(&job.directory), port = job.port, "serving");
    let _control = service.open_control().await;
    loop {
        let mut ordered = None;
        tokio::select! {
            order = signals.next() => match order {
                Order::Stop => break,
                Order::Read if pid_file.is_replaced() => {
                    info!(directory = shown(&job.directory), "another directory is in the place of this one: done");
                    return Ok(());
                }
                // Should somebody have removed it.
                Order::Read => {
                    pid_file.renew();
                    steering.reopen_log();
                }
            },
            Some(order) = orders.recv() => ordered = Some(order),
            () = service.hosts_due() => {
                service.look_at_hosts();
                continue;
            }
            () = service.wait(), if service.is_unsure() => {}
        }
        service.read().await;
        if let Some(order) = ordered {
            let deadline = Instant::now() + PATIENCE;
            while service.is_unsure() && Instant::now() < deadline {
                service.wait().await;
                service.read().await;
            }
            // Who ordered it may have gone.
            let _ = order.send(steering.last());
        }
        if service.is_empty() && is_over(&mut service, pid_file).await {
            info!("no network is left: done");
            // At once: whoever might still wait for an answer is gone with its network.
            return Ok(());
        }
    }
    info!("stopping: answering what was asked");
    steering.stopping();
    pid_file.remove();
    service.stop().await;
    info!("stopped");
    Ok(())
}

/// Takes back the pid file of a server that has nothing left to serve, and looks again: a container that came just before
/// was told to us, one that comes later to a new server.
async fn is_over(service: &mut Service, pid_file: &PidFile) -> bool {
    pid_file.remove();
    service.read().await;
    if service.is_empty() {
        return true;
    }
    if pid_file.renew() {
        return false;
    }
    warn!("another server has taken over this directory");
    true
}

fn shown(directory: &Path) -> String {
    directory.display().to_string()
}
