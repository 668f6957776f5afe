//! Figures of horizontal bars: panels above each other, each bar with its label, its spread and its value; goals as
//! lines, what others published as outlines.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
pub use plotters::style::RGBColor;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::Error;
use crate::statistics::Spread;

/// The colour of what this project made.
pub const OURS: RGBColor = RGBColor(0, 90, 180);
/// The colour of the peer.
pub const PEER: RGBColor = RGBColor(200, 80, 0);
/// The colour of what belongs to neither.
pub const NEUTRAL: RGBColor = RGBColor(150, 150, 150);
/// The colour of what others published; drawn as an outline.
pub const PUBLISHED: RGBColor = RGBColor(70, 70, 70);
/// Colours for the parts of one bar, to be told apart.
pub const PARTS: [RGBColor; 3] = [OURS, RGBColor(0, 150, 90), RGBColor(200, 160, 0)];

/// A figure: one SVG file.
#[derive(Clone, Debug, Default)]
pub struct Figure {
    /// What it shows.
    pub title: String,
    /// Where and how it was measured, a line each, below the title.
    pub notes: Vec<String>,
    /// What the colours mean.
    pub legend: Vec<(String, RGBColor)>,
    /// From top to bottom.
    pub panels: Vec<Panel>,
}

/// Bars with one axis.
#[derive(Clone, Debug, Default)]
pub struct Panel {
    /// What its bars are.
    pub title: String,
    /// The axis's label with the unit.
    pub unit: String,
    /// Whether the axis is logarithmic. Bars of several parts are not to be drawn on such a one: only the first part
    /// would be seen as long as it is.
    pub logarithmic: bool,
    /// From top to bottom.
    pub bars: Vec<Bar>,
    /// What was to be reached, and what it is called.
    pub goal: Option<(f64, String)>,
}

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What was measured: stands on the left.
    pub label: String,
    /// Its parts, from the left, with their colours. None where there is no value.
    pub parts: Vec<(f64, RGBColor)>,
    /// The smallest and the largest run, of the sum of the parts.
    pub spread: Option<(f64, f64)>,
    /// Stands in the column on the right: the value, or why there is none.
    pub text: String,
    /// Whether it is drawn as an outline: not measured here.
    pub outline: bool,
}

impl Bar {
    /// A bar of one part, with its spread.
    pub fn measured(label: impl Into<String>, value: Spread, color: RGBColor) -> Self {
        Self {
            label: label.into(),
            parts: vec![(value.median, color)],
            spread: Some((value.minimum, value.maximum)),
            text: with_spread(value),
            outline: false,
        }
    }

    /// A figure that others published, which may be of other hardware.
    pub fn published(label: impl Into<String>, value: f64, remark: &str) -> Self {
        Self {
            label: label.into(),
            parts: vec![(value, PUBLISHED)],
            spread: None,
            text: format!("{} ({remark})", number(value)),
            outline: true,
        }
    }

    /// A row without a value.
    pub fn without(label: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            parts: Vec::new(),
            spread: None,
            text: reason.into(),
            outline: false,
        }
    }

    fn sum(&self) -> f64 {
        self.parts.iter().map(|part| part.0).sum()
    }

    fn largest(&self) -> f64 {
        self.spread
            .map_or(self.sum(), |(_, maximum)| maximum.max(self.sum()))
    }
}

/// A number with three digits that mean something, and thousands apart; a whole one without a fraction.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        whole if whole.fract() == 0.0 => 0,
        small if small < 0.01 => 4,
        small if small < 0.1 => 3,
        small if small < 10.0 => 2,
        small if small < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => ("-", text),
        None => ("", text.as_str()),
    };
    let (digits, fraction) = text.split_once('.').unwrap_or((text, ""));
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{fraction}", grouped(digits))
}

/// A whole number with thousands apart.
pub fn whole(value: u64) -> String {
    grouped(&value.to_string())
}

