//! 12 and 13: what others write into the store, and whom etcd lets in.

use std::time::Duration;

use callsign::settings::{ClaimStatus, LinkStatus};
use callsign::table::{Reach, Sharing};

use crate::bed::{Cluster, address_of, endpoint, network, routed, wait, wait_or};
use crate::needs_root;
use crate::support::DEADLINE;

/// What a host says of itself that shares `shop` and `blog`.
fn host_value() -> String {
    let networks = r#"{"shop":{"share":"container","subnets":[]},"blog":{"share":"container","subnets":[]}}"#;
    format!(
        r#"{{"v":1,"machine":"evil","instance":"evil","addr":["10.77.0.66"],"networks":{networks},"complete":true}}"#
    )
}

#[test]
fn a12_hostile_values_cost_themselves_alone() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(1);
    let web = endpoint("web-1", "10.88.1.10", "web").build().unwrap();
    let secret = endpoint("secret-1", "10.88.101.9", "secret").build().unwrap();
    let blog = {
        let mut sharing = Sharing::new(Reach::Container);
        sharing.remote_subnets = vec!["10.88.0.0/16".parse().unwrap()];
        network("blog", "10.88.101.0/24", "10.88.101.1", sharing)
    };
    let a = cluster.host("host-a", vec![routed("shop", 1).endpoint(web), blog.endpoint(secret)]);
    a.settled();
    cluster.put("/callsign/v1/evil/host", &host_value());
    let put = |network: &str, id: &str, value: &str| cluster.put(&format!("/callsign/v1/evil/e/{network}/{id}"), value);
    for (id, value) in [
        ("json", "{"),
        ("empty", ""),
        ("loopback", r#"{"n":["loopback"],"a":["127.0.0.1"]}"#),
        ("elsewhere", r#"{"n":["elsewhere"],"a":["8.8.8.8"]}"#),
        ("localhost", r#"{"n":["localhost","a.localhost"],"a":["10.88.9.1"]}"#),
        ("wildcard", r#"{"n":["*"],"a":["10.88.9.1"]}"#),
        ("wide", r#"{"n":["*.apps"],"a":["10.88.9.1"]}"#),
        ("gateway", r#"{"n":["host.docker.internal"],"a":["10.88.9.1"]}"#),
        ("reverse", r#"{"n":["1.0.0.10.in-addr.arpa"],"a":["10.88.9.1"]}"#),
    ] {
        put("shop", id, value);
    }
    cluster.put("/callsign/v1/evil/e/shop/bad/key", "{}");
    cluster.put("/callsign/v1/EVIL/host", &host_value());
    // An id of this host's on another network (28), and an address of this host's client.
    put("blog", "web-1", r#"{"n":["joined"],"a":["10.88.9.2"]}"#);
    put("shop", "thief", r#"{"n":["thief"],"a":["10.88.1.10"]}"#);
    put("shop", "good", r#"{"n":["good"],"a":["10.88.9.3"]}"#);
    a.expect("shop", "good", "A 10.88.9.3");
    for name in ["loopback", "elsewhere", "a.localhost", "x.apps", "anything"] {
        assert!(!a.ask("shop", name).contains("10.88.9.1"), "{name}: {}", a.ask("shop", name));
        assert!(!a.ask("shop", name).contains("8.8.8.8"));
    }
    assert_eq!(a.ask("shop", "localhost"), "A 127.0.0.1");
    assert!(!a.ask("shop", "host.docker.internal").contains("10.88.9.1"));
    // web-1 of shop does not see blog because somebody says that it is there, too.
    assert_eq!(a.ask("shop", "secret"), "forwarded");
    assert_eq!(a.ask("shop", "web"), "A 10.88.1.10");
    let status = a.status();
    for reason in ["value", "key", "address", "name"] {
        assert!(status.refused.get(reason).is_some_and(|count| *count > 0), "{reason}: {:?}", status.refused);
    }
    // 10 MB by one host: it costs that host alone.
    let value = format!(r#"{{"n":["{}"],"a":["10.88.9.4"]}}"#, vec!["x".repeat(60); 60].join("\",\""));
    let value = value.replace('"', "\\\"");
    for batch in 0..28 {
        let puts: String =
            (0..100).map(|id| format!("put /callsign/v1/evil/e/shop/m{batch}x{id} \"{value}\"\n")).collect();
        let script = format!("\n{puts}\n\n");
        let member = &cluster.members[0];
        let mut command = member.namespace.command("env");
        command.args(["ETCDCTL_API=3", "etcdctl", &format!("--endpoints=http://{}:2379", member.address), "txn"]);
        crate::support::process::run_with_input(command, &script).expect_success();
    }
    wait_or(DEADLINE, || a.status().refused.contains_key("limit"), || format!("{:#?}", a.status()));
    assert_eq!(a.ask("shop", "web"), "A 10.88.1.10");
    assert!(a.status().hosts["evil"].endpoints < 1_300, "{:#?}", a.status());
    // An honest host is not hurt.
    let b =
        cluster.host("host-b", vec![routed("shop", 2).endpoint(endpoint("db", "10.88.2.3", "db").build().unwrap())]);
    b.settled();
    a.expect("shop", "db", "A 10.88.2.3");
}

#[test]
fn a12_names_of_other_domains_are_not_taken() {
    needs_root!("etcd", "etcdctl");
    let cluster = Cluster::of(1);
    let a = cluster.host_with("host-a", vec![routed("shop", 1)], |options| {
        options.reserved = vec!["corp.example".parse().unwrap()];
    });
    let names = endpoint("b1", "10.88.2.3", "intra.corp.example").name("db").build().unwrap();
    let _b = cluster.host("host-b", vec![routed("shop", 2).endpoint(names)]);
    a.expect("shop", "db", "A 10.88.2.3");
    assert_eq!(a.ask("shop", "intra.corp.example"), "forwarded");
}

/// Users and roles as docs/hosts.md has them: each host writes its own keys and reads all.
fn roles(cluster: &Cluster, hosts: &[&str]) {
    let run = |words: &[&str]| drop(cluster.etcdctl(words));
    run(&["role", "add", "callsign-read"]);
    run(&["role", "grant-permission", "--prefix=true", "callsign-read", "read", "/callsign/v1/"]);
    for host in hosts {
        run(&["role", "add", host]);
        run(&["role", "grant-permission", "--prefix=true", host, "readwrite", &format!("/callsign/v1/{host}/")]);
        run(&["user", "add", &format!("{host}:secret of {host}")]);
        run(&["user", "grant-role", host, host]);
        run(&["user", "grant-role", host, "callsign-read"]);
    }
    run(&["user", "add", "root:root"]);
    run(&["user", "grant-role", "root", "root"]);
    run(&["auth", "enable"]);
}

#[test]
fn a13_a_password_is_given_again_when_the_token_is_lost() {
    needs_root!("etcd", "etcdctl");
    let mut cluster = Cluster::of(1);
    roles(&cluster, &["host-a", "host-b"]);
    let with = |cluster: &Cluster, host: &str, networks| {
        let file = cluster.path().join(format!("{host}.password"));
        std::fs::write(&file, format!("secret of {host}\n")).unwrap();
        let user = Some((host.to_owned(), file));
        cluster.host_with(host, networks, |options| options.user = user)
    };
    let a = with(&cluster, "host-a", vec![routed("shop", 1)]);
    let b =
        with(&cluster, "host-b", vec![routed("shop", 2).endpoint(endpoint("db", "10.88.2.3", "db").build().unwrap())]);
    a.expect("shop", "db", "A 10.88.2.3");
    b.settled();
    // Simple tokens live in the memory of etcd.
    cluster.kill(0);
    cluster.start_all("existing");
    b.network("shop").attach(endpoint("new", "10.88.2.4", "new").build().unwrap()).unwrap();
    a.expect("shop", "new", "A 10.88.2.4");
    // A host with another's name, and so without a role for it.
    let file = cluster.path().join("host-a.password");
    let c = cluster
        .host_with("host-c", vec![routed("shop", 3)], |options| options.user = Some(("host-a".to_owned(), file)));
    let reason = || match c.status().claim {
        ClaimStatus::Refused { reason } => reason,
        other => format!("{other:?}"),
    };
    wait_or(DEADLINE, || reason().contains("/callsign/v1/host-c/") && reason().contains("host-a"), reason);
    c.expect("shop", "db", "A 10.88.2.3");
    // A wrong password, and none.
    let file = cluster.path().join("wrong.password");
    std::fs::write(&file, "wrong").unwrap();
    let d = cluster
        .host_with("host-d", vec![routed("shop", 4)], |options| options.user = Some(("host-a".to_owned(), file)));
    let error = |host: &crate::bed::Host| match host.status().link {
        LinkStatus::Away { error, .. } => error,
        other => format!("{other:?}"),
    };
    wait_or(DEADLINE, || error(&d).contains("authentication failed"), || error(&d));
    let e = cluster.host("host-e", vec![routed("shop", 5)]);
    wait_or(DEADLINE, || error(&e).contains("/callsign/v1/") && error(&e).contains("user"), || error(&e));
}

#[test]
fn a13_certificates_say_who_a_host_is() {
    needs_root!("etcd", "etcdctl");
    let authority = Authority::new();
    let cluster = Cluster::with(1, "https", |directory| {
        authority.write(directory, "server", &["10.77.0.1"]);
        authority.write(directory, "host-a", &[]);
        authority.write(directory, "host-b", &[]);
        authority.write(directory, "root", &[]);
        let path = |name: &str| directory.join(name).display().to_string();
        vec![
            format!("--cert-file={}", path("server.pem")),
            format!("--key-file={}", path("server.key")),
            format!("--trusted-ca-file={}", path("ca.pem")),
            "--client-cert-auth".to_owned(),
        ]
    });
    let path = |name: &str| cluster.path().join(name);
    let host = |name: &str, certificate: Option<&str>, networks| {
        let certificate = certificate.map(|name| (path(&format!("{name}.pem")), path(&format!("{name}.key"))));
        cluster.host_with(name, networks, |options| {
            options.ca = Some(path("ca.pem"));
            options.certificate = certificate;
        })
    };
    let db = endpoint("db", "10.88.2.3", "db").build().unwrap();
    let b = host("host-b", Some("host-b"), vec![routed("shop", 2).endpoint(db)]);
    let a = host("host-a", Some("host-a"), vec![routed("shop", 1)]);
    a.expect("shop", "db", "A 10.88.2.3");
    b.settled();
    assert_eq!(a.status().hosts["host-b"].addresses, [address_of("host-b").parse::<std::net::IpAddr>().unwrap()]);
    // No certificate: the message says so.
    let none = host("host-c", None, vec![routed("shop", 3)]);
    let error = || match none.status().link {
        LinkStatus::Away { error, .. } => error,
        other => format!("{other:?}"),
    };
    wait_or(DEADLINE, || error().contains("does etcd want a client certificate?"), error);
    // One that another authority signed for the members.
    let stranger = Authority::new();
    stranger.write(cluster.path(), "stranger", &[]);
    let d = cluster.host_with("host-d", vec![routed("shop", 4)], |options| {
        options.ca = Some(path("stranger-ca.pem"));
        options.certificate = Some((path("host-a.pem"), path("host-a.key")));
    });
    std::fs::write(path("stranger-ca.pem"), stranger.certificate()).unwrap();
    let error = || match d.status().link {
        LinkStatus::Away { error, .. } => error,
        other => format!("{other:?}"),
    };
    wait_or(DEADLINE, || error().contains("certificate"), error);
    wait("the others go on", Duration::from_secs(1), || a.is_settled());
}

/// Who signs certificates.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        Authority { certificate, issuer: rcgen::Issuer::new(parameters, key) }
    }

    fn certificate(&self) -> String {
        self.certificate.pem()
    }

    /// Writes `NAME.pem` and `NAME.key`, for a common name and addresses, and `ca.pem` if it is not there.
    fn write(&self, directory: &std::path::Path, name: &str, addresses: &[&str]) {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.subject_alt_names =
            addresses.iter().map(|address| rcgen::SanType::IpAddress(address.parse().unwrap())).collect();
        let purposes = [rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        parameters.extended_key_usages = purposes.to_vec();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        let ca = directory.join("ca.pem");
        if !ca.exists() {
            std::fs::write(ca, self.certificate()).unwrap();
        }
    }
}
