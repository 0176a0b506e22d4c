//! The rules of docs/answers.md that decide, as values.

use std::fmt;

/// The rule that decided on a query. `Display` gives its letter and number, such as `N5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
#[non_exhaustive]
pub enum Rule {
    /// Not a query: no reply.
    #[default]
    P1,
    /// Another operation than a query.
    P2,
    /// A malformed query.
    P3,
    /// A type that cannot be asked for.
    P4,
    /// A question of another class, or about the server.
    P5,
    /// The client may not ask here.
    V4,
    /// A name or an address of the host view.
    V6,
    /// A question to the host view that is none of its names.
    V6Outside,
    /// An EDNS version that is not known.
    H4,
    /// A malformed cookie.
    H7,
    /// A special name.
    S,
    /// An unknown name below a domain of the view.
    N5,
    /// A name that is only the parent of others.
    N6,
    /// A name whose endpoints are all stopped.
    N7,
    /// A name whose endpoints are on a host that is not reachable, or publishes none of their ports.
    N8b,
    /// An alias.
    N9,
    /// A name of the gateway.
    N10,
    /// A name whose endpoints are about to run.
    N11,
    /// A name or an address of the host's /etc/hosts.
    N13,
    /// The addresses of a name.
    T1,
    /// The name of an address.
    T3,
    /// The services of a name.
    T4,
    /// The static records of a name.
    T5,
    /// All records of a name.
    T6,
    /// The rest of the DNS, forwarded.
    F1,
    /// The rest of the DNS, from an internal network.
    F1Internal,
}

impl Rule {
    /// Its letter and number in docs/answers.md, such as `N5`.
    pub fn letter(self) -> &'static str {
        match self {
            Rule::P1 => "P1",
            Rule::P2 => "P2",
            Rule::P3 => "P3",
            Rule::P4 => "P4",
            Rule::P5 => "P5",
            Rule::V4 => "V4",
            Rule::V6 | Rule::V6Outside => "V6",
            Rule::H4 => "H4",
            Rule::H7 => "H7",
            Rule::S => "S",
            Rule::N5 => "N5",
            Rule::N6 => "N6",
            Rule::N7 => "N7",
            Rule::N8b => "N8b",
            Rule::N9 => "N9",
            Rule::N10 => "N10",
            Rule::N11 => "N11",
            Rule::N13 => "N13",
            Rule::T1 => "T1",
            Rule::T3 => "T3",
            Rule::T4 => "T4",
            Rule::T5 => "T5",
            Rule::T6 => "T6",
            Rule::F1 | Rule::F1Internal => "F1",
        }
    }

    /// What it says, for people who do not know DNS.
    pub fn sentence(self) -> &'static str {
        match self {
            Rule::P1 => "not a query, so nothing is answered",
            Rule::P2 => "only queries are answered here",
            Rule::P3 => "the query is malformed",
            Rule::P4 => "this type cannot be asked for",
            Rule::P5 => "a question about the server, or of another class",
            Rule::V4 => "the client may not ask on this network",
            Rule::V6 => "the host sees every network",
            Rule::V6Outside => "no name of the host view, which forwards nothing",
            Rule::H4 => "the client's EDNS version is not known",
            Rule::H7 => "the client's cookie is malformed",
            Rule::S => "a special name, which is never forwarded",
            Rule::N5 => "no container that the client sees has this name",
            Rule::N6 => "only the end of other names",
            Rule::N7 => "the container is stopped",
            Rule::N8b => "the container is on another host, which cannot be reached",
            Rule::N9 => "an alias",
            Rule::N10 => "a name of the host",
            Rule::N11 => "the container is about to start",
            Rule::N13 => "a name of the host's /etc/hosts",
            Rule::T1 => "a container's name",
            Rule::T3 => "a container's address",
            Rule::T4 => "a container's service",
            Rule::T5 => "the name is known here; its records of this type",
            Rule::T6 => "the name is known here; its records",
            Rule::F1 => "not a container's name: the upstream is asked",
            Rule::F1Internal => "not a container's name, and the network is internal",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letter())
    }
}
