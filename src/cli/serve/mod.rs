//! `callsign serve`: the server, from a configuration file and from Docker, until a signal.

mod activation;
mod docker;
mod needs;
mod podman;
mod reload;
mod systemd;

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use callsign::server::{ReadySocket, Server};
use callsign::source::config::{Problem, Watcher};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{info, warn};

use super::sandbox::Sandbox;
use super::steering::Steering;
use super::{CONFIG, NO, USAGE, arguments, descriptors, log, output};
use needs::needs;
use reload::Service;

/// How long a start waits for Docker's containers before it counts as ready. An engine that is away is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two looks at sockets that could not be bound yet, for the service manager.
const LOOK: Duration = Duration::from_millis(200);

pub(super) fn run(arguments: &arguments::Serve) -> ExitCode {
    if let Err(message) = log::install(arguments.log_format, arguments.log_level.as_deref()) {
        return output::fail(message, USAGE);
    }
    descriptors::raise_limit();
    let sockets = activation::sockets();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            log::start_failed(format_args!("cannot start the runtime: {error}"));
            return NO.into();
        }
    };
    match runtime.block_on(serve(arguments, sockets)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { messages, code }) => {
            messages.iter().for_each(log::start_failed);
            code.into()
        }
    }
}

/// Why the server could not start.
struct Failure {
    messages: Vec<String>,
    code: u8,
}

impl Failure {
    fn new(message: impl Display) -> Failure {
        Failure { messages: vec![message.to_string()], code: NO }
    }

    fn configuration(messages: Vec<String>) -> Failure {
        Failure { messages, code: CONFIG }
    }
}

/// Serves until told to stop.
async fn serve(arguments: &arguments::Serve, sockets: Vec<ReadySocket>) -> Result<(), Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::new(format_args!("cannot take signals: {error}")));
    let (mut hangup, mut terminate, mut interrupt) =
        (listen(SignalKind::hangup())?, listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let path = &arguments.file.path();
    let before = stamp(path);
    let config = reload::first(path, arguments.docker)
        .await
        .map_err(|error| Failure::configuration(error.problems().iter().map(Problem::to_string).collect()))?;
    info!(version = env!("CARGO_PKG_VERSION"), config = %path.display(), "callsign starts");
    let mut builder = Server::builder().port(config.server.port).settings(config.server.settings.clone());
    let (steering, mut orders) = Steering::new("file", path);
    builder = builder.observer(steering.hub()).tap(steering.hub());
    if let Some(workers) = config.server.workers {
        builder = builder.workers(workers);
    }
    let handed = activation::addresses(&sockets);
    let sandbox = Sandbox::new((!arguments.no_sandbox).then(|| needs(path, &config, &handed)));
    let worker_sandbox = sandbox.clone();
    let server = builder
        .sockets(sockets)
        .on_worker_start(move |_| worker_sandbox.enter())
        .start()
        .await
        .map_err(Failure::new)?;
    let mut service = Service::new(server, path.clone(), arguments.docker, steering.clone());
    let (operation, store) = (config.operation.clone(), config.store.clone());
    service.start(config).await.map_err(|error| Failure::configuration(vec![error]))?;
    // Whoever stops the server is answered no more.
    let _control = steering.start(service.server(), "control", &operation, &sandbox).await;
    // It has threads of its own, which are to be confined, too.
    service.share(store).await;
    let changed = Arc::new(Notify::new());
    let notify = changed.clone();
    // It has threads of its own, which are confined as this one is.
    let watcher = Watcher::new(path, move || notify.notify_one());
    if let Err(error) = &watcher {
        warn!("{error}; send SIGHUP after a change");
    }
    if stamp(path) != before {
        // Between the first reading and the watch.
        changed.notify_one();
    }
    let mut patience = std::pin::pin!(sleep(PATIENCE));
    let server = service.server().clone();
    let mut watchdog = std::pin::pin!(systemd::watchdog(&server));
    let (mut is_ready, mut is_incomplete) = (false, false);
    loop {
        if !is_ready && (!service.is_starting() || patience.is_elapsed()) {
            is_ready = true;
            activation::warn_of_unused(&handed, service.server());
            if arguments.require_listen {
                service.require_listeners().map_err(|messages| Failure { messages, code: NO })?;
            }
            is_incomplete = service.settled();
        }
        tokio::select! {
            _ = hangup.recv() => {
                steering.reopen_log();
                is_incomplete = service.reload("SIGHUP", watcher.as_ref().ok()).await;
            }
            Some(order) = orders.recv() => {
                is_incomplete = service.reload("callsign reload", watcher.as_ref().ok()).await;
                // Who ordered it may have gone.
                let _ = order.send(steering.last());
            }
            () = changed.notified() => {
                is_incomplete = service.reload("the file changed", watcher.as_ref().ok()).await;
            }
            news = service.changed() => {
                service.take_in(news).await;
                if is_ready {
                    is_incomplete = service.look();
                }
            }
            () = &mut patience, if !is_ready => {}
            () = &mut watchdog => {}
            () = sleep(LOOK), if is_incomplete => is_incomplete = service.look(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    systemd::stopping();
    steering.stopping();
    let server = service.server().clone();
    let stop = async {
        server.shutdown().await;
        service.leave().await;
    };
    tokio::select! {
        () = stop => info!("stopped"),
        _ = terminate.recv() => warn!("stopped at once"),
        _ = interrupt.recv() => warn!("stopped at once"),
    }
    Ok(())
}

/// What differs if a file was written to or replaced.
fn stamp(path: &Path) -> Option<impl PartialEq> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}
