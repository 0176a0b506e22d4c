//! What the answers should be, by the plainest means: lists, searched from front to end. Nothing of the table is used here.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use callsign::table::Clients;

/// A network of the model, its endpoints in the order in which they were attached.
#[derive(Debug, Clone, Default)]
pub(crate) struct Net {
    pub(crate) name: String,
    pub(crate) domains: Vec<String>,
    pub(crate) internal: bool,
    /// V2a: whose clients are known at its gateway.
    pub(crate) clients: Clients,
    /// V5: true for `all`.
    pub(crate) merges: bool,
    /// Of the network's records, and of what it denies; seconds.
    pub(crate) ttl: u32,
    pub(crate) negative_ttl: u32,
    /// The first three octets of its subnet.
    pub(crate) subnet: [u8; 3],
    /// N8b: this host's name, and true if hosts answer together.
    pub(crate) own_host: Option<String>,
    pub(crate) spreads: bool,
    pub(crate) endpoints: Vec<Member>,
}

/// An endpoint of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) names: Vec<String>,
    pub(crate) running: bool,
    pub(crate) healthy: bool,
    pub(crate) priority: i32,
    /// V7: the other host that has published it.
    pub(crate) host: Option<&'static str>,
    /// N8b: that host is not reachable.
    pub(crate) lost: bool,
}

/// What a client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// V5: each network's in a group, which has that network's TTL.
    Addresses(Vec<(u32, BTreeSet<IpAddr>)>),
    Pointer(u32, String),
    NoData(Soa),
    NxDomain(Soa),
    Forward,
    Refused,
}

/// H3: what comes with a denial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Soa {
    pub(crate) owner: String,
    /// Its TTL is the same.
    pub(crate) minimum: u32,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    A,
    Aaaa,
    Ptr,
}

