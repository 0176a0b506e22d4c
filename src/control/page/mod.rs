//! The page at `/` of the metrics listener: static files, and the read paths of the control socket for them.
//!
//! A browser is a deputy that any web site can send requests with. So the page answers only under its own names (DNS
//! rebinding), nothing to the scripts of other sites, loads nothing from elsewhere, and cannot be framed. It changes nothing.

mod token;

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use hyper::header::{
    CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName, REFERRER_POLICY, WWW_AUTHENTICATE, X_FRAME_OPTIONS,
};
use hyper::{StatusCode, Uri};
use tracing::warn;

use super::Reads;
use super::http::{Asked, Reply};

#[doc(hidden)]
pub use token::is_given;

/// The files, by path: their types and contents.
const FILES: [(&str, &str, &str); 9] = [
    ("/", "text/html; charset=utf-8", include_str!("index.html")),
    ("/page/page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("/page/icon.svg", "image/svg+xml", include_str!("icon.svg")),
    ("/page/main.js", JAVASCRIPT, include_str!("main.js")),
    ("/page/dom.js", JAVASCRIPT, include_str!("dom.js")),
    ("/page/server.js", JAVASCRIPT, include_str!("server.js")),
    ("/page/networks.js", JAVASCRIPT, include_str!("networks.js")),
    ("/page/queries.js", JAVASCRIPT, include_str!("queries.js")),
    ("/page/explain.js", JAVASCRIPT, include_str!("explain.js")),
];
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// What browsers are told with every reply of the page. Trusted types turn every way to make markup of a string into an
/// error.
const PROTECTION: [(HeaderName, &str); 5] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// What the page is served with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageOptions {
    /// The file with the token that is asked for. Without one the page is served on loopback only.
    pub token_file: Option<PathBuf>,
    /// Names and addresses, in lower case, that the page may be asked for by, beside the listener's own and those of
    /// loopback.
    pub hosts: Vec<String>,
}

/// The page.
pub(super) struct Page {
    reads: Reads,
    is_loopback: bool,
    options: PageOptions,
}

impl Page {
    /// For a listener at an address.
    pub(super) fn new(reads: Reads, listen: IpAddr, options: PageOptions) -> Page {
        Page { reads, is_loopback: listen.to_canonical().is_loopback(), options }
    }

    /// True if a path is of the page.
    pub(super) fn has(path: &str) -> bool {
        file(path).is_some() || path.starts_with("/v1/")
    }

    /// Answers a GET or HEAD for a client that connected to this address.
    pub(super) async fn answer(&self, local: IpAddr, asked: &Asked) -> Reply {
        let reply = match self.refuse(local, asked) {
            Some(refusal) => refusal,
            None => self.give(asked).await,
        };
        reply.with(&PROTECTION)
    }

    /// Why a request is not answered, if it is not.
    fn refuse(&self, local: IpAddr, asked: &Asked) -> Option<Reply> {
        let host = asked.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !is_own(host, local, &self.options.hosts) {
            let text = format!("{host:?} is not a name of this server; add it to `hosts` in [metrics]\n");
            return Some(text_reply(StatusCode::MISDIRECTED_REQUEST, text));
        }
        match &self.options.token_file {
            None if !self.is_loopback => {
                let text = "This page needs a token where it is not on loopback: write `token_file` in [metrics].\n";
                return Some(text_reply(StatusCode::FORBIDDEN, text));
            }
            Some(file) => match token::read(file) {
                Ok(token) if token::is_given(&asked.headers, &token) => {}
                Ok(_) => {
                    let challenge =
                        (WWW_AUTHENTICATE, "Basic realm=\"callsign: the token as password\", charset=\"UTF-8\"");
                    let text = "Log in with any user name and, as password, the token from token_file.\n";
                    return Some(text_reply(StatusCode::UNAUTHORIZED, text).with(&[challenge]));
                }
                Err(error) => {
                    warn!(file = %file.display(), %error, "the page is not served: its token cannot be used");
                    let text = "The token in `token_file` cannot be used; the log says why.\n";
                    return Some(text_reply(StatusCode::SERVICE_UNAVAILABLE, text));
                }
            },
            None => {}
        }
        // A link may lead here from anywhere; only the page itself asks for the rest.
        if asked.path != "/" && is_foreign(&asked.headers) {
            return Some(text_reply(StatusCode::FORBIDDEN, "Other sites get nothing here.\n"));
        }
        None
    }

