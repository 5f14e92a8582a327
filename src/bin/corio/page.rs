//! The page of `--html`: one file with everything in it, for people who were not there.
//!
//! It refers to nothing outside, so it can be mailed and kept. What it shows is what the table
//! shows, as charts; the facts about the machine stand below, and so do the remarks that make a
//! figure worth less.

use std::collections::BTreeSet;
use std::fmt::Write;

use svg::node::Text;

use crate::chart::{Chart, Series, short};
use crate::contender::shown;
use crate::figures::Figures;
use crate::load::Work;
use crate::report::{Report, grouped, micros};
use crate::statistics::Spread;

/// The percentiles on the axis of latencies.
const PERCENTILES: [(&str, f64); 7] = [
    ("p50", 50.0),
    ("p75", 75.0),
    ("p90", 90.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
    ("p99.99", 99.99),
    ("max", 100.0),
];

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d2328; --soft: #5d6872; --grid: #d9dee2;
  --paper: #ffffff; --c0: #0b6bcb; --c1: #c2571a; --c2: #2f8a3c; --c3: #8a3fb0; --c4: #b0273f;
  --c5: #6b7200; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaed; --soft: #a3adb5; --grid: #37414a;
  --paper: #14181c; --c0: #5db0ff; --c1: #ff9a57; --c2: #6fd07e; --c3: #cf8ff0; --c4: #ff7f93;
  --c5: #d0d65a; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: var(--soft); }
.grid { stroke: var(--grid); } .line { fill: none; stroke: currentColor; stroke-width: 2; }
circle, .bar { fill: currentColor; } .range { stroke: currentColor; stroke-width: 2; opacity: .5; }
.whisker { stroke: var(--ink); stroke-width: 1.5; }
.series0 { color: var(--c0); } .series1 { color: var(--c1); } .series2 { color: var(--c2); }
.series3 { color: var(--c3); } .series4 { color: var(--c4); } .series5 { color: var(--c5); }
.legend span { margin-right: 1.2rem; font-weight: 600; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; }
th, td { padding: .3rem .45rem; text-align: right; border-bottom: 1px solid var(--grid); }
th, td { white-space: nowrap; } .facts td:last-child { white-space: normal; }
th:first-child, td:first-child, .facts td { text-align: left; } .facts td { vertical-align: top; }
.soft { color: var(--soft); }
";

pub(crate) fn render(report: &Report<'_>, figures: &[Figures]) -> String {
    let title = escaped(&report.title());
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta \
         name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    );
    let rounds = report.cells.iter().map(|cell| cell.rounds.len()).max().unwrap_or(0);
    let seconds = report.seconds.as_secs_f64();
    push(
        &mut page,
        &format!(
            "<p class=\"soft\">Medians of {rounds} rounds of {seconds} s, servers in turns; bars \
         and lines through marks show the least and the most of the rounds.</p>"
        ),
    );
    let verdicts = report.verdicts();
    if !verdicts.is_empty() {
        let items: String = verdicts.iter().map(|it| format!("<li>{}</li>", escaped(it))).collect();
        push(&mut page, &format!("<ul>{items}</ul>"));
    }
    push(&mut page, &legend(report));
    charts(&mut page, report, figures);
    push(&mut page, &table(report, figures));
    remarks(&mut page, report, figures);
    push(&mut page, &facts(report));
    page.push_str("</body></html>\n");
    page
}

fn push(page: &mut String, part: &str) {
    page.push_str(part);
    page.push('\n');
}

fn escaped(text: &str) -> String {
    Text::new(text).to_string()
}

/// The servers in the order of their first cell.
fn servers<'a>(report: &Report<'a>) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for cell in report.cells {
        if !names.contains(&cell.server.as_str()) {
            names.push(&cell.server);
        }
    }
    names
}

fn legend(report: &Report<'_>) -> String {
    let names: String = servers(report)
        .iter()
        .enumerate()
        .map(|(index, name)| {
            format!("<span class=\"series{}\">■ {}</span>", index % 6, escaped(&shown(name)))
        })
        .collect();
    format!("<p class=\"legend\">{names}</p>")
}

fn charts(page: &mut String, report: &Report<'_>, figures: &[Figures]) {
    let per_connections = |values_title: &str, spread: fn(&Figures) -> Option<Spread>| {
        by_connections(report, figures, values_title, spread)
    };
    let throughput = per_connections("requests per second", |it| it.requests_per_s);
    push(page, "<h2>Throughput by connections</h2>");
    push(page, &throughput.lines());
    let cpu = per_connections("ns of the server's CPU", |it| it.cpu_ns_per_request);
    if cpu.series.iter().any(|series| series.values.iter().any(Option::is_some)) {
        push(page, "<h2>CPU per request</h2>");
        push(page, &cpu.bars());
    }
    if matches!(report.work, Work::Idle { .. }) {
        push(page, "<h2>Memory per connection</h2>");
        push(page, &per_connections("bytes", |it| it.bytes_per_connection).bars());
    }
    let counts: BTreeSet<usize> = report.cells.iter().map(|cell| cell.connections).collect();
    for connections in counts {
        let count = grouped(connections as u64);
        let noun = if connections == 1 { "connection" } else { "connections" };
        push(page, &format!("<h2>Latency, {count} {noun}</h2>"));
        push(page, &latencies(report, figures, connections).lines());
    }
}

