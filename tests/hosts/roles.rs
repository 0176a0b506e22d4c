//! contrib/etcd/callsign-hosts: the rights that it gives are those that a host needs, and no others.

use std::path::Path;

use crate::bed::{Cluster, endpoint, routed};
use crate::needs_root;
use crate::support::process::Finished;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/etcd/callsign-hosts");

/// Runs the script in the cluster's directory, where it leaves passwords.
fn script(cluster: &Cluster, arguments: &str) -> Finished {
    let member = &cluster.members[0];
    let command = format!("cd {} && {SCRIPT} {arguments}", cluster.path().display());
    let endpoints = format!("ETCDCTL_ENDPOINTS=http://{}:2379", member.address);
    let root = if arguments.contains("after-auth") { "ETCDCTL_USER=root:root" } else { "NOBODY=1" };
    member.namespace.run(&["env", &endpoints, root, "sh", "-c", &command.replace(" after-auth", "")])
}

/// What etcdctl says of a command of this user's.
fn as_user(cluster: &Cluster, user: &str, words: &[&str]) -> Finished {
    let member = &cluster.members[0];
    let password = std::fs::read_to_string(cluster.path().join(format!("{user}.password"))).unwrap();
    let endpoint = format!("--endpoints=http://{}:2379", member.address);
    let user = format!("--user={user}:{}", password.trim());
    let mut command = vec!["env", "ETCDCTL_API=3", "etcdctl", &endpoint, &user];
    command.extend(words);
    member.namespace.run(&command)
}

#[test]
fn a_host_gets_the_rights_that_it_needs_and_no_others() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(1);
    let said = script(&cluster, "--password add host-a host-b").expect_success().stdout;
    assert_eq!(said.lines().next(), Some("host-a writes below /callsign/v1/host-a/ and reads /callsign/v1/"));
    for words in [&["user", "add", "root:root"][..], &["user", "grant-role", "root", "root"], &["auth", "enable"]] {
        cluster.etcdctl(words);
    }
    // Again, and one more: nothing is lost.
    script(&cluster, "--password add host-b host-c after-auth").expect_success();
    assert_eq!(script(&cluster, "list after-auth").expect_success().stdout, "host-a\nhost-b\nhost-c\n");

    // What a host does, with a password file as the script leaves it.
    let file = |host: &str| cluster.path().join(format!("{host}.password"));
    let is_private = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o077 == 0
    };
    assert!(is_private(&file("host-a")));
    let host = |name: &str, networks| {
        cluster.host_with(name, networks, |options| options.user = Some((name.to_owned(), file(name))))
    };
    let db = endpoint("db-1", "10.88.2.3", "db").build().unwrap();
    let (a, b) = (host("host-a", vec![routed("shop", 1)]), host("host-b", vec![routed("shop", 2).endpoint(db)]));
    a.expect("shop", "db", "A 10.88.2.3");
    b.settled();

    // What it may not do.
    for words in [
        &["put", "/callsign/v1/host-b/host", "x"][..],
        &["put", "/callsign/v1/host-ab/host", "x"],
        &["put", "/callsign/v1/x", "x"],
        &["del", "--prefix", "/callsign/v1/"],
        &["get", "--prefix", "/callsign/"],
        &["get", "other"],
        &["user", "list"],
    ] {
        let Finished { status, stderr, .. } = as_user(&cluster, "host-a", words);
        assert!(!status.success() && stderr.contains("permission denied"), "{words:?}: {stderr}");
    }
    // A host that is gone for good has no names either.
    b.kill();
    script(&cluster, "remove host-b after-auth").expect_success();
    assert_eq!(script(&cluster, "list after-auth").expect_success().stdout, "host-a\nhost-c\n");
    let keys = as_user(&cluster, "host-a", &["get", "--prefix", "--keys-only", "/callsign/v1/"]).expect_success();
    assert!(keys.stdout.contains("host-a") && !keys.stdout.contains("host-b"), "{}", keys.stdout);
}

#[test]
fn a_host_whose_name_is_none_is_refused_before_anything_is_done() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(1);
    for (arguments, says) in [
        ("add host-a Host_B", "Host_B is no host name"),
        ("add ..", ".. is no host name"),
        ("--prefix callsign add host-a", "has to begin with a slash"),
        ("add", "add HOST..."),
        ("", "add HOST..."),
        ("delete host-a", "add HOST..."),
    ] {
        let Finished { status, stderr, .. } = script(&cluster, arguments);
        assert!(status.code() == Some(2) && stderr.contains(says), "{arguments}: {status} {stderr}");
    }
    assert_eq!(cluster.etcdctl(&["role", "list"]).trim(), "");
}
