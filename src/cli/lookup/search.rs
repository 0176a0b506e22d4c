//! The search list: which names the C library asks for when a program asks for one (resolv.conf(5), res_nsearch of glibc).

use std::env;
use std::fs;

use callsign::wire::Name;

/// Names with so many dots are asked for as they stand first, unless resolv.conf says otherwise, and the most that it can
/// say.
const NDOTS: u32 = 1;
const MAX_NDOTS: u32 = 15;
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// What resolv.conf and the environment say of names that are not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Search {
    domains: Vec<Name>,
    ndots: u32,
}

impl Search {
    /// Names are whole.
    pub(super) fn none() -> Search {
        Search { domains: Vec::new(), ndots: NDOTS }
    }

    /// That of this process: LOCALDOMAIN and RES_OPTIONS come before the file.
    pub(super) fn of(file: &resolv_conf::Config) -> Search {
        let environment = |name| env::var(name).ok();
        let hostname = fs::read_to_string(HOSTNAME).unwrap_or_default();
        Search::new(file, environment("LOCALDOMAIN").as_deref(), environment("RES_OPTIONS").as_deref(), hostname.trim())
    }

    fn new(file: &resolv_conf::Config, localdomain: Option<&str>, options: Option<&str>, hostname: &str) -> Search {
        let of_file: Vec<String> =
            file.get_last_search_or_domain().map(ToString::to_string).filter(|domain| !domain.is_empty()).collect();
        let domains: Vec<String> = match localdomain {
            Some(list) => list.split_whitespace().map(str::to_owned).collect(),
            None if !of_file.is_empty() => of_file,
            // Without either, the domain of the host's own name.
            None => hostname.split_once('.').map(|(_, domain)| domain.to_owned()).into_iter().collect(),
        };
        let option = options.into_iter().flat_map(str::split_whitespace).filter_map(|word| word.strip_prefix("ndots:"));
        let ndots = option.filter_map(|digits| digits.parse().ok()).next_back().unwrap_or(file.ndots);
        Search {
            domains: domains.iter().filter_map(|domain| domain.parse().ok()).collect(),
            ndots: ndots.min(MAX_NDOTS),
        }
    }

    /// The names to ask for, in order, until one of them has an answer. `text` is the name as it was written.
    pub(super) fn candidates(&self, name: &Name, text: &str) -> Vec<Name> {
        let is_whole = text.ends_with('.') && !text.ends_with("\\.") || name.is_root();
        let dots = text.matches('.').count();
        let mut candidates: Vec<Name> = Vec::new();
        let mut add = |name: Name| {
            if !candidates.contains(&name) {
                candidates.push(name);
            }
        };
        if is_whole || dots >= self.ndots as usize {
            add(name.clone());
        }
        if !is_whole {
            // What would be too long is not asked for.
            self.domains.iter().filter_map(|domain| name.join(domain).ok()).for_each(&mut add);
            add(name.clone());
        }
        candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> resolv_conf::Config {
        resolv_conf::Config::parse(text).unwrap()
    }

    #[track_caller]
    fn asked(search: &Search, text: &str) -> Vec<String> {
        search.candidates(&text.parse().unwrap(), text).iter().map(Name::to_string).collect()
    }

    #[test]
    fn names_are_tried_in_the_order_of_the_c_library() {
        let search = Search::new(&file("search a.example b.example\noptions ndots:2\n"), None, None, "");
        assert_eq!(asked(&search, "db"), ["db.a.example", "db.b.example", "db"]);
        assert_eq!(asked(&search, "db.shop"), ["db.shop.a.example", "db.shop.b.example", "db.shop"]);
        assert_eq!(asked(&search, "a.db.shop"), ["a.db.shop", "a.db.shop.a.example", "a.db.shop.b.example"]);
        assert_eq!(asked(&search, "db."), ["db"]);
        assert_eq!(asked(&Search::none(), "db"), ["db"]);
        let long = format!("{0}.{0}.{0}.{1}", "x".repeat(63), "x".repeat(55));
        assert_eq!(asked(&search, &long), [long], "with a domain it would be no name");
        // The root is in some lists.
        let search = Search::new(&file("search . a.example\n"), None, None, "");
        assert_eq!(asked(&search, "db"), ["db", "db.a.example"]);
    }

    #[test]
    fn the_environment_and_the_host_name_are_looked_at_as_the_c_library_does() {
        let search = |text, localdomain, options, hostname| Search::new(&file(text), localdomain, options, hostname);
        assert_eq!(asked(&search("search a.example\n", Some("c.example"), None, ""), "db"), ["db.c.example", "db"]);
        assert_eq!(asked(&search("search a.example\n", None, Some("ndots:0"), ""), "db"), ["db", "db.a.example"]);
        assert_eq!(asked(&search("", None, None, "host.d.example"), "db"), ["db.d.example", "db"]);
        assert_eq!(
            asked(&search("domain e.example\nsearch f.example\n", None, None, "host.d.example"), "db"),
            ["db.f.example", "db"]
        );
        assert_eq!(search("options ndots:99\n", None, None, "").ndots, MAX_NDOTS);
    }
}
