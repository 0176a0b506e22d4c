//! What a look at one thing came to.

use serde::Serialize;

/// How it stands. In the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// It does not work so.
    Problem,
    /// It may not work, or not as one thinks.
    Warning,
    Ok,
    /// It was not looked at; the message says why.
    Skipped,
}

/// What was found, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at, a stable word.
    pub(super) id: &'static str,
    pub(super) verdict: Verdict,
    pub(super) message: String,
    /// What to do, or the line to write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cure: Option<String>,
}

impl Finding {
    pub(super) fn problem(id: &'static str, message: impl Into<String>, cure: impl Into<String>) -> Finding {
        Finding { id, verdict: Verdict::Problem, message: message.into(), cure: Some(cure.into()) }
    }

    pub(super) fn warning(id: &'static str, message: impl Into<String>, cure: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Warning, ..Finding::problem(id, message, cure) }
    }

    pub(super) fn ok(id: &'static str, message: impl Into<String>) -> Finding {
        Finding { id, verdict: Verdict::Ok, message: message.into(), cure: None }
    }

    pub(super) fn skipped(id: &'static str, message: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Skipped, ..Finding::ok(id, message) }
    }
}
