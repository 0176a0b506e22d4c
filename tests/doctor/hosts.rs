//! Hosts without a container engine.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::bed::{GATEWAY, Host, config, expect_first};
use crate::needs_root;
use crate::support::dnsmasq::Dnsmasq;
use crate::support::machine::at_port_53;
use crate::support::process::{Process, Source};
use crate::support::program::{CALLSIGN, Program};

#[test]
fn a_host_that_is_well_has_no_problem() {
    needs_root!("ip", "dnsmasq", "nft", "iptables");
    let host = Host::new();
    let _upstream = host.upstream();
    let callsign = host.callsign("");
    let document = host.document(&callsign.config_path());
    assert_eq!((&document["version"], &document["healthy"]), (&1.into(), &true.into()), "{document:#}");
    let verdict = |id: &str| {
        let checks = document["checks"].as_array().unwrap();
        let found: Vec<_> = checks.iter().filter(|check| check["id"] == id).map(|check| &check["verdict"]).collect();
        assert_eq!(found.len(), 1, "{id}: {document:#}");
        found[0].as_str().unwrap().to_owned()
    };
    for id in ["configuration", "permissions", "port", "callsign", "loop", "clock", "upstreams", "firewall", "versions"]
    {
        assert_eq!(verdict(id), "ok", "{id}: {document:#}");
    }
    for id in ["docker-dns", "docker-containers"] {
        assert_eq!(verdict(id), "skipped", "{id}: {document:#}");
    }
    let said = host.doctor(&callsign.config_path());
    assert!(said.status.success() && said.stdout.ends_with("\nNothing is wrong.\n"), "{}", said.stdout);
}

#[test]
fn a_configuration_with_a_mistake() {
    needs_root!("ip", "dnsmasq");
    let host = Host::new();
    let _upstream = host.upstream();
    let callsign = host.callsign("");
    let mark = callsign.mark();
    callsign.write_config("[server]\nprot = 53\n");
    callsign.wait_after(mark, Source::Notify, "READY=1");
    let said = host.doctor(&callsign.config_path());
    expect_first(&said, &["problem", "configuration is not valid", "callsign.toml:2: unknown key `prot`"]);
}

#[test]
fn another_program_has_port_53() {
    needs_root!("ip", "dnsmasq");
    let host = Host::new();
    let _upstream = host.upstream();
    let other = Dnsmasq::start(Some(host.lab.host()), at_port_53(GATEWAY), &[]);
    let callsign = Program::with(&config("")).inside(host.lab.host()).spawn();
    callsign.wait_for(Source::Stderr, "cannot listen");
    let said = host.doctor(&callsign.config_path());
    expect_first(&said, &["problem", "UDP port 53 of 10.10.1.1 (network shop) is taken by dnsmasq (pid "]);
    assert!(said.stdout.contains("bind-interfaces"), "{}", said.stdout);
    drop(other);
}

#[test]
fn callsign_was_stopped() {
    needs_root!("ip", "dnsmasq");
    let host = Host::new();
    let _upstream = host.upstream();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callsign.toml");
    fs::write(&file, config("")).unwrap();
    expect_first(&host.doctor(&file), &["problem", "callsign does not run"]);
}

#[test]
fn an_upstream_is_callsign_itself() {
    needs_root!("ip", "dnsmasq");
    let host = Host::new();
    host.lab.host().set_resolv_conf(&format!("nameserver {GATEWAY}\n"));
    let callsign = host.callsign("");
    let said = host.doctor(&callsign.config_path());
    expect_first(
        &said,
        &["problem", "leads back to callsign: 10.10.1.1:53 is callsign itself (/etc/resolv.conf names it)"],
    );
}

#[test]
fn no_upstream_answers() {
    needs_root!("ip", "dnsmasq");
    let host = Host::new();
    let _upstream = host.upstream();
    let callsign = host.callsign("upstreams = [\"10.99.0.1:54\"]");
    let said = host.doctor(&callsign.config_path());
    expect_first(
        &said,
        &["problem", "upstream 10.99.0.1:54 does not answer: connection refused (the configuration names it)"],
    );
    // As long as one answers it is no problem.
    callsign.write_config(&config("upstreams = [\"10.99.0.1:54\", \"10.99.0.1\"]"));
    expect_first(&host.doctor(&callsign.config_path()), &["warning", "upstream 10.99.0.1:54 does not answer"]);
}

#[cfg(feature = "encrypted")]
#[test]
fn the_clock_or_the_certificate_of_an_upstream_is_wrong() {
    needs_root!("ip");
    use crate::support::certificates::Authority;
    use crate::support::encrypted::tls;
    let host = Host::new();
    let authority = Authority::new();
    let identity = authority.expired(&["dns.example"]);
    let (_runtime, upstream) = host.lab.host().enter(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let upstream = runtime.block_on(tls(identity.server("dot"), |query| vec![query.answer(&[])]));
        (runtime, upstream)
    });
    let server = format!("tls://{}?ca={}#dns.example", upstream.address(), authority.file().display());
    let callsign = host.callsign(&format!("upstreams = [\"{server}\"]"));
    let said = host.doctor(&callsign.config_path());
    expect_first(&said, &["problem  upstream tls://", "does not answer", "xpired"]);
    assert!(said.stdout.contains("the clock of this host says 20"), "{}", said.stdout);
}

