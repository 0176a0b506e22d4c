//! docs/troubleshooting.md: what it shows of Podman is what the program says.

use crate::control::ask;
use crate::kit::{BLOG, Home, NOWHERE, SHOP, container, until};
use crate::support::troubleshooting::{PODMAN, assert_shown};

#[test]
fn what_troubleshooting_shows_of_podman_is_what_explain_says() {
    let home = Home::new();
    home.configure(NOWHERE);
    let line = |digit: char, address: &str, name: &str| {
        let id = digit.to_string().repeat(64);
        container(&id, address, &format!("{name},{}", &id[..12]))
    };
    // Of a container that is stopped Podman says nothing.
    let shop = format!("{SHOP}\n{}{}", line('a', "10.89.0.2", "web"), line('b', "10.89.0.3", "db"));
    home.write("shop", &shop);
    home.write("blog", &format!("{BLOG}\n{}", line('c', "10.89.1.2", "cms")));
    let daemon = home.start();
    until("the control socket", || home.path().join("podman.sock").exists());
    assert_shown(PODMAN, |words| ask(&home, words).expect_success().stdout.replace("127.0.0.66:1", "10.0.0.53:53"));
    home.remove("shop");
    home.remove("blog");
    daemon.hang_up();
    daemon.wait();
}