    async fn give(&self, asked: &Asked) -> Reply {
        if let Some((content_type, content)) = file(&asked.path) {
            return Reply::whole(StatusCode::OK, content_type, content);
        }
        match self.reads.answer(asked).await {
            Some(answer) => answer.unwrap_or_else(|refusal| refusal),
            None => Reply::refusal(StatusCode::NOT_FOUND, format!("the page does not read {}", asked.path)),
        }
    }
}

/// The type and the content of a file.
fn file(path: &str) -> Option<(&'static str, &'static str)> {
    FILES.iter().find(|(known, ..)| *known == path).map(|(_, content_type, content)| (*content_type, *content))
}

fn text_reply(status: StatusCode, text: impl Into<String>) -> Reply {
    Reply::whole(status, "text/plain; charset=utf-8", text.into())
}

/// True if a `Host` header names this server: loopback, the address that the client connected to, or a configured host. The
/// port does not matter: it may be forwarded from another one.
#[doc(hidden)]
pub fn is_own(host: &str, local: IpAddr, hosts: &[String]) -> bool {
    let Ok(uri) = host.parse::<Uri>() else { return false };
    let Some(authority) = uri.authority().filter(|authority| *authority == host && !host.contains('@')) else {
        return false;
    };
    let name = authority.host();
    let rest = &host[name.len()..];
    let is_port = |port: &str| port.bytes().all(|octet| octet.is_ascii_digit());
    if !rest.is_empty() && !rest.strip_prefix(':').is_some_and(is_port) {
        return false;
    }
    // Only an IPv6 address stands in brackets (RFC 3986 §3.2.2).
    let name = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) if address.parse::<Ipv6Addr>().is_ok() => address,
        Some(_) => return false,
        None => name,
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if let Ok(address) = name.parse::<IpAddr>() {
        let address = address.to_canonical();
        return address.is_loopback()
            || address == local.to_canonical()
            || hosts.iter().any(|host| host.parse().is_ok_and(|host: IpAddr| host.to_canonical() == address));
    }
    // Names below localhost are loopback by RFC 6761 §6.3: nobody can bind them to something else.
    name == "localhost" || name.ends_with(".localhost") || hosts.contains(&name)
}

/// True if a browser says that the request is made by another site than ours.
fn is_foreign(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_names_and_addresses_are_answered_to() {
        let hosts = ["dns.example.com".to_owned(), "192.168.1.5".to_owned()];
        let is_own = |host: &str| is_own(host, "10.0.0.7".parse().unwrap(), &hosts);
        for host in [
            "localhost",
            "localhost:9153",
            "LOCALHOST.:1",
            "callsign.localhost",
            "127.0.0.1:9153",
            "127.9.9.9",
            "[::1]:9153",
            "[::ffff:127.0.0.1]:1",
            "10.0.0.7:9153",
            "[::ffff:10.0.0.7]",
            "dns.example.com",
            "DNS.example.com.:443",
            "192.168.1.5:80",
        ] {
            assert!(is_own(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9153",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "10.0.0.8",
            "[::2]:9153",
            "[::1",
            "dns.example.com.evil",
            "0.0.0.0",
            "2130706433",
            "localhost@evil.example",
            "evil.example@localhost",
            "http://localhost",
            "[localhost]",
            "[::1]~",
            "[::1]:1.evil.example",
            "localhost/path",
            "/",
            ":80",
        ] {
            assert!(!is_own(host), "{host}");
        }
    }

    #[test]
    fn the_page_is_small_and_loads_nothing_from_elsewhere() {
        let octets: usize = FILES.iter().map(|(.., content)| content.len()).sum();
        assert!(octets <= 150 * 1024, "{octets} octets");
        for (path, _, content) in FILES {
            let foreign = content.match_indices("//").filter(|(at, _)| content[..*at].ends_with(':')).map(|(at, _)| at);
            let foreign: Vec<&str> = foreign.map(|at| content[at..].lines().next().unwrap()).collect();
            assert!(foreign.iter().all(|rest| rest.starts_with("//www.w3.org/2000/svg")), "{path}: {foreign:?}");
            for sink in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "srcdoc"]
            {
                assert!(!content.contains(sink), "{path} uses {sink}");
            }
        }
        let html = FILES[0].2;
        assert_eq!(html.matches("<script").count(), html.matches("<script type=\"module\" src=\"/page/").count());
        let is_handler = |rest: &str| rest.split([' ', '"', '>']).next().is_some_and(|word| word.contains('='));
        assert!(!html.contains("<style") && !html.contains("style=") && !html.split(" on").skip(1).any(is_handler));
    }
}
