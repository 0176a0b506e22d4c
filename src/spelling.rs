//! How far apart two words are, for "did you mean".

/// The insertions, deletions, replacements and swaps of neighbours that make `b` of `a`.
pub(crate) fn edits(a: &str, b: &str) -> usize {
    // Far apart whatever their letters are: a key of a megabyte is not compared letter by letter.
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(!a[i - 1].eq_ignore_ascii_case(&b[j - 1]));
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let swap = if swapped { rows[i - 2][j - 2] + 1 } else { usize::MAX };
                replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(swap)
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!((edits("", ""), edits("a", ""), edits("ab", "ba"), edits("ttl", "tll")), (0, 1, 1, 1));
        assert_eq!((edits("names", "name"), edits("abc", "xyz"), edits("a", "abcd")), (1, 3, usize::MAX));
    }
}
