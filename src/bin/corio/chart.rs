//! Charts as SVG: lines over an axis of labels or of numbers, and groups of bars.
//!
//! They are drawn with the page's own colours and fonts (classes of its style sheet), so one style
//! serves light and dark screens. Every mark has a title, which a browser shows under the pointer.

use svg::Document;
use svg::node::Text;
use svg::node::element::{Circle, Group, Line, Polyline, Rectangle, Text as Label, Title};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;

/// Colours in the style sheet: a seventh series looks like the first.
const COLOURS: usize = 6;

/// One server's values, one for each place on the horizontal axis; `None` leaves a gap.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) values: Vec<Option<f64>>,
    /// The least and the most around each value.
    pub(crate) ranges: Vec<Option<(f64, f64)>>,
}

/// What a chart shows.
pub(crate) struct Chart {
    /// Said to those who cannot see it.
    pub(crate) title: String,
    pub(crate) places: Vec<String>,
    pub(crate) places_title: String,
    pub(crate) values_title: String,
    pub(crate) series: Vec<Series>,
    /// Equal distances mean equal factors; otherwise the axis begins at 0.
    pub(crate) is_logarithmic: bool,
}

/// The vertical axis.
struct Scale {
    least: f64,
    most: f64,
    is_logarithmic: bool,
}

impl Scale {
    fn of(chart: &Chart) -> Scale {
        let values = || {
            let of = |series: &Series| {
                let ends = series.ranges.iter().flatten().flat_map(|range| [range.0, range.1]);
                series.values.iter().flatten().copied().chain(ends).collect::<Vec<_>>()
            };
            chart.series.iter().flat_map(of).filter(|value| *value > 0.0)
        };
        let most = values().fold(0.0, f64::max);
        let most = if most > 0.0 { most } else { 1.0 };
        if chart.is_logarithmic {
            let least = values().fold(most, f64::min);
            let (least, most) = (least.log10().floor(), most.log10().ceil());
            let most = if most > least { most } else { least + 1.0 };
            return Scale { least, most, is_logarithmic: true };
        }
        Scale { least: 0.0, most: most * 1.05, is_logarithmic: false }
    }

    fn y(&self, value: f64) -> f64 {
        let value = if self.is_logarithmic { value.max(1e-9).log10() } else { value };
        let part = ((value - self.least) / (self.most - self.least)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP)
    }

    /// The values that get a line of the grid.
    fn ticks(&self) -> Vec<f64> {
        if self.is_logarithmic {
            let (first, last) = (self.least as i32, self.most as i32);
            return (first..=last).map(|exponent| 10f64.powi(exponent)).collect();
        }
        let rough = self.most / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|it| it * power).find(|it| *it >= rough);
        let step = step.unwrap_or(rough);
        let count = (self.most / step) as usize;
        (0..=count).map(|index| index as f64 * step).collect()
    }
}

/// A number as short as it can be read.
pub(crate) fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let decimals = match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => 0,
        size if size >= 1.0 => 1,
        _ => 3,
    };
    format!("{value:.decimals$}{unit}")
}

impl Chart {
    pub(crate) fn lines(&self) -> String {
        let scale = Scale::of(self);
        let mut document = self.frame(&scale);
        for (index, series) in self.series.iter().enumerate() {
            document = document.add(self.line(&scale, index, series));
        }
        document.to_string()
    }

    fn line(&self, scale: &Scale, index: usize, series: &Series) -> Group {
        let point = |place: usize, value: f64| (self.x(place), scale.y(value));
        let known = series.values.iter().enumerate().filter_map(|(at, it)| Some((at, (*it)?)));
        let points: Vec<String> = known
            .clone()
            .map(|(at, value)| point(at, value))
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let line = Polyline::new().set("points", points.join(" ")).set("class", "line");
        let mut group = Group::new().set("class", format!("series{}", index % COLOURS)).add(line);
        for (at, value) in known {
            let (x, y) = point(at, value);
            if let Some(Some((least, most))) = series.ranges.get(at) {
                group = group.add(segment(x, scale.y(*least), x, scale.y(*most), "range"));
            }
            let title = format!("{}, {}: {}", series.name, self.places[at], short(value));
            let dot = Circle::new().set("cx", x).set("cy", y).set("r", 4).add(Title::new(title));
            group = group.add(dot);
        }
        group
    }