/// What one network knows of a name.
enum Known<'m> {
    Carried(Vec<&'m Member>),
    /// N4.
    Covered(Vec<&'m Member>),
    Parent {
        is_below_name: bool,
    },
    Nothing,
}

fn labels(name: &str) -> Vec<&str> {
    name.split('.').collect()
}

/// `name` without `suffix`, if it ends in it and something is left.
fn without(name: &str, suffix: &str) -> Option<String> {
    Some(name.strip_suffix(suffix)?.strip_suffix('.')?.to_owned())
}

fn is_below(name: &str, ancestor: &str) -> bool {
    labels(name).ends_with(&labels(ancestor))
}

impl Member {
    /// As the table knows it.
    pub(crate) fn key(&self) -> String {
        self.host.map_or_else(|| self.id.clone(), |host| format!("{host}/{}", self.id))
    }

    fn answers(&self) -> bool {
        self.running && !self.lost
    }
}

impl Net {
    pub(crate) fn attach(&mut self, member: Member) {
        if !self.endpoints.contains(&member) {
            self.detach(&member.key());
            self.endpoints.push(member);
        }
    }

    pub(crate) fn detach(&mut self, key: &str) {
        self.endpoints.retain(|known| known.key() != key);
    }

    /// Those of one host, or of this one.
    pub(crate) fn replace(&mut self, host: Option<&str>, members: Vec<Member>) {
        let stays = |known: &Member| known.host != host || members.iter().any(|member| member.key() == known.key());
        self.endpoints.retain(stays);
        members.into_iter().for_each(|member| self.attach(member));
    }

    /// V7.
    fn has_id(&self, id: &str) -> Option<&Member> {
        self.endpoints.iter().find(|member| member.host.is_none() && member.id == id)
    }

    /// The names by which an endpoint is found, relative to the network: its names and its id (N1), and `NAME.HOST` (N8b).
    fn all_names(&self, member: &Member) -> Vec<String> {
        let own = self.own_host.as_deref();
        let on_host = |host: Option<&str>| -> Vec<String> {
            let plain = member.names.iter().filter(|name| !name.starts_with("*."));
            host.map(|host| plain.map(|name| format!("{name}.{host}")).collect()).unwrap_or_default()
        };
        let Some(host) = member.host else {
            return [member.names.clone(), vec![member.id.clone()], on_host(own)].concat();
        };
        let names = member.names.iter().filter(|name| !name.starts_with("*.")).map(|name| self.unqualified(name));
        let names = names.filter(|name| own.is_none_or(|own| !is_below(name, own)));
        names.chain([format!("{}.{host}", member.id)]).chain(on_host(Some(host))).collect()
    }

    /// N8b: without the network's suffixes, if anything is left.
    fn unqualified(&self, name: &str) -> String {
        let mut suffixes: Vec<String> = self.suffixes().into_iter().filter(|suffix| !suffix.is_empty()).collect();
        suffixes.sort_by_key(|suffix| std::cmp::Reverse(suffix.len()));
        match suffixes.iter().find_map(|suffix| without(name, suffix)) {
            Some(rest) => self.unqualified(&rest),
            None => name.to_owned(),
        }
    }

    /// V2a: the one that has the address, which runs; the last one of several.
    fn client(&self, address: IpAddr) -> Option<&Member> {
        let running = |member: &&Member| member.host.is_none() && member.running && member.addresses.contains(&address);
        self.endpoints.iter().rfind(running)
    }

    /// Whose an address is: what runs before what does not, and this host's before others'.
    fn at(&self, address: IpAddr) -> Option<&Member> {
        let holders = || self.endpoints.iter().filter(|member| member.addresses.contains(&address));
        let of = |runs: bool, is_local: bool| {
            holders().rfind(|member| member.answers() == runs && member.host.is_none() == is_local)
        };
        of(true, true).or(of(true, false)).or(of(false, true)).or(of(false, false))
    }

    fn has_in_subnet(&self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(v4) if v4.octets().starts_with(&self.subnet))
    }

    /// N1: nothing, `w`, each `d`, each `w.d`.
    fn suffixes(&self) -> Vec<String> {
        let mut all = vec![String::new(), self.name.clone()];
        for domain in &self.domains {
            all.push(domain.clone());
            all.push(format!("{}.{domain}", self.name));
        }
        all
    }

    /// N2: the endpoints that carry `name`, as it stands or else less a suffix, the longest rest first; N7: of which one runs,
    /// if there is such a rest.
    fn carriers(&self, name: &str) -> Vec<&Member> {
        let mut rests: Vec<String> = self
            .suffixes()
            .into_iter()
            .filter_map(|suffix| if suffix.is_empty() { Some(name.to_owned()) } else { without(name, &suffix) })
            .collect();
        rests.sort_by_key(|rest| std::cmp::Reverse(rest.len()));
        let carriers = |rest: &String| -> Vec<&Member> {
            self.endpoints.iter().filter(|m| self.all_names(m).iter().any(|n| n == rest)).collect()
        };
        let found: Vec<Vec<&Member>> = rests.iter().map(carriers).filter(|carriers| !carriers.is_empty()).collect();
        let running = found.iter().find(|carriers| carriers.iter().any(|member| member.answers()));
        running.or(found.first()).cloned().unwrap_or_default()
    }

    /// Every name that exists: those of the endpoints with every suffix, and the parents of those; the domains, and what is
    /// between them and the network's name below them.
    fn existing(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for name in self.endpoints.iter().flat_map(|member| self.all_names(member)) {
            let labels = labels(&name);
            for suffix in self.suffixes() {
                for cut in 0..labels.len() {
                    let rest = labels[cut..].join(".");
                    all.insert(if suffix.is_empty() { rest } else { format!("{rest}.{suffix}") });
                }
            }
            all.insert(self.name.clone());
        }
        for domain in &self.domains {
            all.insert(domain.clone());
            let own = labels(&self.name);
            all.extend((0..own.len()).map(|cut| format!("{}.{domain}", own[cut..].join("."))));
        }
        all
    }

    fn know(&self, name: &str) -> Known<'_> {
        let carriers = self.carriers(name);
        if !carriers.is_empty() {
            return Known::Carried(carriers);
        }
        let existing = self.existing();
        if existing.contains(name) {
            // N6.
            let labels = labels(name);
            let is_below_name = (1..labels.len()).any(|cut| !self.carriers(&labels[cut..].join(".")).is_empty());
            return Known::Parent { is_below_name };
        }
        // N4: the closest ancestor that exists, and a wildcard below it.
        let labels = labels(name);
        let enclosers = (1..labels.len()).map(|cut| labels[cut..].join("."));
        match enclosers.into_iter().find(|encloser| existing.contains(encloser)) {
            Some(encloser) => match self.carriers(&format!("*.{encloser}")) {
                carriers if carriers.is_empty() => Known::Nothing,
                carriers => Known::Covered(carriers),
            },
            None => Known::Nothing,
        }
    }
}

