//! How this host looks names up, and other programs that tell. Reads only.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a program that only tells something may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(2);

/// The addresses of systemd-resolved's stub.
const STUBS: [&str; 2] = ["127.0.0.53", "127.0.0.54"];

/// Who answers the look-ups of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resolver {
    /// systemd-resolved runs.
    Resolved {
        /// Its version, as in `257`.
        version: u32,
        /// True if look-ups reach it: /etc/resolv.conf names its stub, or nsswitch.conf its module.
        in_use: bool,
    },
    /// NetworkManager runs a dnsmasq of its own.
    Dnsmasq,
    /// Whoever /etc/resolv.conf names.
    Other,
}

impl Resolver {
    /// That of this host, as it runs.
    pub(super) fn find() -> Resolver {
        let is_active = output(&["systemctl", "is-active", "systemd-resolved.service"]).is_ok();
        let resolved = is_active.then(|| systemd_version("resolvectl")).flatten();
        let in_use = is_stub_used();
        if resolved.is_none() || !in_use {
            let manager = "org.freedesktop.NetworkManager";
            let path = "/org/freedesktop/NetworkManager/DnsManager";
            let interface = "org.freedesktop.NetworkManager.DnsManager";
            let mode = output(&["busctl", "--auto-start=no", "get-property", manager, path, interface, "Mode"]);
            if mode.is_ok_and(|mode| mode.contains("\"dnsmasq\"")) {
                return Resolver::Dnsmasq;
            }
        }
        match resolved {
            Some(version) => Resolver::Resolved { version, in_use },
            None => Resolver::Other,
        }
    }

    /// For people: `systemd-resolved 257`.
    pub(super) fn name(&self) -> String {
        match self {
            Resolver::Resolved { version, .. } => format!("systemd-resolved {version}"),
            Resolver::Dnsmasq => "NetworkManager's dnsmasq".to_owned(),
            Resolver::Other => "the servers of /etc/resolv.conf".to_owned(),
        }
    }
}

/// What a program of systemd says of its version: `systemd 257 (257.9-1)`.
pub(super) fn systemd_version(program: &str) -> Option<u32> {
    let text = output(&[program, "--version"]).ok()?;
    let digits = text.strip_prefix("systemd ")?;
    digits[..digits.find(|char: char| !char.is_ascii_digit()).unwrap_or(digits.len())].parse().ok()
}

/// True if look-ups of this host reach systemd-resolved.
fn is_stub_used() -> bool {
    let resolv_conf = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let nsswitch = fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let mut hosts = nsswitch.lines().filter_map(|line| line.trim_start().strip_prefix("hosts:"));
    nameservers(&resolv_conf).iter().any(|server| STUBS.contains(&server.as_str()))
        || hosts.any(|sources| sources.split_whitespace().any(|source| source == "resolve"))
}

/// The servers that a resolv.conf names.
pub(super) fn nameservers(text: &str) -> Vec<String> {
    let (file, _) = resolv_conf::Config::parse_with_errors(text.as_bytes());
    file.nameservers.iter().map(ToString::to_string).collect()
}

/// What a program writes to its standard output, if it ends with 0 in time.
///
/// # Errors
/// Why not, in words: the last line of its standard error, if it wrote any.
pub(super) fn output(words: &[&str]) -> Result<String, String> {
    output_within(words, PATIENCE)
}

/// [`output`] of a program that may take longer.
pub(super) fn output_within(words: &[&str], patience: Duration) -> Result<String, String> {
    let (program, arguments) = words.split_first().expect("a program");
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").env("SYSTEMD_PAGER", "").env("SYSTEMD_COLORS", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no program {program}"),
        _ => format!("{program}: {error}"),
    })?;
    let texts = [read(child.stdout.take()), read(child.stderr.take())];
    let deadline = Instant::now() + patience;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => thread::sleep(LOOK),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{program} does not end within {} s", patience.as_secs()));
            }
        }
    };
    let [stdout, stderr] = texts.map(|text| text.join().unwrap_or_default());
    if status.success() {
        return Ok(stdout);
    }
    let said =
        [&stderr, &stdout].into_iter().find_map(|text| text.lines().map(str::trim).rfind(|line| !line.is_empty()));
    Err(said.map_or_else(|| format!("{program}: {status}"), str::to_owned))
}

/// Reads a pipe to its end beside whoever waits.
fn read(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut octets = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut octets);
        }
        String::from_utf8_lossy(&octets).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read() {
        let text =
            "# nameserver 1.1.1.1\nnameserver 127.0.0.53\n  nameserver\tfe80::1%eth0 # home\nnameservers\nsearch lan\n";
        assert_eq!(nameservers(text), ["127.0.0.53", "fe80::1%eth0"]);
    }

    #[test]
    fn a_program_gives_its_output_or_why_there_is_none() {
        assert_eq!(output(&["echo", "hello"]), Ok("hello\n".to_owned()));
        assert_eq!(output(&["sh", "-c", "echo first >&2; echo last >&2; exit 3"]), Err("last".to_owned()));
        assert_eq!(output(&["false"]), Err("false: exit status: 1".to_owned()));
        assert_eq!(output(&["no-such-program"]), Err("there is no program no-such-program".to_owned()));
    }
}
