//! What the lines of a file say.

use crate::kit::{Kit, logged, seen};

/// The endpoints of a network whose file has these lines below the first one.
fn endpoints(lines: impl AsRef<[u8]>) -> Vec<String> {
    let mut kit = Kit::new();
    kit.write("podman", [b"10.88.0.1\n", lines.as_ref()].concat());
    kit.settle();
    kit.endpoints("podman")
}

/// How the first line is understood.
fn header(line: &str) -> String {
    let mut kit = Kit::new();
    kit.write("podman", format!("{line}\nabc 10.88.0.2  web\n"));
    kit.settle();
    assert_eq!(kit.endpoints("podman"), ["abc 10.88.0.2 web"], "{line}");
    kit.header("podman")
}

#[test]
fn the_first_line_is_where_to_listen_and_the_networks_upstreams() {
    assert_eq!(header("10.88.0.1"), "10.88.0.1");
    assert_eq!(header("10.0.0.1,10.0.1.1,fdfd::1,fddd::1"), "10.0.0.1,10.0.1.1,fdfd::1,fddd::1");
    assert_eq!(header("10.88.0.1 127.0.0.1,::2"), "10.88.0.1 127.0.0.1:53,[::2]:53");
    assert_eq!(header("fe80::1%eth0,10.88.0.1 fe80::2%eth1"), "fe80::1%eth0,10.88.0.1 [fe80::2%eth1]:53");
    // Once each, and what stands further right is of a later version.
    assert_eq!(header("10.88.0.1,10.88.0.1 9.9.9.9,9.9.9.9 what ever"), "10.88.0.1 9.9.9.9:53");
    assert_eq!(
        header("10.88.0.1  9.9.9.9"),
        "10.88.0.1",
        "exactly one space separates columns: the second one is empty"
    );
    assert_eq!(header("\n\n10.88.0.1"), "10.88.0.1", "empty lines are skipped");
    // What is wrong costs no more than itself.
    assert_eq!(header("10.88.0.1,web,10.88.0.1:53,[::1] 9.9.9.9,dns,1.1.1.1:53"), "10.88.0.1 9.9.9.9:53");
}

#[test]
fn a_line_is_a_container() {
    assert_eq!(endpoints("abc 10.88.0.2  web\n"), ["abc 10.88.0.2 web"]);
    assert_eq!(endpoints("abc  fd00::2 web\n"), ["abc fd00::2 web"]);
    assert_eq!(endpoints("abc   web\n"), ["abc  web"]);
    assert_eq!(
        endpoints("abc 10.88.0.2,10.88.1.2 fd00::2,fd01::2 web,db\n"),
        ["abc 10.88.0.2,10.88.1.2,fd00::2,fd01::2 web,db"]
    );
    assert_eq!(endpoints("abc 10.88.0.2  web 8.8.8.8,::1\n"), ["abc 10.88.0.2 web 8.8.8.8:53,[::1]:53"]);
    assert_eq!(endpoints("abc 10.88.0.2  web 8.8.8.8 and what=ever comes, then\n"), ["abc 10.88.0.2 web 8.8.8.8:53"]);
    assert_eq!(endpoints("abc 10.88.0.2  web \n"), ["abc 10.88.0.2 web"]);
    assert_eq!(endpoints("abc 10.88.0.2  \n"), ["abc 10.88.0.2"], "a container without names is known by its id");
    assert_eq!(
        endpoints("\n\nabc 10.88.0.2  web\n\n\ndef 10.88.0.3  db\n\n"),
        ["abc 10.88.0.2 web", "def 10.88.0.3 db"]
    );
    assert_eq!(endpoints("abc 10.88.0.2  web\r\n\r\ndef 10.88.0.3  db\r\n"), ["abc 10.88.0.2 web", "def 10.88.0.3 db"]);
    assert_eq!(endpoints("abc  fe80::2%eth0 web\n"), ["abc fe80::2 web"], "whoever asks from there shows no zone");
    assert_eq!(endpoints("abc 10.88.0.2  api.v1,_x,café\n"), ["abc 10.88.0.2 api.v1,_x,xn--caf-dma,caf\\195\\169"]);
}

#[test]
fn ids_and_names_are_lower_cased() {
    assert_eq!(endpoints("ABC 10.88.0.2  HelloWorld,DB.Shop\n"), ["abc 10.88.0.2 helloworld,db.shop"]);
}

