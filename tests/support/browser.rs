//! A real browser without a window, in a network namespace whose only name server is systemd-resolved's stub there.

use std::time::Duration;

use super::needs;
use super::netns::Namespace;
use super::process::Process;

/// A browser starts slowly on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(90);

/// The document that Chromium has for `url`, as it stands when all was loaded. It looks names up by itself, at 127.0.0.53, and not
/// by the C library. `None`, and `what` is said to be skipped, where there is no Chromium.
#[track_caller]
pub fn open(network: &Namespace, url: &str, what: &str) -> Option<String> {
    if needs::find("chromium").is_none() && !needs::is_root_in_ci() {
        needs::skip("chromium", what);
        return None;
    }
    let profile = tempfile::tempdir().unwrap();
    network.set_resolv_conf("nameserver 127.0.0.53\n");
    let mut chromium = network.command("chromium");
    // Root's browser has no sandbox; the last makes its own resolver the one that counts, as it is on desktops.
    chromium.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]);
    chromium.args(["--enable-features=AsyncDns", "--timeout=20000", "--dump-dom"]);
    chromium.arg(format!("--user-data-dir={}", profile.path().display())).arg(url);
    chromium.env("HOME", profile.path());
    Some(Process::spawn(chromium).finish(PATIENCE).expect_success().stdout)
}
