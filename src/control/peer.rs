//! Who is at the other end of the control socket, and whether they may change things.
//!
//! Whoever may open the socket may look. To change something takes more than that: a socket that was made open to all by
//! hand, or mounted into a container, must not hand the server over.

use nix::unistd::{Group, Uid, User};
use tokio::net::UnixStream;

/// The user that stands for all those that do not exist in this user namespace.
const OVERFLOW: u32 = 65_534;

/// A client of the control socket, by what the kernel says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    uid: u32,
    gid: u32,
}

impl Peer {
    /// The peer of a connection; `None` if the kernel does not say.
    pub(super) fn of(stream: &UnixStream) -> Option<Peer> {
        stream.peer_cred().ok().map(|credentials| Peer { uid: credentials.uid(), gid: credentials.gid() })
    }

    /// True for root, for the user that the server runs as, and for members of the control group.
    pub(super) fn may_change(self, group: Option<&str>) -> bool {
        let is_own = self.uid == Uid::effective().as_raw() && self.uid != OVERFLOW;
        self.uid == 0 || is_own || group.is_some_and(|group| self.is_in(group))
    }

    /// True for a member of the group, by its number or the system's list of its members.
    fn is_in(self, group: &str) -> bool {
        let known = match group.parse::<u32>() {
            Ok(number) => Group::from_gid(number.into()),
            Err(_) => Group::from_name(group),
        };
        let Ok(Some(known)) = known else { return false };
        if self.gid == known.gid.as_raw() {
            return true;
        }
        let user = User::from_uid(self.uid.into()).ok().flatten();
        user.is_some_and(|user| known.mem.contains(&user.name))
    }

    /// The peer in words.
    pub(super) fn describe(self) -> String {
        match User::from_uid(self.uid.into()) {
            Ok(Some(user)) => user.name,
            _ => format!("user {}", self.uid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_the_own_user_and_the_group_may_change_things() {
        let (nobody, root) = (Peer { uid: OVERFLOW, gid: OVERFLOW }, Peer { uid: 0, gid: OVERFLOW });
        assert!(root.may_change(None));
        assert!(!nobody.may_change(None), "even where the server runs as nobody");
        assert!(!nobody.may_change(Some("no-such-group")));
        let member = Peer { uid: 4_000_000, gid: 4_000_001 };
        assert!(!member.may_change(Some("root")));
        let in_group = Peer { uid: 4_000_000, gid: 0 };
        assert!(in_group.may_change(Some("root")) && in_group.may_change(Some("0")));
        let own = Peer { uid: Uid::effective().as_raw(), gid: 4_000_001 };
        assert!(own.may_change(None));
    }
}
