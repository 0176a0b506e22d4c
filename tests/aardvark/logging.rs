//! The log: to syslog, where there is one.

use std::fs;
use std::os::unix::net::UnixDatagram;

use crate::kit::{BLOG, Home, SHOP, network};
use crate::needs_root;
use crate::support::DEADLINE;

/// A directory for the program's `/dev`, and what puts it there: for it alone, in a mount namespace of its own.
fn with_dev(home: Home) -> Home {
    let dev = home.path().join("dev");
    fs::create_dir(&dev).unwrap();
    fs::write(dev.join("null"), "").unwrap();
    let mount = format!(
        "mount --bind /dev/null {0}/null && mount --rbind {0} /dev && exec \"$0\" \"$@\"",
        dev.to_str().unwrap()
    );
    home.prefix(&["unshare", "--mount", "sh", "-c", &mount])
}

/// The machine's syslog, as far as the program can see.
struct Syslog(UnixDatagram);

impl Syslog {
    fn listen(home: &Home) -> Syslog {
        let socket = UnixDatagram::bind(home.path().join("dev/log")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Syslog(socket)
    }

    fn line(&self) -> String {
        let mut line = [0; 4096];
        let len = self.0.recv(&mut line).expect("a line");
        String::from_utf8(line[..len].to_vec()).unwrap()
    }

    /// Waits for a line with this text in it.
    #[track_caller]
    fn wait_for(&self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// What has come and was not read.
    fn rest(&self) -> Vec<String> {
        self.0.set_nonblocking(true).unwrap();
        let mut line = [0; 4096];
        std::iter::from_fn(|| self.0.recv(&mut line).ok().map(|len| String::from_utf8_lossy(&line[..len]).into_owned()))
            .collect()
    }
}

#[test]
fn lines_have_the_tag_and_the_pid() {
    needs_root!("unshare");
    let home = with_dev(Home::new());
    let syslog = Syslog::listen(&home);
    home.write("shop", &network(SHOP, "10.89.0.2"));
    let daemon = home.start();
    let line = syslog.wait_for("serving");
    // Facility user, severity informational (RFC 3164 §4.1.1).
    assert!(line.starts_with(&format!("<14>aardvark-dns[{}]: serving", daemon.pid)), "{line}");
    home.write("blog", "no address at all\n");
    daemon.hang_up();
    let line = syslog.wait_for("blog");
    assert!(line.starts_with(&format!("<12>aardvark-dns[{}]: ", daemon.pid)), "a warning: {line}");
}

#[test]
fn the_level_is_that_of_rust_log() {
    needs_root!("unshare");
    for (level, is_told, is_detailed) in [
        ("ERROR", false, false),
        ("warn", false, false),
        ("INFO", true, false),
        ("debug", true, true),
        // Unreadable: info.
        ("OFF", true, false),
        ("callsign=debug", true, false),
        ("", true, false),
    ] {
        let home = with_dev(Home::new().environment("RUST_LOG", level));
        let syslog = Syslog::listen(&home);
        home.write("shop", &network(SHOP, "10.89.0.2"));
        let daemon = home.start();
        daemon.signal(nix::sys::signal::Signal::SIGTERM);
        daemon.wait();
        let lines = syslog.rest();
        assert_eq!(lines.iter().any(|line| line.contains("serving")), is_told, "{level}: {lines:?}");
        assert_eq!(lines.iter().any(|line| line.contains("directory read")), is_detailed, "{level}: {lines:?}");
    }
}

#[test]
fn f7_an_upstream_that_cannot_be_reached_is_in_the_log_once_in_every_mode() {
    needs_root!("unshare");
    for strict in ["0", "1"] {
        let home = with_dev(Home::new().environment("CALLSIGN_PODMAN_STRICT", strict));
        let syslog = Syslog::listen(&home);
        home.configure("[server]\nupstreams = [\"127.0.0.66:1\"]\n");
        home.write("shop", &network(SHOP, "10.89.0.2"));
        let daemon = home.start();
        let client = home.client(SHOP).timeout(std::time::Duration::from_millis(300));
        for name in ["one.example", "two.example"] {
            // In strict mode there is no reply.
            let _ = client.udp_bytes(&crate::support::client::Query::new(name, 1).bytes());
        }
        let line = syslog.wait_for("127.0.0.66:1");
        let said = "upstream 127.0.0.66:1 does not answer: connection refused";
        // Facility user, severity warning.
        assert!(line.starts_with(&format!("<12>aardvark-dns[{}]: {said}", daemon.pid)), "{line}");
        assert!(syslog.rest().iter().all(|line| !line.contains(said)), "once");
    }
}

#[test]
fn why_it_could_not_start_is_in_the_log_too() {
    needs_root!("unshare");
    let home = with_dev(Home::new().environment("RUST_LOG", "ERROR"));
    let syslog = Syslog::listen(&home);
    let _taken = std::net::UdpSocket::bind((SHOP, home.port)).unwrap();
    home.write("shop", &network(SHOP, "10.89.0.2"));
    assert_eq!(home.run().status.code(), Some(1));
    assert!(syslog.wait_for("Error starting server").starts_with("<11>aardvark-dns["));
}

#[test]
fn without_syslog_it_is_silent_and_one_that_comes_back_is_used() {
    needs_root!("unshare");
    let home = with_dev(Home::new());
    home.write("shop", &network(SHOP, "10.89.0.2"));
    // `start` sees to it that nothing is written elsewhere.
    let daemon = home.start();
    let seen = |name: &str, gateway: &str, syslog: &Syslog| {
        home.write(name, &format!("{gateway}\nbad line\n"));
        daemon.hang_up();
        assert!(syslog.wait_for(name).contains("aardvark-dns["));
    };
    let syslog = Syslog::listen(&home);
    seen("blog", BLOG, &syslog);
    // Restarted: another socket at the same place.
    drop(syslog);
    fs::remove_file(home.path().join("dev/log")).unwrap();
    assert_eq!(home.addresses(SHOP, "web"), ["10.89.0.2"]);
    let syslog = Syslog::listen(&home);
    seen("wiki", "127.0.0.3", &syslog);
}