fn grouped(digits: &str) -> String {
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number at the axis: without zeros that say nothing.
fn tick_label(value: f64) -> String {
    let text = number(value);
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The median, and the smallest and largest in brackets where there was more than one run.
pub fn with_spread(value: Spread) -> String {
    if value.runs < 2 {
        return number(value.median);
    }
    format!(
        "{} ({} to {})",
        number(value.median),
        number(value.minimum),
        number(value.maximum)
    )
}

const WIDTH: i32 = 960;
const MARGIN: i32 = 16;
const TITLE: i32 = 34;
const LINE: i32 = 17;
const LABELS: i32 = 300;
const VALUES: i32 = 190;
const ROW: i32 = 24;
const PANEL_HEAD: i32 = 46;
const AXIS: i32 = 46;

/// Where the bars begin, and how wide they can get.
const LEFT: i32 = MARGIN + LABELS;
const SPAN: i32 = WIDTH - LEFT - VALUES - MARGIN;

impl Figure {
    /// Writes it.
    ///
    /// # Errors
    ///
    /// Names the file, and what the system said.
    pub fn draw(&self, path: &Path) -> Result<(), Error> {
        let size = (WIDTH.unsigned_abs(), self.height().unsigned_abs());
        let area = SVGBackend::new(path, size).into_drawing_area();
        self.draw_on(&area)
            .map_err(|error| format!("{}: {error}", path.display()).into())
    }

    fn head(&self) -> i32 {
        let legend = if self.legend.is_empty() {
            0
        } else {
            LINE * legend_lines(&self.legend) + 6
        };
        MARGIN + TITLE + LINE * count(&self.notes) + legend
    }

    fn height(&self) -> i32 {
        let panels: i32 = self.panels.iter().map(Panel::height).sum();
        self.head() + panels + MARGIN
    }

    fn draw_on(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Error> {
        area.fill(&WHITE)?;
        text(area, &self.title, (WIDTH / 2, MARGIN), 22, HPos::Center)?;
        let mut y = MARGIN + TITLE;
        for note in &self.notes {
            text(area, note, (WIDTH / 2, y), 13, HPos::Center)?;
            y += LINE;
        }
        for line in lines_of_legend(&self.legend) {
            let mut x = MARGIN;
            for (name, color) in line {
                area.draw(&Rectangle::new(
                    [(x, y + 2), (x + 12, y + 12)],
                    color.filled(),
                ))?;
                text(area, name, (x + 18, y), 13, HPos::Left)?;
                x += legend_width(name);
            }
            y += LINE;
        }
        let mut y = self.head();
        for panel in &self.panels {
            panel.draw(area, y)?;
            y += panel.height();
        }
        area.present()?;
        Ok(())
    }
}

impl Panel {
    fn height(&self) -> i32 {
        PANEL_HEAD + ROW * count(&self.bars) + AXIS
    }

    /// The ends of the axis.
    fn range(&self) -> (f64, f64) {
        let values = || {
            let bars = self
                .bars
                .iter()
                .filter(|bar| !bar.parts.is_empty())
                .flat_map(|bar| [bar.sum(), bar.largest()]);
            bars.chain(self.goal.iter().map(|goal| goal.0))
        };
        let largest = values().fold(0.0, f64::max);
        if !self.logarithmic {
            return (0.0, if largest > 0.0 { largest * 1.05 } else { 1.0 });
        }
        let smallest = values()
            .filter(|value| *value > 0.0)
            .fold(f64::INFINITY, f64::min);
        if !smallest.is_finite() {
            return (1.0, 10.0);
        }
        // A decade of room, else the shortest bar would not be seen.
        let from = 10f64.powf((smallest / 2.0).log10().floor());
        (from, (largest * 1.3).max(from * 10.0))
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>, top: i32) -> Result<(), Error> {
        let range = self.range();
        let place = |value: f64| self.place(range, value);
        text(area, &self.title, (MARGIN, top + 6), 16, HPos::Left)?;
        let first = top + PANEL_HEAD;
        let last = first + ROW * count(&self.bars);
        for tick in self.ticks(range) {
            let x = place(tick);
            let grid = [(x, first - 4), (x, last + 4)];
            area.draw(&PathElement::new(grid, BLACK.mix(0.15)))?;
            text(area, &tick_label(tick), (x, last + 8), 12, HPos::Center)?;
        }
        text(
            area,
            &self.unit,
            (LEFT + SPAN / 2, last + 24),
            13,
            HPos::Center,
        )?;
        for (index, bar) in (0..).zip(&self.bars) {
            bar.draw(area, first + ROW * index, &place)?;
        }
        if let Some((value, name)) = &self.goal {
            let x = place(*value);
            let mut y = first - 6;
            while y < last + 4 {
                let dash = [(x, y), (x, (y + 6).min(last + 4))];
                area.draw(&PathElement::new(dash, BLACK.stroke_width(2)))?;
                y += 10;
            }
            // On the side where there is room.
            let side = if x > LEFT + SPAN / 2 {
                HPos::Right
            } else {
                HPos::Left
            };
            text(area, name, (x, first - 22), 13, side)?;
        }
        area.draw(&PathElement::new(
            [(LEFT, first - 4), (LEFT, last + 4)],
            BLACK,
        ))?;
        Ok(())
    }

    fn place(&self, range: (f64, f64), value: f64) -> i32 {
        let share = if self.logarithmic {
            (value.max(range.0) / range.0).ln() / (range.1 / range.0).ln()
        } else {
            (value - range.0) / (range.1 - range.0)
        };
        LEFT + (share.clamp(0.0, 1.0) * f64::from(SPAN)).round() as i32
    }

    fn ticks(&self, range: (f64, f64)) -> Vec<f64> {
        if self.logarithmic {
            let first = range.0.log10().round() as i32;
            let last = range.1.log10().floor() as i32;
            return (first..=last).map(|power| 10f64.powi(power)).collect();
        }
        // Four to eight steps of 1, 2 or 5 times a power of ten.
        let step = range.1 / 4.0;
        let power = 10f64.powf(step.log10().floor());
        let step = [5.0, 2.0, 1.0]
            .map(|factor| factor * power)
            .into_iter()
            .find(|candidate| *candidate <= step)
            .unwrap_or(power);
        (0..)
            .map(|index| f64::from(index) * step)
            .take_while(|tick| *tick <= range.1)
            .collect()
    }
}

impl Bar {
    fn draw(
        &self,
        area: &DrawingArea<SVGBackend<'_>, Shift>,
        top: i32,
        place: &impl Fn(f64) -> i32,
    ) -> Result<(), Error> {
        let (upper, lower) = (top + 4, top + ROW - 4);
        let middle = i32::midpoint(upper, lower);
        text(area, &self.label, (LEFT - 8, middle - 7), 13, HPos::Right)?;
        let (mut from, mut sum) = (LEFT, 0.0);
        for (value, color) in self.parts.iter().filter(|(value, _)| *value > 0.0) {
            sum += value;
            let to = place(sum).max(from + 1);
            let corners = [(from, upper), (to, lower)];
            if self.outline {
                area.draw(&Rectangle::new(corners, color.mix(0.12).filled()))?;
                area.draw(&Rectangle::new(corners, color.stroke_width(1)))?;
            } else {
                area.draw(&Rectangle::new(corners, color.filled()))?;
            }
            from = to;
        }
        if let Some((minimum, maximum)) = self.spread {
            let (left, right) = (place(minimum), place(maximum));
            let style = BLACK.stroke_width(1);
            area.draw(&PathElement::new([(left, middle), (right, middle)], style))?;
            for x in [left, right] {
                area.draw(&PathElement::new([(x, middle - 4), (x, middle + 4)], style))?;
            }
        }
        // In a column of its own, where no bar and no goal crosses it.
        text(
            area,
            &self.text,
            (LEFT + SPAN + 12, middle - 7),
            13,
            HPos::Left,
        )
    }
}

fn text(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    text: &str,
    at: (i32, i32),
    size: i32,
    side: HPos,
) -> Result<(), Error> {
    let style = TextStyle::from(("sans-serif", size).into_font())
        .color(&BLACK)
        .pos(Pos::new(side, VPos::Top));
    area.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}

fn count<T>(items: &[T]) -> i32 {
    i32::try_from(items.len()).unwrap_or(i32::MAX)
}

/// The room that an entry of the legend takes; letters are counted as of one width.
fn legend_width(name: &str) -> i32 {
    18 + 7 * i32::try_from(name.chars().count()).unwrap_or(0) + 18
}

fn lines_of_legend(legend: &[(String, RGBColor)]) -> Vec<Vec<(&str, RGBColor)>> {
    let mut lines: Vec<Vec<(&str, RGBColor)>> = Vec::new();
    let mut used = WIDTH;
    for (name, color) in legend {
        let width = legend_width(name);
        if used + width > WIDTH - 2 * MARGIN {
            lines.push(Vec::new());
            used = 0;
        }
        used += width;
        if let Some(line) = lines.last_mut() {
            line.push((name, *color));
        }
    }
    lines
}

fn legend_lines(legend: &[(String, RGBColor)]) -> i32 {
    count(&lines_of_legend(legend))
}

#[cfg(test)]
mod tests;