/// V1 to V3: the networks that a client sees; none if it may see nothing.
pub(crate) fn view(nets: &[Net], listener: usize, source: IpAddr) -> Vec<&Net> {
    let own = &nets[listener];
    let by_rank = |one: &(&Net, i32), other: &(&Net, i32)| {
        (other.1, one.0.internal, &one.0.name).cmp(&(one.1, other.0.internal, &other.0.name))
    };
    let identifies = |net: &Net| net.clients == Clients::Identify;
    let client = match own.client(source) {
        Some(client) if !identifies(own) => Some(client),
        _ if own.clients == Clients::Listener => None,
        own_client => {
            let known = |wanted: Clients| {
                let mut homes: Vec<(&Net, i32)> = nets
                    .iter()
                    .filter(|net| net.clients == wanted && net.name != own.name)
                    .filter_map(|net| Some((net, net.client(source)?.priority)))
                    .collect();
                homes.sort_by(by_rank);
                homes.first().and_then(|(net, _)| net.client(source))
            };
            known(Clients::Table).or(own_client).or(known(Clients::Identify))
        }
    };
    let Some(client) = client else {
        let mut of_subnet = nets.iter().filter(|net| net.clients == Clients::Table && net.has_in_subnet(source));
        return match own.clients {
            Clients::Listener => vec![own],
            Clients::Table if own.has_in_subnet(source) => vec![own],
            Clients::Table => vec![of_subnet.next().unwrap_or(own)],
            _ => of_subnet.next().into_iter().collect(),
        };
    };
    let mut others: Vec<(&Net, i32)> = nets
        .iter()
        .filter(|net| !identifies(net))
        .filter_map(|net| Some((net, net.has_id(&client.id)?.priority)))
        .collect();
    others.sort_by(by_rank);
    let mut view: Vec<&Net> = others.into_iter().map(|(net, _)| net).collect();
    view.sort_by_key(|net| net.name != own.name);
    view
}

