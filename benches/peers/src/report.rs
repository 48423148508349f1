//! The printed report: Markdown that is readable as it is.

use crate::machine;
use crate::peer::{Missing, Peer};
use crate::tables::Results;

/// The machine, and the contenders.
pub fn head(peers: &[Peer], missing: &[Missing], best: bool) {
    println!("# AES-XTS side by side\n");
    println!("- CPU: {}", machine::cpu());
    println!("- Features: {}", machine::features());
    println!("- {}\n", machine::load());
    let which = if best { "fastest" } else { "median" };
    println!("A figure is the {which} of all rounds. In brackets: the speed relative to atrest's default kernel.\n");
    let width = peers.iter().map(|peer| peer.name.len()).max().unwrap_or(0);
    println!("| {:<width$} | what it is |", "");
    println!("|{:-<1$}|------------|", "", width + 2);
    for peer in peers {
        println!("| {:<width$} | {} |", peer.name, peer.about);
    }
    for Missing { name, why } in missing {
        println!("| {name:<width$} | not here: {why} |");
    }
    println!();
}

pub fn table(results: &Results) {
    println!("## {}\n", results.title);
    let first = results.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    const WIDTH: usize = 14;
    print!("| {:<first$} |", "");
    for column in &results.columns {
        print!(" {column:>WIDTH$} |");
    }
    print!("\n|{:-<1$}|", "", first + 2);
    for _ in &results.columns {
        print!("{:->1$}:|", "", WIDTH + 1);
    }
    println!();
    for row in &results.rows {
        print!("| {:<first$} |", row.name);
        for (column, figure) in row.figures.iter().enumerate() {
            let cell = figure.map_or_else(|| "-".to_owned(), |figure| cell(results, column, figure));
            print!(" {cell:>WIDTH$} |");
        }
        println!();
    }
    println!(
        "\nThe middle half of the rounds lay in a band of at most {:.0} % of the median.\n",
        results.spread * 100.0
    );
}

fn cell(results: &Results, column: usize, figure: f64) -> String {
    let digits = if results.times { 0 } else { 2 };
    match results.ratio(column, figure) {
        Some(ratio) => format!("{figure:.digits$} ({ratio:.2})"),
        None => format!("{figure:.digits$}"),
    }
}
