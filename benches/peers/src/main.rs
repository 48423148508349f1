//! `atrest` compared with its peers, in one process and one run: see README.md.

mod machine;
mod measure;
mod memory;
mod peer;
mod plot;
mod report;
mod tables;
mod verify;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Measures AES-XTS of atrest and of its peers side by side, after checking that all give the same bytes.
///
/// Prints Markdown; redirect it to keep it.
#[derive(Parser)]
struct Options {
    /// Fewer rounds and less memory: figures for a first look. Writes no plot unless told where.
    #[arg(long)]
    quick: bool,

    /// How often everybody has a turn in cache. Out of cache it is a fifteenth of that.
    #[arg(long, value_name = "N", default_value_t = 301)]
    rounds: usize,

    /// Only the tables with this in their title, such as "AES-128", "decrypt" or "one call". Writes no plot unless told
    /// where.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,

    /// An earlier build of libatrest.so, to be measured too: before and after in one run. It needs the C functions of
    /// today that this benchmark calls.
    #[arg(long, value_name = "libatrest.so")]
    baseline: Option<PathBuf>,

    /// The fastest round instead of the median one: for a busy machine, where a median tells of the others' work.
    #[arg(long)]
    best: bool,

    /// Where to write the plot [default: docs/plots/plot.svg]
    #[arg(long, value_name = "PATH")]
    svg: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let (mut peers, missing) = peer::all();
    match options.baseline.as_deref().map(peer::baseline).transpose() {
        Ok(baseline) => peers.extend(baseline),
        Err(why) => {
            eprintln!("error: --baseline: {why}");
            return ExitCode::FAILURE;
        }
    }

    report::head(&peers, &missing, options.best);
    if let Err(difference) = verify::all(&peers) {
        eprintln!("error: {difference}");
        return ExitCode::FAILURE;
    }
    println!("All gave the same bytes, both ways.\n");

    let effort = if options.quick {
        tables::Effort { rounds: options.rounds.div_ceil(20), far: 64 << 20, far_rounds: 3, best: options.best }
    } else {
        let far_rounds = options.rounds.div_ceil(15).max(3);
        tables::Effort { rounds: options.rounds, far: 256 << 20, far_rounds, best: options.best }
    };
    let filter = options.filter.as_deref().unwrap_or_default().to_lowercase();
    let mut plotted = None;
    for table in tables::all() {
        if !table.title(&effort).to_lowercase().contains(&filter) {
            continue;
        }
        eprintln!("measuring: {}", table.title(&effort));
        let results = table.measure(&peers, &effort);
        report::table(&results);
        if table == tables::PLOTTED {
            plotted = Some(results);
        }
    }

    let whole = !options.quick && options.filter.is_none();
    let by_default = || whole.then(|| [env!("CARGO_MANIFEST_DIR"), "../../docs/plots/plot.svg"].iter().collect());
    let (Some(results), Some(path)) = (plotted, options.svg.or_else(by_default)) else {
        return ExitCode::SUCCESS;
    };
    match fs::write(&path, plot::svg(&results)) {
        Ok(()) => {
            eprintln!("plot: {}", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
