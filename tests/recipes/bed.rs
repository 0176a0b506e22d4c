//! The machine that a page is done on: callsign as its package installs it, Docker and Podman, a provider with a name server, and
//! what else a page speaks of. A name server that must not be asked logs what it is asked.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::page::{Page, Step, is_shown};
use crate::support::booted::Booted;
use crate::support::dnsmasq::Dnsmasq;
use crate::support::machine::at_port_53;
use crate::support::needs;
use crate::support::netns::{Lab, Namespace};
use crate::support::process::Finished;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
/// Within this a machine shows what a page shows: images are unpacked and daemons started meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the provider's name server knows.
const NAMES: [(&str, &str); 2] = [("www.example.org", "192.0.2.1"), ("payments.dev.example.com", "192.0.2.80")];

/// Returns from the test, loudly, where a page cannot be done.
#[macro_export]
macro_rules! needs_engines {
    () => {
        needs_booted!("engines");
    };
}

/// What is outside the machine.
pub(crate) struct Outside {
    pub(crate) lab: Lab,
    isp: Namespace,
    vpn: Namespace,
}

impl Outside {
    pub(crate) fn new() -> Outside {
        let lab = Lab::new();
        let isp = lab.outside("isp", "10.99.0.254/24", "10.99.0.1/24");
        isp.configure("address add 10.99.0.2/24 dev eth0");
        let vpn = lab.outside("vpn", "10.77.0.254/24", "10.77.0.1/24");
        // The second cable of the lab.
        lab.host().configure("link set link1 down\nlink set link1 name tun0\nlink set tun0 up");
        Outside { lab, isp, vpn }
    }

    /// The name server of the machine's provider.
    pub(crate) fn isp(&self) -> Dnsmasq<'_> {
        Dnsmasq::start(Some(&self.isp), at_port_53("10.99.0.1"), &NAMES)
    }

    /// The name server of the VPN, behind `tun0`.
    pub(crate) fn vpn(&self) -> Dnsmasq<'_> {
        Dnsmasq::start(Some(&self.vpn), at_port_53("10.77.0.1"), &[("wiki.corp.example", "10.77.0.80")])
    }

    /// The name server of a cluster that the machine has a route to.
    pub(crate) fn cluster(&self) -> Dnsmasq<'_> {
        self.isp.configure("address add 10.96.0.10/32 dev eth0");
        self.lab.host().configure("route add 10.96.0.0/12 via 10.99.0.1");
        Dnsmasq::start(Some(&self.isp), at_port_53("10.96.0.10"), &[("api.default.svc.cluster.local", "10.96.7.7")])
    }

    /// The provider's network.
    pub(crate) fn provider(&self) -> &Namespace {
        &self.isp
    }

    /// The machine, booted, with callsign as its package installs it. (tests/installing.rs installs the package.)
    #[track_caller]
    pub(crate) fn machine(&self) -> Machine {
        let mut booted = Booted::new("engines");
        for (from, to) in [
            ("contrib/systemd/callsign.service", "/usr/lib/systemd/system/callsign.service"),
            ("packaging/callsign.toml", "/etc/callsign/callsign.toml"),
            ("contrib/prometheus/callsign.rules.yml", "/usr/share/doc/callsign/callsign.rules.yml"),
            ("contrib/grafana/callsign.json", "/usr/share/doc/callsign/callsign.json"),
        ] {
            booted.prepare(to, &fs::read_to_string(Path::new(REPOSITORY).join(from)).unwrap());
        }
        // The machine's files are an overlay, on which only this one works.
        booted.prepare("/etc/containers/storage.conf", STORAGE);
        // The controllers of the machine's control groups are the host's.
        booted.prepare("/etc/containers/containers.conf", "[containers]\npids_limit = 0\n");
        booted.prepare("/root/images", IMAGES);
        booted.boot(self.lab.host());
        booted.run(&["resolvectl", "dns", "link0", "10.99.0.1"]);
        booted.run(&["systemctl", "enable", "--now", "callsign"]);
        Machine { booted }
    }
}

const STORAGE: &str = "[storage]\ndriver = \"vfs\"\nrunroot = \"/run/containers/storage\"\n\
                       graphroot = \"/var/lib/containers/storage\"\n";

/// Makes an image with the programs that the pages use, in a directory of its own.
const IMAGES: &str = r#"
set -euo pipefail
image=/root/image
mkdir -p $image/bin $image/etc $image/tmp $image/usr/share/nginx/html
cp "$(command -v busybox)" $image/bin/busybox
for applet in sh sleep nslookup cat httpd; do ln -sf busybox $image/bin/$applet; done
cp "$(command -v getent)" $image/bin/getent
ldd "$(command -v getent)" | grep -o '/[^ ]*' | while read -r library; do cp -L --parents "$library" $image; done
echo 'hosts: files dns' >$image/etc/nsswitch.conf
printf '<html>\n<title>Welcome to nginx!</title>\n</html>\n' >$image/usr/share/nginx/html/index.html
"#;
const NGINX: &str = r#"CMD ["/bin/httpd","-f","-p","80","-h","/usr/share/nginx/html"]"#;
const SLEEP: &str = r#"CMD ["/bin/sleep","100000"]"#;

