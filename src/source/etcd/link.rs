//! The way to the store: which member is next, after which pause, and what a fresh watch tells of what was missed.

use std::time::Duration;

use super::proto::ResponseHeader;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// A watch that has to catch up on more revisions than this is slower than a full reading.
const MAX_GAP: i64 = 1_000;

/// Chooses the member that is asked next. Each error leads to the next one; each round of all of them doubles the pause.
#[derive(Debug)]
pub(super) struct Pacer {
    members: usize,
    next: usize,
    failures: usize,
    random: u64,
}

impl Pacer {
    /// `random`: any number; hosts with different ones begin at different members.
    pub(super) fn new(members: usize, random: u64) -> Pacer {
        let members = members.max(1);
        Pacer { members, next: (random % members as u64) as usize, failures: 0, random: random | 1 }
    }

    /// The member to ask.
    pub(super) fn member(&self) -> usize {
        self.next
    }

    /// It does not do what it should: how long to wait before the next one is asked.
    pub(super) fn failed(&mut self) -> Duration {
        let round = self.failures / self.members;
        self.failures += 1;
        self.next = (self.next + 1) % self.members;
        let longest = FIRST_PAUSE.saturating_mul(1 << round.min(8)).min(MAX_PAUSE);
        // xorshift: half of it to all of it, so that hosts do not come at the same moments.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        longest.mul_f64(0.5 + (self.random >> 11) as f64 / (1u64 << 54) as f64)
    }

    /// It does.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// True if every member has failed since one last did what it should.
    pub(super) fn have_all_failed(&self) -> bool {
        self.failures >= self.members
    }
}

/// Up to where all is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Position {
    pub cluster_id: u64,
    pub term: u64,
    pub revision: i64,
}

/// Why everything is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Nothing is known.
    Start,
    /// The time has come.
    Reconcile,
    /// What happened since is not kept.
    Compacted,
    /// Too much has happened since.
    Gap,
    /// The store has gone back.
    Restored,
    /// It is another store.
    Cluster,
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Reason::Start => "start",
            Reason::Reconcile => "reconcile",
            Reason::Compacted => "compacted",
            Reason::Gap => "gap",
            Reason::Restored => "restored",
            Reason::Cluster => "cluster",
        }
    }

    /// True if revisions from before mean nothing any more.
    pub(super) fn is_other(self) -> bool {
        matches!(self, Reason::Restored | Reason::Cluster)
    }
}

impl Position {
    /// What a header says of what is known: nothing against it, or why all is to be read. A backup that was restored under the
    /// same names has the same cluster id, and accepts a watch from a revision that it has not reached; it shows in the
    /// revision and in the term alone.
    pub(super) fn judge(&self, header: &ResponseHeader) -> Result<(), Reason> {
        self.judge_store(header)?;
        if header.revision - self.revision > MAX_GAP { Err(Reason::Gap) } else { Ok(()) }
    }

    /// The same, however much has happened since.
    pub(super) fn judge_store(&self, header: &ResponseHeader) -> Result<(), Reason> {
        if header.cluster_id != self.cluster_id {
            Err(Reason::Cluster)
        } else if header.revision < self.revision || header.raft_term < self.term {
            Err(Reason::Restored)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_leads_to_the_next_member_and_each_round_to_a_longer_pause() {
        let mut pacer = Pacer::new(3, 7);
        let first = pacer.member();
        let mut members = Vec::new();
        let mut pauses = Vec::new();
        for _ in 0..30 {
            pauses.push(pacer.failed());
            members.push(pacer.member());
        }
        assert_eq!(members[..3], [(first + 1) % 3, (first + 2) % 3, first]);
        assert!(pauses[..3].iter().all(|pause| *pause <= FIRST_PAUSE && *pause >= FIRST_PAUSE / 2));
        assert!(pauses[3..6].iter().all(|pause| *pause <= 2 * FIRST_PAUSE && *pause >= FIRST_PAUSE));
        assert!(pauses[27..].iter().all(|pause| *pause <= MAX_PAUSE && *pause >= MAX_PAUSE / 2));
        assert!(pacer.have_all_failed());
        pacer.succeeded();
        assert!(!pacer.have_all_failed() && pacer.failed() <= FIRST_PAUSE);
    }

    #[test]
    fn rule_revision_or_term_below_mine_or_another_cluster_lists_anew() {
        let mine = Position { cluster_id: 5, term: 42, revision: 47_563 };
        let header = |cluster_id, raft_term, revision| ResponseHeader { cluster_id, raft_term, revision };
        assert_eq!(mine.judge(&header(5, 42, 47_563)), Ok(()));
        assert_eq!(mine.judge(&header(5, 43, 47_600)), Ok(()));
        assert_eq!(mine.judge(&header(5, 42, 47_521)), Err(Reason::Restored), "a restored backup");
        assert_eq!(mine.judge(&header(5, 2, 50_000)), Err(Reason::Restored), "one that has passed our revision");
        assert_eq!(mine.judge(&header(6, 42, 47_563)), Err(Reason::Cluster));
        assert_eq!(mine.judge(&header(5, 42, 48_563)), Ok(()));
        assert_eq!(mine.judge(&header(5, 42, 48_564)), Err(Reason::Gap));
        assert_eq!(mine.judge_store(&header(5, 42, 99_999)), Ok(()));
    }
}
