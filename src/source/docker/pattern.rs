//! Which networks are meant: `shop_*`, and `!secret` for all but that one.

use crate::table::matches;

/// True if a pattern matches, or only exclusions are given, and no exclusion does.
pub(super) fn is_selected(patterns: &[String], name: &str) -> bool {
    let mut inclusions = patterns.iter().filter(|pattern| !pattern.starts_with('!')).peekable();
    let is_included = inclusions.peek().is_none() || inclusions.any(|pattern| matches(pattern, name));
    is_included && !is_excluded(patterns, name)
}

/// True if an exclusion matches.
pub(super) fn is_excluded(patterns: &[String], name: &str) -> bool {
    patterns.iter().filter_map(|pattern| pattern.strip_prefix('!')).any(|pattern| matches(pattern, name))
}

/// True if a pattern, an exclusion or not, matches.
pub(super) fn is_about(pattern: &str, name: &str) -> bool {
    matches(pattern.strip_prefix('!').unwrap_or(pattern), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, is_match) in [
            ("shop", "shop", true),
            ("shop", "shop_a", false),
            ("shop_*", "shop_", true),
            ("shop_*", "shop_front", true),
            ("shop_*", "a_shop_", false),
            ("*_back", "shop_back", true),
            ("*_back", "shop_backup", false),
            ("s*p*x", "shoppx", true),
            ("s*p*p", "shop", false),
            ("*", "", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name), is_match, "{pattern} {name}");
        }
    }

    #[test]
    fn exclusions_win() {
        let patterns = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert!(is_selected(&[], "any"));
        let some = patterns(&["shop_*", "!shop_secret"]);
        assert!(is_selected(&some, "shop_front") && !is_selected(&some, "shop_secret") && !is_selected(&some, "blog"));
        let all_but = patterns(&["!secret"]);
        assert!(is_selected(&all_but, "shop") && !is_selected(&all_but, "secret"));
    }
}
