//! `callsign serve`: the server, from a configuration file and from Docker, until a signal.

mod activation;
mod docker;
mod podman;
mod reload;
mod supervisor;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use callsign::server::{ReadySocket, Server};
use callsign::source::config::{Problem, Watcher};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{info, warn};

use super::steering::Steering;
use super::{NO, USAGE, arguments, descriptors, log, output};
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
        Err(messages) => {
            messages.iter().for_each(log::start_failed);
            NO.into()
        }
    }
}

/// Serves until told to stop. The errors are why it could not start.
async fn serve(arguments: &arguments::Serve, sockets: Vec<ReadySocket>) -> Result<(), Vec<String>> {
    let listen = |kind| signal(kind).map_err(|error| vec![format!("cannot take signals: {error}")]);
    let (mut hangup, mut terminate, mut interrupt) =
        (listen(SignalKind::hangup())?, listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let path = &arguments.file.path();
    // Before the file is read, so that no change falls in between.
    let changed = Arc::new(Notify::new());
    let notify = changed.clone();
    let watcher = Watcher::new(path, move || notify.notify_one());
    if let Err(error) = &watcher {
        warn!("{error}; send SIGHUP after a change");
    }
    let config = reload::first(path, arguments.docker)
        .await
        .map_err(|error| error.problems().iter().map(Problem::to_string).collect::<Vec<_>>())?;
    info!(version = env!("CARGO_PKG_VERSION"), config = %path.display(), "callsign starts");
    let mut builder = Server::builder().port(config.server.port).settings(config.server.settings.clone());
    let (steering, mut orders) = Steering::new("file", path);
    builder = builder.observer(steering.hub());
    if let Some(workers) = config.server.workers {
        builder = builder.workers(workers);
    }
    let handed = activation::addresses(&sockets);
    let server = builder.sockets(sockets).start().await.map_err(|error| vec![error.to_string()])?;
    let mut service = Service::new(server, path.clone(), arguments.docker, steering.clone());
    let operation = config.operation.clone();
    service.start(config).await.map_err(|error| vec![error])?;
    // Whoever stops the server is answered no more.
    let _control = steering.start(service.server(), "control", &operation).await;
    let mut patience = std::pin::pin!(sleep(PATIENCE));
    let (mut is_ready, mut is_incomplete) = (false, false);
    loop {
        if !is_ready && (!service.is_starting() || patience.is_elapsed()) {
            is_ready = true;
            activation::warn_of_unused(&handed, service.server());
            if arguments.require_listen {
                service.require_listeners()?;
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
            () = sleep(LOOK), if is_incomplete => is_incomplete = service.look(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    supervisor::stopping();
    steering.stopping();
    info!("stopping: answering what was asked");
    tokio::select! {
        () = service.server().shutdown() => info!("stopped"),
        _ = terminate.recv() => warn!("stopped at once"),
        _ = interrupt.recv() => warn!("stopped at once"),
    }
    Ok(())
}
