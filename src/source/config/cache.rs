//! `[cache]`.

use super::schema::CACHE;
use super::section::Section;
use super::values::CacheConfig;

pub(super) fn read(root: &Section<'_>) -> CacheConfig {
    let Some(section) = root.table("cache", &CACHE) else { return CacheConfig::default() };
    let cache = CacheConfig {
        size: section.octets("size").map(|octets| octets as usize),
        min_ttl: section.ttl("min_ttl"),
        max_ttl: section.ttl("max_ttl"),
        stale_for: section.ttl("stale_for"),
    };
    if let (Some(least), Some(most), Some(at)) = (cache.min_ttl, cache.max_ttl, section.value("min_ttl"))
        && least > most
    {
        section.problem(&at.span(), format!("`min_ttl` is {least} and `max_ttl` {most}; write a lower `min_ttl`"));
    }
    cache
}
