//! What `aardvark-dns version` tells of the build: commit, time and target.
//!
//! Two builds of one source are the same octets where SOURCE_DATE_EPOCH is set (reproducible-builds.org).

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let time = env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or_else(now);
    println!("cargo::rustc-env=CALLSIGN_BUILD_TIME={time}");
    println!("cargo::rustc-env=CALLSIGN_TARGET={}", env::var("TARGET").unwrap_or_default());
    println!("cargo::rustc-env=CALLSIGN_COMMIT={}", commit().unwrap_or_default());
}

/// The commit, where this is a clone, and not a package that lies somewhere in another project's clone.
fn commit() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    let output = Command::new("git").args(["rev-parse", "HEAD"]).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
