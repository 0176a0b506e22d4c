//! `version`: what was built, from what, when, and for what.

use std::process::ExitCode;

use serde::Serialize;

use crate::cli::output;

/// The document, in the order that its readers know.
#[derive(Debug, Serialize)]
struct Version {
    version: &'static str,
    /// Empty where it was not built in a clone of the repository.
    commit: &'static str,
    build_time: String,
    target: &'static str,
}

pub(super) fn run() -> ExitCode {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("CALLSIGN_COMMIT"),
        build_time: rfc3339(env!("CALLSIGN_BUILD_TIME").parse().unwrap_or_default()),
        target: env!("CALLSIGN_TARGET"),
    };
    output::json(&version, 0)
}

/// Seconds since 1970 as `2026-11-23T20:41:26+00:00`.
fn rfc3339(seconds: u64) -> String {
    let (mut days, time) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}+00:00", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_date_writes_them() {
        // `date -u -d @SECONDS +%FT%T+00:00`
        for (seconds, written) in [
            (0, "1970-01-01T00:00:00+00:00"),
            (951_782_399, "2000-02-28T23:59:59+00:00"),
            (951_782_400, "2000-02-29T00:00:00+00:00"),
            (1_709_251_199, "2024-02-29T23:59:59+00:00"),
            (1_735_689_599, "2024-12-31T23:59:59+00:00"),
            (1_795_466_486, "2026-11-23T20:41:26+00:00"),
            (4_107_542_400, "2100-03-01T00:00:00+00:00"),
        ] {
            assert_eq!(rfc3339(seconds), written);
        }
    }
}