pub(crate) fn answer(nets: &[Net], listener: usize, source: IpAddr, name: &str, kind: Kind) -> Answer {
    let view = view(nets, listener, source);
    if view.is_empty() {
        return Answer::Refused;
    }
    let mut domains: Vec<_> =
        view.iter().flat_map(|net| &net.domains).filter(|domain| is_below(name, domain)).collect();
    domains.sort_by_key(|domain| domain.len());
    let owner = domains.last().map_or_else(|| name.to_owned(), |domain| domain.to_string());
    let soa = Soa { owner, minimum: view[0].negative_ttl };
    let elsewhere = match view.iter().all(|net| net.internal) {
        true => Answer::NxDomain(soa.clone()),
        false => Answer::Forward,
    };
    if let Some(address) = address_of(name) {
        if let Some((net, member)) = view.iter().find_map(|net| Some((net, net.at(address)?))) {
            let id = member.host.map_or_else(|| member.id.clone(), |host| format!("{}.{host}", member.id));
            let first = member.names.iter().find(|name| !name.starts_with("*.")).unwrap_or(&id);
            let suffix = net.domains.first().map(|domain| format!(".{domain}")).unwrap_or_default();
            return match kind {
                Kind::Ptr => Answer::Pointer(net.ttl, format!("{first}{suffix}")),
                _ => Answer::NoData(soa),
            };
        }
        let IpAddr::V4(v4) = address else { return elsewhere };
        let is_ours = view.iter().any(|net| v4.octets().starts_with(&net.subnet));
        return if is_ours { Answer::NxDomain(soa) } else { elsewhere };
    }
    let known: Vec<_> = view.iter().map(|net| (net, net.know(name))).collect();
    // N7: where one is stopped, no wildcard of a later network answers for it; and of the nearest one that runs.
    let mut is_stopped = false;
    let mut carriers: Vec<(u32, BTreeSet<IpAddr>)> = Vec::new();
    for (net, known) in &known {
        let (members, is_wildcard) = match known {
            Known::Carried(members) => (members, false),
            Known::Covered(members) => (members, true),
            Known::Parent { .. } | Known::Nothing => continue,
        };
        let runs = members.iter().any(|member| member.answers());
        if !runs {
            is_stopped = true;
        } else if !(is_stopped && is_wildcard) {
            carriers.push((net.ttl, addresses(net, name, members, kind)));
        }
    }
    if carriers.is_empty() && is_stopped {
        return Answer::NoData(soa);
    }
    let mut carriers = carriers.into_iter();
    if let Some(nearest) = carriers.next() {
        let mut groups = vec![nearest];
        for (ttl, addresses) in carriers.filter(|_| view[0].merges) {
            let new = |address: &IpAddr| !groups.iter().any(|(_, known)| known.contains(address));
            let addresses = addresses.into_iter().filter(new).collect();
            groups.push((ttl, addresses));
        }
        groups.retain(|(_, addresses)| !addresses.is_empty());
        return if groups.is_empty() { Answer::NoData(soa) } else { Answer::Addresses(groups) };
    }
    match () {
        () if known.iter().any(|(_, known)| match known {
            Known::Parent { is_below_name } => *is_below_name || !domains.is_empty(),
            _ => false,
        }) =>
        {
            Answer::NoData(soa)
        }
        () if !domains.is_empty() => Answer::NxDomain(soa),
        () => elsewhere,
    }
}

fn addresses(net: &Net, name: &str, members: &[&Member], kind: Kind) -> BTreeSet<IpAddr> {
    // N8b: of other hosts' that a name ends in, the longest alone.
    let relative = net.unqualified(name);
    let rank = |member: &&&Member| {
        let host = member.host.filter(|host| [name, &relative].iter().any(|name| is_below(name, host)));
        host.map_or(0, str::len)
    };
    let best = members.iter().filter(|member| member.host.is_some()).map(|member| rank(&member)).max().unwrap_or(0);
    let running: Vec<_> =
        members.iter().filter(|member| member.answers() && (member.host.is_none() || rank(member) == best)).collect();
    let some_healthy = running.iter().any(|member| member.healthy);
    let serving: Vec<_> = running.into_iter().filter(|member| member.healthy || !some_healthy).collect();
    let local_only = !net.spreads && serving.iter().any(|member| member.host.is_none());
    serving
        .into_iter()
        .filter(|member| !local_only || member.host.is_none())
        .flat_map(|member| &member.addresses)
        .filter(|address| match kind {
            Kind::A => address.is_ipv4(),
            Kind::Aaaa => address.is_ipv6(),
            Kind::Ptr => false,
        })
        .copied()
        .collect()
}

fn address_of(name: &str) -> Option<IpAddr> {
    let octets: Vec<u8> =
        without(name, "in-addr.arpa")?.split('.').map(|label| label.parse().ok()).collect::<Option<_>>()?;
    let [d, c, b, a] = octets[..] else { return None };
    Some(Ipv4Addr::new(a, b, c, d).into())
}
