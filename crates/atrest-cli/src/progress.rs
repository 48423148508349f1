//! Progress on standard error: a bar for a person, lines of JSON for a program, nothing where neither looks.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Show {
    /// A bar, if standard error is a terminal.
    Auto,
    /// Lines of JSON.
    Json,
    /// Nothing.
    Never,
}

const INTERVAL: Duration = Duration::from_millis(200);

/// How far something is, in bytes.
pub struct Progress {
    phase: &'static str,
    total: u64,
    done: AtomicU64,
    start: Instant,
    how: How,
}

enum How {
    Bar(ProgressBar),
    Json(Mutex<Instant>),
    Nothing,
}

/// A line of `--progress json`.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[schemars(title = "progress")]
pub struct Line {
    /// The kind of work, such as `encrypting`.
    phase: &'static str,
    /// The bytes that are done.
    done: u64,
    /// The bytes in all.
    total: u64,
    /// The mean rate so far.
    bytes_per_second: u64,
    /// The time left at this rate; null before there is one.
    seconds_left: Option<u64>,
}

impl Progress {
    pub fn new(show: Show, phase: &'static str, total: u64) -> Self {
        let how = match show {
            Show::Auto if io::stderr().is_terminal() => How::Bar(bar(phase, total)),
            Show::Json => How::Json(Mutex::new(Instant::now())),
            _ => How::Nothing,
        };
        Progress { phase, total, done: AtomicU64::new(0), start: Instant::now(), how }
    }

    /// So many more bytes are done.
    pub fn add(&self, bytes: u64) {
        self.to(self.done.fetch_add(bytes, Relaxed) + bytes);
    }

    /// So many bytes are done by now.
    pub fn set(&self, done: u64) {
        self.done.store(done, Relaxed);
        self.to(done);
    }

    /// The bytes that are done.
    pub fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }

    fn to(&self, done: u64) {
        match &self.how {
            How::Bar(bar) => bar.set_position(done),
            How::Json(last) => {
                // Another thread may be at it.
                if let Ok(mut last) = last.try_lock()
                    && last.elapsed() >= INTERVAL
                {
                    *last = Instant::now();
                    self.print(done);
                }
            }
            How::Nothing => {}
        }
    }

    fn print(&self, done: u64) {
        let seconds = self.start.elapsed().as_secs_f64();
        let rate = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
        let left = (rate > 0.0).then(|| (self.total.saturating_sub(done) as f64 / rate).ceil() as u64);
        let line =
            Line { phase: self.phase, done, total: self.total, bytes_per_second: rate as u64, seconds_left: left };
        if let Ok(line) = serde_json::to_string(&line) {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        match &self.how {
            How::Bar(bar) => bar.finish_and_clear(),
            How::Json(_) => self.print(self.done.load(Relaxed)),
            How::Nothing => {}
        }
    }
}

fn bar(phase: &'static str, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:12} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left");
    let bar = ProgressBar::new(total).with_message(phase);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
