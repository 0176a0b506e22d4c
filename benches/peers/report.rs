//! The results as tables, for a terminal and as Markdown alike.

use std::fmt;

use crate::results::{
    CPU, Figure, MEDIAN, P99, P99_OF_ALL, P99_WORST, PACED_CPU, PRIVATE, QPS, RESIDENT, Results, Row, START,
};
use crate::targets;
use crate::workload::Workload;

/// A column: its heading, the figure, and digits after the point.
type Column = (&'static str, Figure, usize);

const COLUMNS: [Column; 10] = [
    ("QPS", QPS, 0),
    ("median µs", MEDIAN, 1),
    ("p99 µs", P99, 1),
    ("of all", P99_OF_ALL, 0),
    ("at worst", P99_WORST, 0),
    ("CPU at that rate", PACED_CPU, 2),
    ("private MB", PRIVATE, 1),
    ("resident MB", RESIDENT, 1),
    ("start ms", START, 1),
    ("CPU µs/query", CPU, 2),
];

/// Which of them is quoted: see [`crate::paced`].
pub(crate) const P99_IS: &str = "p99 is computed per window of 1,000 queries, and the median window is shown; a query without an answer \
                                 counts as 1 s";
/// See [`Row::ratio`].
pub(crate) const RATIOS_ARE: &str = "ratios are taken in each round, and are the medians of those";

/// A figure as text, or a dash where there is none.
pub(crate) fn cell(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(|| "–".to_owned(), |figure| format!("{figure:.digits$}"))
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        writeln!(f, "{}; {RATIOS_ARE}. In parentheses the lowest and the highest.", self.about.medians())?;
        for workload in Workload::ALL {
            let rows: Vec<&Row> = self.of(workload).collect();
            if !rows.is_empty() {
                self.table(workload, &rows, f)?;
            }
        }
        writeln!(f)?;
        targets::of(self).iter().try_for_each(|target| writeln!(f, "{target}"))
    }
}

impl Results {
    fn table(&self, workload: Workload, rows: &[&Row], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let floor = self.floor(workload);
        // Of no figure that nobody has.
        let columns: Vec<&Column> = COLUMNS[..COLUMNS.len() - 1]
            .iter()
            .filter(|(_, figure, _)| rows.iter().any(|row| row.median(*figure).is_some()))
            .collect();
        let mut lines = Vec::new();
        let mut heading = vec![workload.to_string(), String::new()];
        if workload != Workload::Idle {
            heading.extend(["CPU µs/query".to_owned(), "÷ echo".to_owned()]);
        }
        heading.extend(columns.iter().map(|(heading, ..)| (*heading).to_owned()));
        lines.push(heading);
        for row in rows {
            let mut line = vec![row.server.clone(), row.setup.to_string()];
            if workload != Workload::Idle {
                let (low, high) = row.spread(CPU);
                line.push(format!("{} ({low:.2}–{high:.2})", cell(row.median(CPU), 2)));
                line.push(floor.map_or_else(String::new, |floor| {
                    let (low, high) = row.ratio_spread(floor, CPU);
                    format!("{} ({low:.2}–{high:.2})", cell(row.ratio(floor, CPU), 2))
                }));
            }
            line.extend(columns.iter().map(|(_, figure, digits)| cell(row.median(*figure), *digits)));
            lines.push(line);
        }
        writeln!(f, "\n{}", markdown(&lines))?;
        if workload.rate() > 0 {
            let rate = crate::setup::thousands(workload.rate());
            writeln!(f, "Latencies at {rate} queries a second; {P99_IS}.")?;
        }
        rows.iter().filter_map(|row| row.failures()).try_for_each(|failures| writeln!(f, "{failures}"))
    }
}

/// Lines of cells, the first the headings, as a table with its columns aligned.
pub(crate) fn markdown(lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).map(|(cell, &width)| format!(" {cell:<width$} |"));
        text.push_str(&format!("|{}\n", cells.collect::<String>()));
        if index == 0 {
            let rules = widths.iter().map(|width| format!("{:-<1$}|", "", width + 2));
            text.push_str(&format!("|{}\n", rules.collect::<String>()));
        }
    }
    text
}
