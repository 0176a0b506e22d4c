//! Each rule that is cited anywhere is a rule of docs/answers.md.

use std::collections::BTreeSet;
use std::path::Path;

use crate::{ROOT, files, prose, read};

/// The rules of the contract: `N6`, and the letter of each section.
fn contract() -> BTreeSet<String> {
    let mut rules = BTreeSet::new();
    for line in read("docs/answers.md").lines() {
        let rule = if let Some(heading) = line.strip_prefix("## ") {
            heading.split_once('.').map(|(letter, _)| letter)
        } else {
            line.strip_prefix("- **").and_then(|rest| rest.split_once("** ")).map(|(rule, _)| rule)
        };
        if let Some(rule) = rule {
            assert_eq!(rule_at(rule), Some((rule, "")), "docs/answers.md: not a rule: {line}");
            assert!(rules.insert(rule.to_owned()), "docs/answers.md has {rule} twice");
        }
    }
    rules
}

/// A rule at the start of a text, and the rest: a capital letter, up to two digits and perhaps a letter, as in `V3a`.
fn rule_at(text: &str) -> Option<(&str, &str)> {
    let letter = text.starts_with(|first: char| first.is_ascii_uppercase()).then_some(1)?;
    let digits = text[letter..].bytes().take_while(u8::is_ascii_digit).count();
    let end = letter + digits;
    let end = end + usize::from(digits > 0 && text[end..].starts_with(|next: char| next.is_ascii_lowercase()));
    let ends = !text[end..].starts_with(|next: char| next.is_alphanumeric() || next == '_');
    (digits <= 2 && ends).then(|| text.split_at(end))
}

fn is_numbered(rule: &str) -> bool {
    rule.len() > 1
}

/// The rules that a text starts with, `H1, H3 and H6` or `V1 to V4`, and the rest.
fn rules_at(text: &str) -> (Vec<&str>, &str) {
    let (mut rules, mut rest) = (Vec::new(), text);
    while let Some((rule, behind)) = rule_at(rest) {
        rules.push(rule);
        let next = [", and ", ", ", " and ", " or ", " to "].iter().find_map(|link| behind.strip_prefix(link));
        match next.filter(|next| rule_at(next).is_some()) {
            Some(next) => rest = next,
            None => return (rules, behind),
        }
    }
    (rules, rest)
}

/// What follows each occurrence of a word in a text.
fn after<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = &'t str> {
    text.match_indices(word).map(move |(at, _)| &text[at + word.len()..])
}

/// The rules that prose cites: behind `answers.md` or `rule`, in parentheses of their own, or in front of a colon.
fn cited_in_prose(text: &str) -> Vec<&str> {
    let mut cited = Vec::new();
    for rest in after(text, "answers.md ").chain(after(text, "answers.md` ")) {
        // Not the first word of a sentence: `A rule of answers.md …`.
        cited.extend(rules_at(rest).0);
    }
    for rest in after(text, "rule ").chain(after(text, "rules ")) {
        cited.extend(rules_at(rest).0.into_iter().filter(|rule| is_numbered(rule)));
    }
    for rest in after(text, "(") {
        if let (rules, rest) = rules_at(rest)
            && rest.starts_with(')')
        {
            cited.extend(rules.into_iter().filter(|rule| is_numbered(rule)));
        }
    }
    for line in text.lines() {
        if let Some((rule, rest)) = rule_at(line)
            && is_numbered(rule)
            && rest.starts_with(": ")
        {
            cited.push(rule);
        }
    }
    cited
}

/// The comments of a program's text: what stands in one behind the other as one line, so that a citation may be broken.
fn comments(text: &str) -> String {
    let mut comments = String::new();
    let mut open = false;
    for line in text.lines() {
        let line = line.trim_start();
        let marker = ["///", "//!", "//", "#"].iter().find(|marker| line.starts_with(**marker));
        if let Some(marker) = marker {
            comments.push_str(if open { " " } else { "\n" });
            comments.push_str(line[marker.len()..].trim());
        } else if let Some((_, comment)) = line.split_once("// ") {
            comments.push('\n');
            comments.push_str(comment);
        }
        open = marker.is_some();
    }
    comments
}

/// The rules that a program's code cites: what a trace is told, values of a type `Rule`, and strings that are a rule in the
/// responder, which tells traces.
fn cited_in_code<'t>(path: &str, text: &'t str) -> Vec<&'t str> {
    let mut cited: Vec<&str> = Vec::new();
    for rest in after(text, ".rule(\"").chain(after(text, "(rule ")).chain(after(text, "Rule::")) {
        cited.extend(rule_at(rest).map(|(rule, _)| rule));
    }
    if path.starts_with("src/responder/") {
        let strings = text.split('"').filter(|string| rule_at(string).is_some_and(|(_, rest)| rest.is_empty()));
        cited.extend(strings.filter(|rule| is_numbered(rule)));
    }
    cited
}