fn by_connections(
    report: &Report<'_>,
    figures: &[Figures],
    values_title: &str,
    spread: fn(&Figures) -> Option<Spread>,
) -> Chart {
    let counts: BTreeSet<usize> = report.cells.iter().map(|cell| cell.connections).collect();
    let series = servers(report).into_iter().map(|server| {
        let spreads = counts.iter().map(|&connections| {
            let at = report
                .cells
                .iter()
                .position(|cell| cell.server == server && cell.connections == connections)?;
            spread(&figures[at])
        });
        let spreads: Vec<Option<Spread>> = spreads.collect();
        Series {
            name: shown(server),
            values: spreads.iter().map(|it| it.map(|it| it.median)).collect(),
            ranges: spreads.iter().map(|it| it.map(|it| (it.least, it.most))).collect(),
        }
    });
    Chart {
        title: format!("{values_title} by connections"),
        series: series.collect(),
        places: counts.iter().map(|&count| grouped(count as u64)).collect(),
        places_title: "connections".to_owned(),
        values_title: values_title.to_owned(),
        is_logarithmic: false,
    }
}

fn latencies(report: &Report<'_>, figures: &[Figures], connections: usize) -> Chart {
    let mut series = Vec::new();
    // Every server has a place, so that its colour is the same in all charts.
    for server in servers(report) {
        let at = report
            .cells
            .iter()
            .position(|cell| cell.server == server && cell.connections == connections);
        let value = |percentile: f64| {
            let latencies = &figures[at?].latencies_ns;
            let is_known = !latencies.is_empty();
            is_known.then(|| latencies.value_at_percentile(percentile) as f64 / 1000.0)
        };
        let values = PERCENTILES.iter().map(|(_, percentile)| value(*percentile)).collect();
        series.push(Series { name: shown(server), values, ranges: Vec::new() });
    }
    Chart {
        title: format!("latency percentiles at {connections} connections"),
        series,
        places: PERCENTILES.iter().map(|(name, _)| (*name).to_owned()).collect(),
        places_title: "of all messages, this part was not slower".to_owned(),
        values_title: "µs (logarithmic)".to_owned(),
        is_logarithmic: true,
    }
}

fn table(report: &Report<'_>, figures: &[Figures]) -> String {
    let mut text = String::from(
        "<h2>Figures</h2><div class=\"scroll\"><table><tr><th>Server</th><th>Connections</th>\
         <th>Requests/s</th><th>p50 µs</th><th>p99 µs</th><th>p99.9 µs</th><th>CPU ns/req</th>\
         <th>Enters/req</th><th>Server</th><th>Generator</th><th>Errors</th></tr>",
    );
    let spread = |it: Option<Spread>| {
        let shown = |it: Spread| {
            let around = it.relative() * 100.0;
            format!("{} <span class=\"soft\">±{around:.1} %</span>", short(it.median))
        };
        it.map_or("–".to_owned(), shown)
    };
    let percent =
        |it: Option<f64>| it.map_or("–".to_owned(), |it| format!("{:.0} %", it * 100.0));
    for (cell, its) in report.cells.iter().zip(figures) {
        let latency = |percentile| micros(its.latencies_ns.value_at_percentile(percentile));
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&shown(&cell.server)),
            grouped(cell.connections as u64),
            spread(its.requests_per_s),
            latency(50.0),
            latency(99.0),
            latency(99.9),
            spread(its.cpu_ns_per_request),
            spread(its.enters_per_request),
            percent(its.server_share),
            percent(its.generator_share),
            its.error_count,
        );
    }
    text.push_str("</table></div>");
    text
}

fn remarks(page: &mut String, report: &Report<'_>, figures: &[Figures]) {
    let mut items = String::new();
    for (cell, its) in report.cells.iter().zip(figures) {
        for remark in its.remarks(cell, report.work, report.rate) {
            let count = grouped(cell.connections as u64);
            let text = format!("{}, {count} connections: {remark}", shown(&cell.server));
            items.push_str(&format!("<li>{}</li>", escaped(&text)));
        }
    }
    if !items.is_empty() {
        push(page, &format!("<h2>Before you believe it</h2><ul>{items}</ul>"));
    }
}

fn facts(report: &Report<'_>) -> String {
    let rows: String = report
        .facts
        .0
        .iter()
        .map(|(name, value)| format!("<tr><td>{name}</td><td>{}</td></tr>", escaped(value)))
        .collect();
    format!("<h2>The machine</h2><table class=\"facts\">{rows}</table>")
}