pub(crate) struct Machine {
    pub(crate) booted: Booted,
}

impl Machine {
    /// `nginx`, `redis` and the like for Docker.
    #[track_caller]
    pub(crate) fn docker_images(&self) {
        self.booted.run(&["bash", "/root/images"]);
        self.import("docker", "nginx", NGINX);
        self.import("docker", "redis", SLEEP);
    }

    /// The same for Podman, by their names in full.
    #[track_caller]
    pub(crate) fn podman_images(&self) {
        self.booted.run(&["bash", "/root/images"]);
        self.import("podman", "docker.io/library/nginx", NGINX);
        self.import("podman", "docker.io/library/redis", SLEEP);
    }

    /// Makes an image of the machine's directory for them, with what it starts. Busybox as the first process does not hear a TERM.
    #[track_caller]
    pub(crate) fn import(&self, engine: &str, image: &str, start: &str) {
        let changes = format!("--change '{start}' --change 'STOPSIGNAL SIGKILL'");
        let import = format!("tar -C /root/image -c . | {engine} import {changes} - {image}");
        self.booted.run(&["bash", "-c", &import]);
    }

    /// The image `callsign`, of contrib/docker. False, and said, where the static program was not built.
    pub(crate) fn callsign_image(&self) -> bool {
        if !Path::new(REPOSITORY).join("target/static").exists() {
            needs::skip("the static program: contrib/docker/build --program dev", "callsign as a container");
            return false;
        }
        let build = Path::new(REPOSITORY).join("contrib/docker/build");
        let output = std::process::Command::new(build).args(["--program", "dev"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let program = String::from_utf8(output.stdout).unwrap();
        let context = self.booted.file("/root/callsign");
        fs::create_dir(&context).unwrap();
        fs::copy(program.trim(), context.join("callsign")).unwrap();
        for file in ["Dockerfile", "callsign.toml"] {
            fs::copy(Path::new(REPOSITORY).join("contrib/docker").join(file), context.join(file)).unwrap();
        }
        // Without BuildKit, which is another package.
        self.booted.run(&["env", "DOCKER_BUILDKIT=0", "docker", "build", "--tag", "callsign", "/root/callsign"]);
        true
    }

    /// callsign follows Docker: the first two steps of compose.md, which other pages begin with.
    #[track_caller]
    pub(crate) fn switch_on(&self) {
        let page = Page::read("compose");
        self.follow(&page.steps(|heading| heading.starts_with("1. ") || heading.starts_with("2. ")));
        self.docker_images();
    }

    /// All of a page, but for what undoes it.
    #[track_caller]
    pub(crate) fn follow_page(&self, name: &str) {
        self.follow(&Page::read(name).steps(|heading| heading != "Undo"));
    }

    /// What undoes a page.
    #[track_caller]
    pub(crate) fn undo(&self, name: &str) {
        self.follow(&Page::read(name).steps(|heading| heading == "Undo"));
    }

    /// Does what a page says.
    #[track_caller]
    pub(crate) fn follow(&self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::File { path, text } => self.booted.write(path, text),
                Step::Command { line, shown } => self.follow_command(line, shown),
                Step::Configuration(text) => {
                    self.booted.write("/root/piece.toml", text);
                    self.booted.run(&["callsign", "check", "/root/piece.toml"]);
                }
            }
        }
    }

    /// Runs a command of a page. One that is to show something is run until it does: what the one before it has begun may
    /// take a moment.
    #[track_caller]
    fn follow_command(&self, line: &str, shown: &str) {
        if shown.is_empty() {
            self.shell(line).expect_success();
            return;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let done = self.shell(line);
            if is_shown(shown, &done.stdout) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "$ {line}\n{}{}\nand not what the page shows:\n{shown}\n{}",
                done.stdout,
                done.stderr,
                self.shell("journalctl --boot --unit callsign --output cat --no-pager | tail -40").stdout
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A line of a shell, in the directory that the last one has left.
    pub(crate) fn shell(&self, line: &str) -> Finished {
        let script = format!(
            "cd \"$(cat /run/directory 2>/dev/null || echo /root)\"\n{line}\nstatus=$?\npwd >/run/directory\nexit $status"
        );
        self.booted.try_run(&["bash", "-c", &script])
    }
}