/// The rules that tests have in their names, `fn n6_…`. A letter that no section has is a name of something else.
fn cited_by_tests(text: &str, contract: &BTreeSet<String>) -> Vec<String> {
    let mut cited = Vec::new();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix("async fn ").or(line.strip_prefix("fn ")) else { continue };
        let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        let is_test = attributes.filter(|line| line.starts_with("#[")).any(|line| line.contains("test"));
        let Some((prefix, _)) = name.split_once('_') else { continue };
        let (letter, number) = prefix.split_at(prefix.chars().next().map_or(0, char::len_utf8));
        let rule = letter.to_ascii_uppercase() + number;
        if is_test && is_numbered(&rule) && rule_at(&rule) == Some((&rule, "")) && contract.contains(&rule[..1]) {
            cited.push(rule);
        }
    }
    cited
}

/// All that a file cites.
fn cited(path: &str, text: &str, contract: &BTreeSet<String>) -> BTreeSet<String> {
    let mut rules: BTreeSet<String> = BTreeSet::new();
    if path.ends_with(".md") {
        let lines: Vec<&str> = prose(text).into_iter().map(|(_, line)| line.trim()).collect();
        rules.extend(
            cited_in_prose(&lines.join("\n")).into_iter().chain(cited_in_prose(&lines.join(" "))).map(String::from),
        );
        if path.starts_with("docs/answers")
            || path.starts_with("docs/architecture")
            || path.starts_with("docs/glossary")
        {
            // These three are about the rules: every word that looks like one is one.
            let words = lines.iter().flat_map(|line| line.split(|char: char| !char.is_alphanumeric()));
            let numbered =
                words.filter(|word| is_numbered(word) && rule_at(word).is_some_and(|(_, rest)| rest.is_empty()));
            rules.extend(numbered.filter(|word| word.as_bytes()[1].is_ascii_digit()).map(String::from));
        }
    } else {
        rules.extend(cited_in_prose(&comments(text)).into_iter().map(String::from));
        rules.extend(cited_in_code(path, text).into_iter().map(String::from));
        rules.extend(cited_by_tests(text, contract));
    }
    rules
}

#[test]
fn every_rule_that_is_cited_is_in_the_contract() {
    let contract = contract();
    let places = ["src", "tests", "docs", "benches", "examples", "contrib", "fuzz/src", "fuzz/fuzz_targets"];
    let pages = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "Cargo.toml"];
    let (mut by_code, mut unknown) = (BTreeSet::new(), Vec::new());
    for path in places.iter().chain(&pages).flat_map(|place| files(place)) {
        // Not this file, which cites rules that there are none of.
        let Ok(text) = std::fs::read_to_string(Path::new(ROOT).join(&path)) else { continue };
        if path == "tests/documents/citations.rs" {
            continue;
        }
        let cited = cited(&path, &text, &contract);
        unknown.extend(cited.difference(&contract).map(|rule| format!("{path} cites {rule}")));
        if path.ends_with(".rs") {
            by_code.extend(cited);
        }
    }
    assert!(unknown.is_empty(), "docs/answers.md has no such rule:\n{}", unknown.join("\n"));
    assert!(by_code.len() > contract.len() / 2, "are citations still found? Only these are: {by_code:?}");
}

#[test]
fn citations_are_found_in_every_form() {
    let contract = BTreeSet::from(["N".to_owned(), "N6".to_owned()]);
    let found = |path: &str, text: &str| cited(path, text, &contract).into_iter().collect::<Vec<_>>();
    for (path, text, rules) in [
        ("src/a.rs", "/// Who may ask (answers.md V4).", &["V4"][..]),
        ("src/a.rs", "//! See answers.md V1 to V4, and\n//! answers.md\n//! N99.", &["N99", "V1", "V4"]),
        ("src/a.rs", "    // (H1, H4 and\n    // X5) hold", &["H1", "H4", "X5"]),
        ("src/a.rs", "/// By rules N1, N77; rule H3, too", &["H3", "N1", "N77"]),
        ("src/a.rs", "let x = 1; // V3a: a stranger", &["V3a"]),
        ("src/a.rs", "//! Special names (answers.md S and P5).", &["P5", "S"]),
        ("src/a.rs", "trace.rule(\"Q7\"); Rule::N5; println!(\"(rule T1)\")", &["N5", "Q7", "T1"]),
        ("src/responder/a.rs", "_ => (\"T99\", 5, \"no rule\", \"A\")", &["T99"]),
        ("src/a.rs", "IpAddr::V4(x), RecordType(\"T99\"), [C0 0C] // not (A), not (IPv6), not P99", &[]),
        ("tests/a.rs", "#[test]\nfn n42_a_name() {}\n#[tokio::test]\n// Why.\nasync fn n6_x() {}", &["N42", "N6"]),
        ("tests/a.rs", "fn n42_no_test() {}\n#[test]\nfn i64_is_a_number() {}\n#[test]\nfn name_n7() {}", &[]),
        ("docs/answers.md", "An unknown one (see N6, F88)\n```\nN77\n```\nUDP64 A AAAA", &["F88", "N6"]),
        ("docs/other.md", "Layer L7 is no rule; answers.md L8 would be (N9).", &["L8", "N9"]),
    ] {
        assert_eq!(found(path, text), rules, "{text}");
    }
}