    pub(crate) fn bars(&self) -> String {
        let scale = Scale::of(self);
        let mut document = self.frame(&scale);
        let room = (WIDTH - LEFT - RIGHT) / self.places.len().max(1) as f64;
        let width = (room * 0.7 / self.series.len().max(1) as f64).min(60.0);
        for (index, series) in self.series.iter().enumerate() {
            let mut group = Group::new().set("class", format!("series{}", index % COLOURS));
            for (at, value) in series.values.iter().enumerate() {
                let Some(value) = *value else {
                    continue;
                };
                let first = self.x(at) - width * self.series.len() as f64 / 2.0;
                let (x, y) = (first + width * index as f64, scale.y(value));
                let title = format!("{}, {}: {}", series.name, self.places[at], short(value));
                let bar = Rectangle::new()
                    .set("x", x + 1.0)
                    .set("y", y)
                    .set("width", (width - 2.0).max(1.0))
                    .set("height", (HEIGHT - BOTTOM - y).max(0.0))
                    .set("class", "bar")
                    .add(Title::new(title));
                group = group.add(bar);
                if let Some(Some((least, most))) = series.ranges.get(at) {
                    let x = x + width / 2.0;
                    group = group.add(segment(x, scale.y(*least), x, scale.y(*most), "whisker"));
                }
            }
            document = document.add(group);
        }
        document.to_string()
    }

    fn x(&self, place: usize) -> f64 {
        let room = (WIDTH - LEFT - RIGHT) / self.places.len().max(1) as f64;
        LEFT + room * (place as f64 + 0.5)
    }

    /// Grid, axes and their labels.
    fn frame(&self, scale: &Scale) -> Document {
        let mut document = Document::new()
            .set("viewBox", (0, 0, WIDTH, HEIGHT))
            .set("role", "img")
            .set("aria-label", self.title.as_str());
        for tick in scale.ticks() {
            let y = scale.y(tick);
            document = document.add(segment(LEFT, y, WIDTH - RIGHT, y, "grid")).add(label(
                LEFT - 8.0,
                y + 4.0,
                "end",
                &short(tick),
            ));
        }
        for (at, place) in self.places.iter().enumerate() {
            document = document.add(label(self.x(at), HEIGHT - BOTTOM + 18.0, "middle", place));
        }
        let middle = TOP + (HEIGHT - TOP - BOTTOM) / 2.0;
        let turned = label(14.0, middle, "middle", &self.values_title)
            .set("transform", format!("rotate(-90 14 {middle})"));
        let below =
            label(LEFT + (WIDTH - LEFT - RIGHT) / 2.0, HEIGHT - 8.0, "middle", &self.places_title);
        document.add(turned).add(below)
    }
}

fn segment(x1: f64, y1: f64, x2: f64, y2: f64, class: &str) -> Line {
    Line::new().set("x1", x1).set("y1", y1).set("x2", x2).set("y2", y2).set("class", class)
}

fn label(x: f64, y: f64, anchor: &str, text: &str) -> Label {
    Label::new("").set("x", x).set("y", y).set("text-anchor", anchor).add(Text::new(text))
}

#[cfg(test)]
mod tests {
    use super::{Chart, Series, short};

    #[test]
    fn what_is_drawn_stays_within_the_picture_and_names_are_escaped() {
        let series = Series {
            name: "<b> & co".to_owned(),
            values: vec![Some(0.0), None, Some(1e9)],
            ranges: vec![None, None, Some((1.0, 2e9))],
        };
        let chart = Chart {
            title: "\"quoted\"".to_owned(),
            places: ["1", "64", "1000"].map(str::to_owned).to_vec(),
            places_title: "connections".to_owned(),
            values_title: "requests".to_owned(),
            series: vec![series],
            is_logarithmic: false,
        };
        for text in [chart.lines(), chart.bars(), Chart { is_logarithmic: true, ..chart }.lines()] {
            assert!(text.contains("&lt;b&gt; &amp; co") && !text.contains("<b>"), "{text}");
            assert!(text.contains("&quot;quoted&quot;"), "{text}");
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 0.25, 7.5, 812.4, 4500.0, 123_456.0, 2e6].map(short);
        assert_eq!(texts, ["0", "0.250", "7.5", "812", "4500", "123 k", "2 M"]);
    }
}
