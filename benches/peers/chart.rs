//! The results as a picture: bars of processor time, latency and growth, an SVG file.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::paced::PATIENCE;
use crate::peer::Peer;
use crate::report::cell;
use crate::results::{CPU, Figure, P99, Results, Row};
use crate::setup::thousands;
use crate::workload::Workload;

const SIZE: (u32, u32) = (1000, 960);
/// Pixels: left of the bars for the labels, right of them for the figures, above them for the heading, and a bar with its
/// gap.
const LABELS: i32 = 165;
const FIGURES: i32 = 55;
const HEADING: i32 = 46;
const BAR: i32 = 28;

const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const OTHERS: RGBColor = RGBColor(0xb4, 0xbc, 0xc4);
const FLOOR: RGBColor = RGBColor(0x4a, 0x4a, 0x4a);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

struct Bar {
    label: String,
    value: f64,
    color: RGBColor,
}

/// Writes the chart.
pub(crate) fn write(results: &Results, file: &Path) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let panels = root.split_evenly((3, 2));
    let cpu = [
        (Workload::Local, "A local name: CPU µs a query"),
        (Workload::Mixed, "Local, mixed (A, AAAA, PTR, NXDOMAIN): CPU µs a query"),
        (Workload::Cached, "Forwarded, cached: CPU µs a query"),
        (Workload::Uncached, "Forwarded, not cached: CPU µs a query"),
    ];
    for (panel, (workload, heading)) in panels.iter().zip(cpu) {
        draw(panel, heading, &bars(results, workload, CPU), 1)?;
    }
    let rate = thousands(Workload::Local.rate());
    let heading = format!("A local name: p99 latency, µs, at {rate} queries a second");
    draw(&panels[4], &heading, &bars(results, Workload::Local, P99), 0)?;
    let mut growth: Vec<Bar> = Vec::new();
    for (workload, peer) in [(Workload::Networks, Peer::Callsign), (Workload::Names, Peer::Library)] {
        let rows = results.of(workload).filter(|row| row.peer == peer);
        growth.extend(rows.filter_map(|row| bar(row, row.setup.to_string(), CPU)));
    }
    draw(&panels[5], "callsign as it grows: CPU µs a query", &growth, 1)?;
    root.present()?;
    Ok(())
}

fn bars(results: &Results, workload: Workload, figure: Figure) -> Vec<Bar> {
    results.of(workload).filter_map(|row| bar(row, row.server.clone(), figure)).collect()
}

fn bar(row: &Row, label: String, figure: Figure) -> Option<Bar> {
    let color = match row.peer {
        Peer::Echo => FLOOR,
        Peer::Callsign | Peer::Library => OURS,
        _ => OTHERS,
    };
    Some(Bar { label, value: row.median(figure)?, color })
}

fn draw(panel: &Area<'_>, heading: &str, bars: &[Bar], digits: usize) -> Result<(), Box<dyn Error>> {
    let text = |size: u32| ("sans-serif", size).into_font().color(&BLACK);
    panel.draw(&Text::new(heading.to_owned(), (14, 18), text(16)))?;
    let (width, _) = panel.dim_in_pixel();
    let room = f64::from(width as i32 - LABELS - FIGURES);
    // Where questions were lost, the figure says it: a bar of a second would leave nothing of the others.
    let lost = PATIENCE.as_secs_f64() * 1e6;
    let highest = bars.iter().map(|bar| bar.value).filter(|value| *value < lost).fold(f64::MIN_POSITIVE, f64::max);
    for (index, bar) in (0..).zip(bars) {
        let top = HEADING + index * BAR;
        let end = LABELS + (room * bar.value.min(highest) / highest) as i32;
        panel.draw(&Text::new(bar.label.clone(), (14, top + 4), text(14)))?;
        panel.draw(&Rectangle::new([(LABELS, top), (end, top + BAR - 7)], bar.color.filled()))?;
        panel.draw(&Text::new(cell(Some(bar.value), digits), (end + 6, top + 4), text(14)))?;
    }
    Ok(())
}
