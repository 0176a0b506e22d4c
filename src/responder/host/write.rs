//! Writing what the host view answers: names as it has them, and published addresses.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::responder::Rotation;
use crate::responder::answer::{self, Offer, Records, SmallStr};
use crate::responder::view::VisibleNetwork;
use crate::table::{Absence, Attachment, NameEntry, Port, Protocol, ServiceName};
use crate::wire::message::Section;
use crate::wire::{MAX_NAME, Name, ReplyWriter, ede, rtype};

use super::{HostAnswer, HostView};

/// The end of a question to the host view, where it differs from that of other questions.
pub(in crate::responder) enum HostDisposition<'v> {
    /// Not of the view.
    Outside(&'v HostView),
    /// An alias that leads elsewhere.
    Alias { target: &'v Name, ttl: u32 },
    /// A name that answers with the addresses that its ports are published on.
    Published { zone: Zone<'v>, entry: &'v NameEntry },
    /// `_service._protocol.n` on a network.
    Service { zone: Zone<'v>, entry: &'v NameEntry, service: ServiceName, protocol: Protocol },
    /// An address, by its reverse name.
    Reverse { zone: Zone<'v>, holders: &'v [Arc<Attachment>] },
}

/// A network in the view.
#[derive(Clone, Copy)]
pub(in crate::responder) struct Zone<'v> {
    pub(super) host: &'v HostView,
    pub(super) seat: &'v VisibleNetwork<'v>,
}

/// Addresses of the host; mostly one of each family.
type Addresses = SmallVec<[IpAddr; 2]>;

impl<'v> Zone<'v> {
    /// The view's name of an endpoint that its network calls `name`, in parts; `None` if there is no room for it.
    fn qualify(self, name: &'v Name) -> Option<[&'v [u8]; 3]> {
        let network = self.seat.zone()?.as_wire();
        let (name, domain) = (name.as_wire(), self.host.domain().as_wire());
        let parts = [&name[..name.len() - 1], &network[..network.len() - 1], domain];
        (parts.iter().map(|part| part.len()).sum::<usize>() <= MAX_NAME).then_some(parts)
    }

    fn ttl(self) -> u32 {
        self.seat.snapshot().settings().ttl
    }

    /// The endpoints that answer for a name.
    fn serving(self, entry: &'v NameEntry) -> impl Iterator<Item = &'v Arc<Attachment>> {
        entry.serving(self.seat.snapshot().settings())
    }
}

/// The addresses that an endpoint's ports are published on, each once.
fn published<'p>(ports: impl IntoIterator<Item = &'p Port>) -> Addresses {
    let mut addresses = Addresses::new();
    for socket in ports.into_iter().flat_map(Port::reached) {
        if !addresses.contains(&socket.ip()) {
            addresses.push(socket.ip());
        }
    }
    addresses
}

fn ports_of(owner: &Arc<Attachment>) -> &[Port] {
    owner.endpoint().ports()
}

