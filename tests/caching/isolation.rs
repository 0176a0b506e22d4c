//! Networks with different upstreams see nothing of each other's answers (design.md, decision 7).

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use callsign::server::Server;
use callsign::table::Network;
use callsign::wire::rtype;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::listening;
use super::support::client::{Client, Query};
use super::support::upstream::{Scripted, a};

/// Which upstreams a network has, out of three that each give away who they are.
const LISTS: [&[usize]; 5] = [&[0], &[1], &[2], &[0, 1], &[1, 0]];

struct World {
    _runtime: Runtime,
    server: Server,
    listeners: Vec<SocketAddr>,
    _upstreams: Vec<Scripted>,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let runtime = Runtime::new().unwrap();
        let (server, listeners, upstreams) = runtime.block_on(async {
            let mut upstreams = Vec::new();
            for number in 0..3 {
                upstreams.push(Scripted::start(move |query| vec![query.answer(&[a([10, 0, 0, number])])]).await);
            }
            let server = Server::builder().port(0).upstreams(vec![].into()).start().await.unwrap();
            for (index, list) in LISTS.iter().enumerate() {
                let network = Network::builder(format!("net{index}")).listen("127.0.0.1");
                let network = list
                    .iter()
                    .fold(network, |network, &number| network.upstream(&upstreams[number].address().to_string()));
                server.add_network(network.build().unwrap()).await.unwrap();
            }
            let listeners = (0..LISTS.len()).map(|index| listening(&server, &format!("net{index}"))).collect();
            (server, listeners, upstreams)
        });
        World { _runtime: runtime, server, listeners, _upstreams: upstreams }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_is_always_one_of_the_networks_own_upstreams(
        questions in prop::collection::vec((0..LISTS.len(), 0..3_u8, any::<bool>(), any::<bool>(), 0..400_u64), 1..40),
    ) {
        let world = world();
        for (network, name, tcp, spelled, seconds) in questions {
            world.server.put_cache_clock_forward(std::time::Duration::from_secs(seconds));
            let name = format!("{}{name}.example", if spelled { "HOST" } else { "host" });
            let (client, query) = (Client::new(world.listeners[network]), Query::new(&name, rtype::A));
            let reply = if tcp { client.tcp(&query) } else { client.udp(&query) };
            let [IpAddr::V4(address)] = reply.addresses()[..] else { panic!("{reply:?}") };
            let number = usize::from(address.octets()[3]);
            prop_assert!(LISTS[network].contains(&number), "{number} answered network {network}");
        }
    }
}
