//! `[podman] directory`: Podman's networks in the host view, beside the server that answers them to containers.

use std::fs;
use std::path::Path;

use callsign::wire::rtype;

use crate::support::free_port;
use crate::support::process::Source;
use crate::support::program::Program;
use crate::support::sockets::listening;
use crate::{HOST, answers, becomes, ip};

const SHOP: &str = "10.89.0.1\n68fb291b0318 10.89.0.2  web,68fb291b0318\n95655fb6832b 10.89.0.3 fd00::3 db\n";

fn write(directory: &Path, file: &str, text: &str) {
    fs::write(directory.join(file), text).unwrap();
}

/// A directory that Podman has not made yet, and the program with it.
fn started(more: &str) -> (tempfile::TempDir, std::path::PathBuf, u16, Program) {
    let above = tempfile::tempdir().unwrap();
    let directory = above.path().join("networks/aardvark-dns");
    let port = free_port(&[ip(HOST), ip("127.0.0.56")]);
    let config =
        format!("[server]\nport = {port}\n[host]\n[podman]\ndirectory = {:?}\n{more}", directory.display().to_string());
    let program = Program::with(&config).start();
    (above, directory, port, program)
}

#[test]
fn v6_podmans_networks_are_read_for_the_host_view_and_nothing_else() {
    let (_above, directory, port, program) = started("");
    let at = |name: &str| answers(HOST, port, &format!("{name}.containers.internal"), rtype::A);
    assert_eq!(at("web.shop"), ["NXDOMAIN"]);
    fs::create_dir_all(&directory).unwrap();
    write(&directory, "shop", SHOP);
    becomes(vec!["10.89.0.2".to_owned()], || at("web.shop"));
    assert_eq!(at("95655fb6832b.shop"), ["10.89.0.3"]);
    assert_eq!(answers(HOST, port, "2.0.89.10.in-addr.arpa", rtype::PTR), ["web.shop.containers.internal"]);
    // Not at their gateways: netavark's own server does that.
    assert_eq!(listening(program.pid(), (ip("10.89.0.1"), port).into()), Vec::<String>::new());
    assert_eq!(listening(program.pid(), (ip("10.89.0.1"), 53).into()), Vec::<String>::new());
    // A container is added as netavark adds it, and another network comes.
    use std::io::Write;
    let mut file = fs::File::options().append(true).open(directory.join("shop")).unwrap();
    file.write_all(b"aaaaaaaaaaaa 10.89.0.4  queue\n").unwrap();
    becomes(vec!["10.89.0.4".to_owned()], || at("queue.shop"));
    write(&directory, "blog%int", "10.90.0.1\nbbbbbbbbbbbb 10.90.0.2  site\n");
    becomes(vec!["10.90.0.2".to_owned()], || at("site.blog"));
    fs::remove_file(directory.join("shop")).unwrap();
    becomes(vec!["NXDOMAIN".to_owned()], || at("web.shop"));
    fs::remove_dir_all(&directory).unwrap();
    becomes(vec!["NXDOMAIN".to_owned()], || at("site.blog"));
    // With the next container it is there again.
    fs::create_dir_all(&directory).unwrap();
    write(&directory, "shop", SHOP);
    becomes(vec!["10.89.0.2".to_owned()], || at("web.shop"));
}

#[test]
fn v6_a_network_of_the_file_and_one_of_podmans_may_have_one_name() {
    let file = "[[network]]\nname = \"shop\"\nlisten = [\"127.0.0.56\"]\n\
                endpoint = [{ id = \"a\", names = [\"web\"], addresses = [\"10.10.1.4\"] }]\n";
    let (_above, directory, port, program) = started(file);
    fs::create_dir_all(&directory).unwrap();
    write(&directory, "shop", SHOP);
    let told = program.wait_for(Source::Stderr, "of a name that both have");
    assert!(told.contains("\"shop\" of the file and a network \"shop\" of Podman"), "{told}");
    assert!(told.contains("the host view has the one of the file"), "{told}");
    let at = |name: &str| answers(HOST, port, &format!("{name}.shop.containers.internal"), rtype::A);
    assert_eq!(at("web"), ["10.10.1.4"]);
    assert_eq!(at("db"), ["10.89.0.3"]);
    // Whoever asks the file's network sees none of Podman's.
    assert_eq!(answers("127.0.0.56", port, "web", rtype::A), ["10.10.1.4"]);
    assert_ne!(answers("127.0.0.56", port, "db", rtype::A), ["10.89.0.3"]);
}

#[test]
fn v6_the_directory_may_be_another_after_a_reload_or_none() {
    let (above, directory, port, program) = started("");
    let at = |name: &str| answers(HOST, port, &format!("{name}.containers.internal"), rtype::A);
    let other = above.path().join("other");
    fs::create_dir_all(&other).unwrap();
    fs::create_dir_all(&directory).unwrap();
    write(&directory, "shop", SHOP);
    write(&other, "blog", "10.90.0.1\nbbbbbbbbbbbb 10.90.0.2  site\n");
    becomes(vec!["10.89.0.2".to_owned()], || at("web.shop"));
    let config = |podman: &str| format!("[server]\nport = {port}\n[host]\n{podman}");
    program.reload_by_change(&config(&format!("[podman]\ndirectory = {:?}\n", other.display().to_string())));
    assert_eq!((at("web.shop"), at("site.blog")), (vec!["NXDOMAIN".into()], vec!["10.90.0.2".into()]));
    program.reload_by_change(&config(""));
    assert_eq!(at("site.blog"), ["NXDOMAIN"]);
    let podman = format!("[podman]\ndirectory = {:?}\n", directory.display().to_string());
    program.reload_by_change(&format!("{}answer = \"published\"\n{podman}", config("")));
    assert_eq!(at("web.shop"), ["NOERROR"]);
    program.wait_for(Source::Stderr, "Podman's directory does not say which ports are published");
}
