//! Plots a table: a panel for each sector size, a bar for each row.

use std::fmt::Write;

use crate::machine;
use crate::peer::Role;
use crate::tables::Results;

const LABELS: f64 = 150.0;
const PANEL: f64 = 200.0;
/// Room in a panel for the figure at the end of a bar.
const FIGURE: f64 = 48.0;
const TOP: f64 = 84.0;
const LINE: f64 = 22.0;
const MARGIN: f64 = 16.0;

/// An SVG that is readable on light and dark pages.
pub fn svg(results: &Results) -> String {
    let width = MARGIN + LABELS + PANEL * results.columns.len() as f64 + MARGIN;
    let height = TOP + LINE * results.rows.len() as f64 + 44.0;
    let figures = results.rows.iter().flat_map(|row| row.figures.iter().flatten());
    let scale = (PANEL - FIGURE) / figures.copied().fold(f64::MIN_POSITIVE, f64::max);

    let mut svg = String::new();
    let mut line = |text: String| {
        svg.push_str(&text);
        svg.push('\n');
    };
    line(format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="system-ui, sans-serif" font-size="12" fill="#24292f">"##
    ));
    line(format!(r##"<rect width="{width}" height="{height}" fill="#ffffff"/>"##));
    line(text(MARGIN, 28.0, r#"font-size="16" font-weight="600""#, &results.title));
    line(text(MARGIN, 48.0, r##"fill="#57606a""##, &format!("{}: {}", machine::cpu(), machine::features())));
    for (i, row) in results.rows.iter().enumerate() {
        let weight = if row.role == Role::Default { r#"font-weight="600" "# } else { "" };
        let attributes = format!(r#"{weight}text-anchor="end""#);
        line(text(MARGIN + LABELS - 8.0, TOP + LINE * i as f64 + 15.0, &attributes, &row.name));
    }
    for (c, column) in results.columns.iter().enumerate() {
        let left = MARGIN + LABELS + PANEL * c as f64;
        line(text(left, TOP - 8.0, r#"font-weight="600""#, &format!("sectors of {column}")));
        let bottom = TOP + LINE * results.rows.len() as f64;
        line(format!(r##"<path d="M{left} {TOP}V{bottom}" stroke="#8c959f"/>"##));
        for (i, row) in results.rows.iter().enumerate() {
            let y = TOP + LINE * i as f64;
            let Some(figure) = row.figures[c] else {
                line(text(left + 4.0, y + 15.0, r##"fill="#57606a""##, "-"));
                continue;
            };
            let look = match row.role {
                Role::Default => r##"fill="#0969da""##,
                Role::Kernel | Role::CAbi | Role::Baseline => r##"fill="#a5cdf8""##,
                Role::Peer => r##"fill="#afb8c1""##,
                Role::Ceiling => r##"fill="none" stroke="#57606a" stroke-dasharray="3 2""##,
            };
            let bar = figure * scale;
            line(format!(r#"<rect x="{left}" y="{}" width="{bar:.1}" height="{}" {look}/>"#, y + 3.0, LINE - 6.0));
            line(text(left + bar + 4.0, y + 15.0, "", &format!("{figure:.1}")));
        }
    }
    let legend =
        "blue: atrest, dark its default kernel here; grey: peers; dashed: not XTS, a limit for XTS over the crate aes";
    line(text(MARGIN, height - 14.0, r##"fill="#57606a""##, legend));
    svg.push_str("</svg>\n");
    svg
}

fn text(x: f64, y: f64, attributes: &str, text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '<' | '>' | '&' => _ = write!(escaped, "&#{};", c as u32),
            c => escaped.push(c),
        }
    }
    format!(r#"<text x="{x:.1}" y="{y:.1}" {attributes}>{escaped}</text>"#)
}
