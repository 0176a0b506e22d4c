//! Who is at the other end of the control socket, and whether they may change things.
//!
//! Whoever may open the socket may look. To change something takes more than that: a socket that was made open to all by
//! hand, or mounted into a container, must not hand the server over.

use nix::unistd::{Group, Uid, User};
use tokio::net::UnixStream;

use super::socket::is_in_user_namespace;

/// The user that stands for all those that do not exist in this user namespace.
const OVERFLOW: u32 = 65_534;

/// A client of the control socket, by what the kernel says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    uid: u32,
    gid: u32,
    /// Its supplementary groups, where they are known.
    groups: Vec<u32>,
}

impl Peer {
    /// The peer of a connection; `None` if the kernel does not say.
    pub(super) fn of(stream: &UnixStream) -> Option<Peer> {
        let credentials = stream.peer_cred().ok()?;
        let (uid, gid) = (credentials.uid(), credentials.gid());
        let groups = credentials.pid().and_then(|pid| groups_of(pid, uid)).unwrap_or_default();
        Some(Peer { uid, gid, groups })
    }

    /// True for root, for the user that the server runs as, and for members of the control group.
    pub(super) fn may_change(&self, group: Option<&str>) -> bool {
        // In a user namespace everybody who is outside looks like nobody.
        let is_own = self.uid == Uid::effective().as_raw() && (self.uid != OVERFLOW || !is_in_user_namespace());
        self.uid == 0 || is_own || group.is_some_and(|group| self.is_in(group))
    }

    /// True for a member of the group: by what its process has, or by the system's list of members.
    fn is_in(&self, group: &str) -> bool {
        let number = group.parse::<u32>().ok();
        let known = match number {
            Some(number) => Group::from_gid(number.into()),
            None => Group::from_name(group),
        };
        let known = known.ok().flatten();
        let Some(gid) = known.as_ref().map(|known| known.gid.as_raw()).or(number) else { return false };
        if self.gid == gid || self.groups.contains(&gid) {
            return true;
        }
        let user = User::from_uid(self.uid.into()).ok().flatten();
        user.zip(known).is_some_and(|(user, known)| known.mem.contains(&user.name))
    }

    /// The peer in words.
    pub(super) fn describe(&self) -> String {
        match User::from_uid(self.uid.into()) {
            Ok(Some(user)) => format!("user {}", user.name),
            _ => format!("user {}", self.uid),
        }
    }
}

/// The supplementary groups of a process of this user. (The kernel's own word, `SO_PEERGROUPS`, takes a call without a safe
/// wrapper.) A process that has ended meanwhile, and whose number is another user's now, is told by its user.
fn groups_of(pid: i32, uid: u32) -> Option<Vec<u32>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let numbers = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u32>>())
    };
    // Real, effective, saved, and of the file system: all of them, so that no set-user-ID program stands for who started it.
    numbers("Uid:")?.iter().all(|each| *each == uid).then(|| numbers("Groups:")).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_the_own_user_and_the_group_may_change_things() {
        let peer = |uid, gid| Peer { uid, gid, groups: Vec::new() };
        let (nobody, root) = (peer(OVERFLOW, OVERFLOW), peer(0, OVERFLOW));
        assert!(root.may_change(None));
        assert!(!nobody.may_change(None) || Uid::effective().as_raw() == OVERFLOW);
        assert!(!nobody.may_change(Some("no-such-group")));
        let member = peer(4_000_000, 4_000_001);
        assert!(!member.may_change(Some("root")));
        let in_group = peer(4_000_000, 0);
        assert!(in_group.may_change(Some("root")) && in_group.may_change(Some("0")));
        let supplementary = Peer { groups: vec![7, 4_000_002], ..peer(4_000_000, 4_000_001) };
        assert!(supplementary.may_change(Some("4000002")) && !supplementary.may_change(Some("4000003")));
        let own = peer(Uid::effective().as_raw(), 4_000_001);
        assert!(own.may_change(None));
    }
}
