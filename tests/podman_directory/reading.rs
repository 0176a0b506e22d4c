//! What the files say.

use crate::kit::{Kit, Seen};

#[test]
fn a_file_is_a_network_and_each_line_a_container() {
    let mut kit = Kit::new();
    kit.write("podman", "10.88.0.1,fd00::1 9.9.9.9\nABC 10.88.0.2 fd00::2 Web,abc\ndef 10.88.0.3  db 8.8.8.8,::1\n");
    kit.write("aardvark.pid", "1234");
    assert_eq!(kit.settle(), Seen { new: vec!["podman".into()], ..Seen::default() });
    assert_eq!(kit.endpoints("podman"), ["abc 10.88.0.2,fd00::2 web,abc", "def 10.88.0.3 db 8.8.8.8:53,[::1]:53"]);
    let network = kit.table.network("podman").unwrap();
    let snapshot = network.snapshot();
    let settings = snapshot.settings();
    assert_eq!(settings.listen.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.88.0.1", "fd00::1"]);
    assert_eq!(settings.upstreams.iter().map(ToString::to_string).collect::<Vec<_>>(), ["9.9.9.9:53"]);
    assert!(!settings.internal);
    kit.append("podman", "ghi 10.88.0.4  cache\n");
    assert_eq!(kit.settle(), Seen { changed: vec!["podman".into()], ..Seen::default() });
    kit.write("podman", "10.88.0.1,fd00::1 9.9.9.9\nghi 10.88.0.4  cache\n");
    assert_eq!(kit.settle(), Seen { changed: vec!["podman".into()], ..Seen::default() });
    assert_eq!(kit.endpoints("podman"), ["ghi 10.88.0.4 cache"]);
    std::fs::remove_file(kit.path("podman")).unwrap();
    assert_eq!(kit.read().removed, ["podman"]);
    assert_eq!(kit.read().left, 0);
}
