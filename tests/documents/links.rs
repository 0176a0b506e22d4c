//! Links and paths of the pages lead to files and headings that exist.

use std::path::{Path, PathBuf};

use crate::{ROOT, code_spans, documents, prose, read};

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_matches(['#', ' ']).chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    kept.flat_map(char::to_lowercase).map(|char| if char == ' ' { '-' } else { char }).collect()
}

/// The targets of the links of a line: `[text](target)`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// What is wrong with a link of a page.
fn mistake(page: &str, target: &str) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let path = match file {
        "" => PathBuf::from(page),
        file => Path::new(page).parent().unwrap().join(file),
    };
    if !Path::new(ROOT).join(&path).exists() {
        return Some(format!("{page} links to {target}: there is no {}", path.display()));
    }
    let text = heading.map(|heading| (heading, read(path.to_str().unwrap())));
    let found = text.is_none_or(|(heading, text)| {
        prose(&text).iter().any(|(_, line)| line.starts_with('#') && anchor(line) == heading)
    });
    (!found).then(|| format!("{page} links to {target}: there is no such heading"))
}

#[test]
fn links_lead_somewhere() {
    let mut mistakes = Vec::new();
    for page in documents() {
        let text = read(&page);
        let lines = prose(&text);
        mistakes.extend(lines.iter().flat_map(|(_, line)| targets(line)).filter_map(|target| mistake(&page, target)));
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    assert_eq!(anchor("## H. Header, EDNS, size"), "h-header-edns-size");
    assert!(mistake("docs/answers.md", "#no-such-heading").is_some() && mistake("README.md", "no/such/file").is_some());
}

#[test]
fn paths_exist() {
    let folders = ["src/", "tests/", "docs/", "benches/", "examples/", "fuzz/", "contrib/", ".ci/", ".github/"];
    let mut missing = Vec::new();
    let mut count = 0;
    for page in documents() {
        let text = read(&page);
        for (number, line) in prose(&text) {
            for span in code_spans(line) {
                // `benches/instructions --record`; and `fuzz/corpus/TARGET` stands for many.
                let path = span.split(' ').next().unwrap();
                let is_pattern =
                    |part: &str| part.contains(['*', '…', '{']) || part.chars().all(|char| char.is_ascii_uppercase());
                if folders.iter().any(|folder| path.starts_with(folder)) {
                    count += 1;
                    let fixed: PathBuf =
                        path.split('/').take_while(|part| part.is_empty() || !is_pattern(part)).collect();
                    if !Path::new(ROOT).join(fixed).exists() {
                        missing.push(format!("{page}:{number}: there is no {path}"));
                    }
                }
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(count > 0);
}