#[test]
fn a_firewall_of_nftables_drops_the_questions() {
    needs_root!("ip", "dnsmasq", "nft");
    let host = Host::new();
    let _upstream = host.upstream();
    let callsign = host.callsign("");
    for rule in [
        "add table inet guard",
        "add chain inet guard in { type filter hook input priority 0; policy drop; }",
        "add rule inet guard in ct state established,related accept",
        "add rule inet guard in iifname lo accept",
        "add rule inet guard in tcp dport 22 accept",
    ] {
        host.lab.host().run(&["nft", rule]).expect_success();
    }
    let said = host.doctor(&callsign.config_path());
    expect_first(
        &said,
        &[
            "problem",
            "the firewall drops questions of containers on shop to port 53",
            "nft inet guard, chain in: its policy, drop",
        ],
    );
    // The cure is one.
    let cure = said.stdout.lines().nth(1).unwrap().trim();
    host.lab.host().run(&["sh", "-c", cure]).expect_success();
    let said = host.doctor(&callsign.config_path());
    assert!(
        said.status.success() && said.stdout.contains("ok       the firewall lets questions from shop through"),
        "{}",
        said.stdout
    );
}

#[test]
fn d1_14_a_firewall_of_iptables_drops_the_questions() {
    needs_root!("ip", "dnsmasq", "nft", "iptables");
    let host = Host::new();
    let _upstream = host.upstream();
    let callsign = host.callsign("");
    for rule in [
        "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A INPUT -i lo -j ACCEPT",
        "-A INPUT -p tcp -m multiport --dports 22,80 -j ACCEPT",
        "-P INPUT DROP",
    ] {
        let words: Vec<&str> = std::iter::once("iptables").chain(rule.split(' ')).collect();
        host.lab.host().run(&words).expect_success();
    }
    let said = host.doctor(&callsign.config_path());
    expect_first(
        &said,
        &["problem", "the firewall drops questions of containers on shop", "iptables, chain INPUT: its policy, drop"],
    );
    for cure in said.stdout.lines().skip(1).take(2) {
        host.lab.host().run(&["sh", "-c", cure.trim()]).expect_success();
    }
    let said = host.doctor(&callsign.config_path());
    assert!(said.status.success(), "{}", said.stdout);
}

#[test]
fn the_services_user_may_not_read_the_configuration() {
    needs_root!("ip", "dnsmasq", "setpriv");
    let host = Host::new();
    let _upstream = host.upstream();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callsign.toml");
    fs::write(&file, config("port = 5300")).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = host.lab.host().command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", CALLSIGN, "serve"]).arg(&file);
    let callsign = Process::spawn(command);
    callsign.wait_for(Source::Stderr, "network is served");
    assert!(host.doctor(&file).status.success(), "{}", host.doctor(&file).stdout);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let said = host.doctor(&file);
    expect_first(&said, &["problem", "callsign runs as nobody, which may not read", "callsign.toml"]);
    assert!(said.stdout.contains(&format!("chmod o+r {}", file.display())), "{}", said.stdout);
}

#[test]
fn the_services_user_may_not_read_podmans_directory() {
    needs_root!("ip", "dnsmasq", "setpriv");
    let host = Host::new();
    let _upstream = host.upstream();
    let directory = tempfile::tempdir().unwrap();
    let (file, podman) = (directory.path().join("callsign.toml"), directory.path().join("containers/aardvark-dns"));
    fs::create_dir_all(&podman).unwrap();
    // As Podman makes it.
    fs::set_permissions(podman.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let podman = format!("[podman]\ndirectory = {:?}\n", podman.display().to_string());
    fs::write(&file, format!("{}[host]\n{podman}", config("port = 5300"))).unwrap();
    let mut command = host.lab.host().command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", CALLSIGN, "serve"]).arg(&file);
    let callsign = Process::spawn(command);
    callsign.wait_for(Source::Stderr, "network is served");
    let said = host.doctor(&file);
    expect_first(
        &said,
        &["problem", "callsign runs as nobody, which may not read Podman's ", "/containers/aardvark-dns"],
    );
    assert!(said.stdout.contains("DynamicUser=no User=root"), "{}", said.stdout);
}

#[test]
fn a_root_that_has_given_up_its_capabilities_may_not_read_everything() {
    needs_root!("ip", "dnsmasq", "setpriv");
    let host = Host::new();
    let _upstream = host.upstream();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("callsign.toml");
    fs::write(&file, config("port = 5300")).unwrap();
    let mut command = host.lab.host().command("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", CALLSIGN, "serve"]).arg(&file);
    let callsign = Process::spawn(command);
    callsign.wait_for(Source::Stderr, "network is served");
    std::os::unix::fs::chown(&file, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let said = host.doctor(&file);
    expect_first(&said, &["problem", "callsign runs as root, which may not read", "callsign.toml"]);
}

#[test]
fn the_program_was_replaced_while_it_ran() {
    needs_root!("ip", "dnsmasq");
    let host = Host::new();
    let _upstream = host.upstream();
    let directory = tempfile::tempdir().unwrap();
    let (program, file) = (directory.path().join("callsign"), directory.path().join("callsign.toml"));
    fs::copy(CALLSIGN, &program).unwrap();
    fs::write(&file, config("")).unwrap();
    let mut command = host.lab.host().command(program.to_str().unwrap());
    command.arg("serve").arg(&file);
    let callsign = Process::spawn(command);
    callsign.wait_for(Source::Stderr, "network is served");
    fs::remove_file(&program).unwrap();
    expect_first(&host.doctor(&file), &["warning", "callsign was replaced on disk, and the old one still runs (pid "]);
}
