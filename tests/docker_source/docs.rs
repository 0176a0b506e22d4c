//! docs/troubleshooting.md: what it shows of Docker is what the program says.

use crate::kit::*;
use crate::support::process::run;
use crate::support::program::callsign;
use crate::support::troubleshooting::{DOCKER, assert_shown};

#[test]
fn what_troubleshooting_shows_of_docker_is_what_explain_says() {
    let bed = Bed::new(Age::Engine28, |engine, prefix| {
        engine.network("shop_default", &format!("127.{prefix}.1."));
        engine.network("blog_default", &format!("127.{prefix}.2."));
        for service in ["web", "db", "worker"] {
            let name = format!("shop-{service}-1");
            engine.run(Container::new(&name).service("shop", service, 1).on("shop_default", &[&name, service]));
        }
        let cms = Container::new("blog-cms-1").service("blog", "cms", 1);
        engine.run(cms.on("blog_default", &["blog-cms-1", "cms"]));
        engine.stop(&engine.container_id("shop-worker-1"));
    });
    bed.becomes_at(1, &bed.address(1, 2), "db", &bed.address(1, 3));
    let socket = bed.program.control();
    assert_shown(DOCKER, |words| {
        let mut all = vec!["explain"];
        all.extend(words.split(' ').skip(1).chain(["--socket", socket.to_str().unwrap()]));
        let said = run(callsign(&all)).expect_success().stdout;
        // Addresses that a test can ask from stand for those that Docker gives.
        let said = said.replace(&format!("127.{}.1.", bed.prefix), "172.18.0.");
        said.replace("127.0.0.66:1", "10.0.0.53:53")
    });
}