impl<'v> HostDisposition<'v> {
    /// Why a name of it that is stopped does not answer.
    pub(in crate::responder) fn absence(&self) -> Absence<'v> {
        match self {
            HostDisposition::Service { entry, .. } => entry.absence(),
            _ => Absence::Stopped,
        }
    }

    /// Why there is nothing where something might be expected (answers.md H6).
    pub(in crate::responder) fn reason(&self) -> Option<(u16, SmallStr)> {
        let mut text = SmallStr::default();
        // Writing to memory does not fail.
        match self {
            HostDisposition::Outside(host) => {
                let _ = write!(text, "the host view has names below {} only, and forwards nothing", host.domain());
                return Some((ede::NOT_AUTHORITATIVE, text));
            }
            HostDisposition::Service { entry, .. } if entry.is_down() => return Some(answer::not_running(entry)),
            HostDisposition::Published { zone, entry } => {
                let mut ports = zone.serving(entry).flat_map(ports_of);
                if zone.serving(entry).next().is_none() || ports.any(|port| !port.published().is_empty()) {
                    return None;
                }
                let _ = write!(text, "{} publishes no port that is known here", entry.name());
            }
            HostDisposition::Service { zone, entry, service, protocol }
                if zone.host.answer == HostAnswer::Published && !zone.host_offers(entry, service, *protocol) =>
            {
                let service = String::from_utf8_lossy(service);
                let _ = write!(text, "{} does not publish {service}", entry.name());
            }
            _ => return None,
        }
        Some((ede::OTHER, text))
    }

    /// Writes the answer section.
    pub(in crate::responder) fn write(
        &self,
        records: &Records<'_, '_>,
        writer: &mut ReplyWriter<'_>,
        rotation: &mut Rotation,
    ) {
        match self {
            HostDisposition::Outside(_) => {}
            HostDisposition::Alias { target, ttl } => {
                writer.push_rdata(Section::Answer, records.owner, rtype::CNAME, *ttl, &[target.as_wire()]);
            }
            HostDisposition::Published { zone, entry } => {
                let addresses = published(zone.serving(entry).flat_map(ports_of));
                records.addresses_of(&addresses, zone.ttl(), writer);
            }
            HostDisposition::Reverse { zone, holders } => {
                let name = answer::counted(holders).find_map(|holder| zone.qualify(holder.bare_names().next()?));
                if let Some(name) = name {
                    records.pointer(&name, zone.ttl(), writer);
                }
            }
            HostDisposition::Service { zone, entry, service, protocol } => {
                zone.write_service(entry, service, *protocol, records, writer, rotation);
            }
        }
    }
}

impl<'v> Zone<'v> {
    fn matching<'a>(
        owner: &'a Arc<Attachment>,
        service: &'a [u8],
        protocol: Protocol,
    ) -> impl Iterator<Item = &'a Port> {
        ports_of(owner).iter().filter(move |port| port.protocol() == protocol && port.is(service))
    }

    /// True if a matching port is published.
    fn host_offers(self, entry: &'v NameEntry, service: &[u8], protocol: Protocol) -> bool {
        let mut ports = self.serving(entry).flat_map(|owner| Zone::matching(owner, service, protocol));
        ports.any(|port| !port.published().is_empty())
    }

    /// One SRV for each matching port, or for each port that it is published as (answers.md T4).
    fn write_service(
        self,
        entry: &'v NameEntry,
        service: &[u8],
        protocol: Protocol,
        records: &Records<'_, '_>,
        writer: &mut ReplyWriter<'_>,
        rotation: &mut Rotation,
    ) {
        let is_published = self.host.answer == HostAnswer::Published;
        let owners: SmallVec<[(&Arc<Attachment>, Addresses); 4]> = self
            .serving(entry)
            .map(|owner| {
                let addresses = if is_published {
                    published(ports_of(owner))
                } else {
                    owner.endpoint().addresses().iter().copied().collect()
                };
                (owner, addresses)
            })
            .collect();
        let mut offers: SmallVec<[Offer<'_, 5>; 4]> = SmallVec::new();
        for (owner, addresses) in &owners {
            let Some([name, network, domain]) = owner.own_name().and_then(|name| self.qualify(name)) else { continue };
            let target = [&[][..], &[], name, network, domain];
            for port in Zone::matching(owner, service, protocol) {
                let numbers: SmallVec<[u16; 2]> = if is_published {
                    port.reached().map(|socket: SocketAddr| socket.port()).collect()
                } else {
                    owner.endpoint().numbers_of(port)
                };
                for number in numbers {
                    let offer = Offer { target, port: number, addresses: &addresses[..] };
                    // A port is mostly published as one number for both families.
                    if !offers.iter().any(|known| known.target == target && known.port == number) {
                        offers.push(offer);
                    }
                }
            }
        }
        records.offers(entry, service, protocol, offers, self.ttl(), writer, rotation);
    }
}