#[test]
fn one_id_may_have_several_lines_that_add_up() {
    let both = "abc 10.88.0.2  web 8.8.8.8\nABC  fd00::2 Web,api 8.8.8.8,9.9.9.9\n";
    assert_eq!(endpoints(both), ["abc 10.88.0.2,fd00::2 web,api 8.8.8.8:53,9.9.9.9:53"]);
    let apart = "abc 10.88.0.2  web\ndef 10.88.0.3  db\nabc  fd00::2 api\ndef  fd00::3 db\nabc 10.88.0.4  web\n";
    assert_eq!(endpoints(apart), ["abc 10.88.0.2,fd00::2,10.88.0.4 web,api", "def 10.88.0.3,fd00::3 db"]);
    // Also if they come later.
    let mut kit = Kit::new();
    kit.write("podman", "10.88.0.1\nabc 10.88.0.2  web\ndef 10.88.0.3  db\n");
    kit.settle();
    kit.append("podman", "abc  fd00::2 api 9.9.9.9\n");
    assert_eq!(kit.settle(), seen(&["changed"]));
    assert_eq!(kit.endpoints("podman"), ["abc 10.88.0.2,fd00::2 web,api 9.9.9.9:53", "def 10.88.0.3 db"]);
    kit.write("podman", "10.88.0.1\ndef 10.88.0.3  db\nabc  fd00::2 api 9.9.9.9\n");
    assert_eq!(kit.settle(), seen(&["changed"]));
    assert_eq!(kit.endpoints("podman"), ["abc fd00::2 api 9.9.9.9:53", "def 10.88.0.3 db"]);
}

#[test]
fn a_name_or_an_address_that_appears_twice_counts_once() {
    assert_eq!(endpoints("abc 10.88.0.2,10.88.0.2  web,Web,web\n"), ["abc 10.88.0.2 web"]);
}

#[test]
fn a_bad_address_or_name_leaves_the_rest_of_its_line() {
    let long = "x".repeat(64);
    let line = format!(
        "abc 10.88.0.300,10.88.0.2,0.0.0.0,224.0.0.1,x fd00::x,fd00::2 a..b,web,*,{long},.,,db 8.8.8,9.9.9.9\n"
    );
    assert_eq!(endpoints(line), ["abc 10.88.0.2,fd00::2 web,db 9.9.9.9:53"]);
    assert_eq!(endpoints(b"abc 10.88.0.2  \xff\xfe,web,d\xc3 \xff\n"), ["abc 10.88.0.2 web"]);
    // A name is as long as a label may be.
    let longest = "x".repeat(63);
    assert_eq!(endpoints(format!("abc 10.88.0.2  {longest}\n")), [format!("abc 10.88.0.2 {longest}")]);
}

#[test]
fn a_bad_line_costs_that_line() {
    let huge = [b"huge 10.88.0.9  ".to_vec(), vec![b'x'; 3 << 20], b",y".to_vec()].concat();
    let bad: &[&[u8]] = &[
        b"few",
        b"few 10.88.0.9",
        b"few 10.88.0.9 web",
        b" 10.88.0.9  web",
        b"    ",
        b"\x00\x01",
        b"\xff\xfe 10.88.0.9  web",
        &huge,
    ];
    for line in bad {
        let file = [b"abc 10.88.0.2  web\n", *line, b"\ndef 10.88.0.3  db\n"].concat();
        assert_eq!(endpoints(file), ["abc 10.88.0.2 web", "def 10.88.0.3 db"], "{:?}", &line[..line.len().min(40)]);
    }
}

#[test]
fn what_is_wrong_is_logged_with_file_and_line_once_and_no_more_than_a_few_times() {
    let mut kit = Kit::new();
    kit.write("podman", "10.88.0.1 dns\n\nabc 10.88.0.2  a..b,web\nfew\u{7} 10.88.0.3\n");
    let path = kit.path("podman").display().to_string();
    let first = [
        format!("{path}:1: \"dns\" is no address of a DNS server; skipped"),
        format!("{path}:3: \"a..b\" is no name of a container; skipped"),
        format!(
            "{path}:4: \"few\\u{{7}} 10.88.0.3\" has too few columns: id, IPv4, IPv6 and names are needed; skipped"
        ),
    ];
    assert_eq!(logged(|| drop(kit.settle())), first);
    assert_eq!(logged(|| drop(kit.settle())), [""; 0], "nothing changed");
    kit.append("podman", "def 10.88.0.3.4  db\n");
    assert_eq!(
        logged(|| drop(kit.settle())),
        [format!("{path}:5: \"10.88.0.3.4\" is no address of a container; skipped")]
    );
    let many: String = (0..100).map(|number| format!("bad{number}\n")).collect();
    kit.append("podman", many);
    let lines = logged(|| drop(kit.settle()));
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert_eq!(lines[5], format!("{path}: 95 more mistakes like these; skipped"));
}
