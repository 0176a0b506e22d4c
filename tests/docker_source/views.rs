//! Names and views, for engines of all ages.

use callsign::wire::rtype;

use crate::kit::*;

const AGES: [Age; 4] = [Age::Engine20, Age::Engine25, Age::Engine28, Age::Engine29];

#[test]
fn a_project_by_all_its_names_on_engines_of_all_ages() {
    for age in AGES {
        let bed = Bed::new(age, |engine, prefix| {
            engine.network("shop_front", &format!("127.{prefix}.1."));
            engine.network("shop_back", &format!("127.{prefix}.2."));
            engine.run(Container::new("shop-db-1").service("shop", "db", 1).on("shop_back", &["db", "database"]));
            let web = |number: u32| {
                Container::new(&format!("shop-web-{number}"))
                    .service("shop", "web", number)
                    .label("callsign.names", "www, *.pages")
                    .label("callsign.ports", "http=80")
                    .port("80/tcp")
                    .port("443/udp")
                    .on("shop_front", &["web"])
                    .on("shop_back", &["web"])
            };
            engine.run(web(1));
            engine.run(web(2).hostname("second"));
            engine.run(Container::new("alone").service("shop", "job", 1));
        });
        let [db, web1, web2] = [(2, 2), (1, 2), (1, 3)].map(|(network, host)| bed.address(network, host));
        let (web1_back, web2_back) = (bed.address(2, 3), bed.address(2, 4));
        let both = format!("{web1} {web2}");
        let both_back = format!("{web1_back} {web2_back}");
        for name in
            ["db", "DB", "database", "shop-db-1", "db.shop", "db.shop_back", "db.SHOP_BACK", "shop-db-1.shop_back"]
        {
            assert_eq!(bed.look_up(&web1_back, name), db, "{age:?}: {name}");
            assert_eq!(bed.look_up(&web1, name), db, "{age:?}: {name} from the other network");
        }
        for name in ["web", "web.shop", "www", "any.pages"] {
            assert_eq!(bed.look_up(&db, name), both_back, "{age:?}: {name}");
        }
        // Docker searches networks in the order of their names: shop_back comes first, whoever's address asks.
        assert_eq!(bed.look_up(&web1_back, "web"), both_back, "{age:?}");
        assert_eq!(bed.look_up(&db, "shop-web-2"), web2_back);
        assert_eq!(bed.look_up(&db, "second"), web2_back);
        assert_eq!(
            bed.look_up(&db, "web.shop_front"),
            "SERVFAIL",
            "{age:?}: V2: forwarded, as any name that is not there"
        );
        assert!([both.as_str(), &both_back].contains(&bed.look_up(&web1, "web").as_str()));
        // The default bridge, where Docker has no names.
        let alone = bed.address(0, 2);
        for name in ["alone", "job", "job.shop", "shop-job-1", "alone.bridge"] {
            assert_eq!(bed.look_up(&alone, name), alone, "{age:?}: {name}");
        }
        assert_eq!(bed.look_up(&alone, "web"), "SERVFAIL");
        let srv = |name: &str| bed.ask(0, &db, name, rtype::SRV).answers().len();
        assert_eq!(
            (srv("_http._tcp.web"), srv("_443._udp.web"), srv("_80._tcp.web"), srv("_x._tcp.web")),
            (2, 2, 2, 0)
        );
        let reply = bed.ask(0, &web1_back, "db", rtype::AAAA);
        assert_eq!((reply.status().as_str(), reply.answers().len()), ("NOERROR", 0), "T1");
    }
}

#[test]
fn t3_reverse_names_are_the_containers_own() {
    let bed = Bed::new(Age::Engine20, |engine, prefix| {
        engine.network("shop", &format!("127.{prefix}.1."));
        engine.run(Container::new("shop-db-1").on("shop", &["db"]));
    });
    let db = bed.address(1, 2);
    let client = Client::new(format!("{}:{}", bed.address(1, 1), bed.port).parse().unwrap()).from(db.parse().unwrap());
    let reply = client.udp(&Query::reverse(db.parse().unwrap()));
    assert!(reply.answers()[0].ends_with("PTR shop-db-1."), "{:?}", reply.answers());
}

#[test]
fn v2a_several_networks_in_dockers_order() {
    let bed = Bed::new(Age::Engine28, |engine, prefix| {
        for (number, name) in [(1, "a"), (2, "b"), (3, "c")] {
            engine
                .make_network(name, &format!("127.{prefix}.{number}."), |body| body["Internal"] = (name == "a").into());
            engine.run(Container::new(&format!("db-{name}")).on(name, &["db"]));
        }
        engine.run(Container::new("by-name").on("b", &[]).on("c", &[]));
        engine.run(Container::new("by-priority").on("b", &[]).with_priority("c", &[], 1));
        engine.run(Container::new("internal-last").with_priority("a", &[], 9).on("c", &[]));
    });
    let from =
        |name: &str, network: &str| bed.engine.address(&bed.engine.container_id(name), &bed.engine.network_id(network));
    let db = |network: u8| bed.address(network, 2);
    // Asked at the default bridge, which is none of their networks.
    assert_eq!(bed.look_up(&from("by-name", "b"), "db"), db(2));
    assert_eq!(bed.look_up(&from("by-priority", "c"), "db"), db(3));
    assert_eq!(bed.look_up(&from("internal-last", "c"), "db"), db(3));
}

#[test]
fn f1_an_internal_network_reaches_no_upstream() {
    let bed = Bed::new(Age::Engine25, |engine, prefix| {
        engine.make_network("vault", &format!("127.{prefix}.1."), |body| body["Internal"] = true.into());
        engine.run(Container::new("safe").on("vault", &[]));
    });
    let safe = bed.address(1, 2);
    let reply = bed.ask(1, &safe, "www.example", rtype::A);
    assert_eq!((reply.status().as_str(), reply.extended_errors()[0].0), ("NXDOMAIN", 15));
    assert_eq!(bed.look_up(&safe, "safe"), safe);
}

#[test]
fn links_of_the_default_bridge_are_names() {
    let bed = Bed::new(Age::Engine20, |engine, _| {
        engine.run(Container::new("cdef"));
        engine.run(Container::new("linkdef").link("cdef", "ldb"));
    });
    let (cdef, linkdef) = (bed.address(0, 2), bed.address(0, 3));
    assert_eq!(bed.look_up(&linkdef, "ldb"), cdef);
    let id = bed.engine.container_id("linkdef");
    bed.engine.stop(&id);
    bed.engine.remove(&id);
    bed.becomes(&cdef, "ldb", "SERVFAIL");
}
