//! `[cache]`.

use std::time::Duration;

use crate::settings::ForwardOptions;

use super::schema::CACHE;
use super::section::Section;

/// Reads it into the options of the forwarder, whose cache it is.
pub(super) fn read(root: &Section<'_>, options: &mut ForwardOptions) {
    let Some(section) = root.table("cache", &CACHE) else { return };
    if let Some(size) = section.octets("size") {
        options.cache_size = size as usize;
    }
    let set = |key, setting: &mut Duration| {
        let ttl = section.ttl(key);
        if let Some(ttl) = ttl {
            *setting = Duration::from_secs(ttl.into());
        }
        ttl
    };
    let (least, most) = (set("min_ttl", &mut options.min_ttl), set("max_ttl", &mut options.max_ttl));
    set("stale_for", &mut options.stale_for);
    if let (Some(least), Some(most), Some(at)) = (least, most, section.value("min_ttl"))
        && least > most
    {
        section.problem(&at.span(), format!("`min_ttl` is {least} and `max_ttl` {most}; write a lower `min_ttl`"));
    }
}
