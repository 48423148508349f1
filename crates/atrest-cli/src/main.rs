//! `atrest`: encrypted volumes, vaults of keys and disks for virtual machines, from the shell.
//!
//! `docs/cli.md` is its manual.
#![forbid(unsafe_code)]

#[cfg(feature = "kms")]
mod ade;
#[cfg(feature = "bitlocker")]
mod bitlocker;
mod cli;
mod commands;
mod confirm;
mod copy;
mod credentials;
mod devices;
mod failure;
mod find;
mod guard;
mod image;
mod output;
mod partial;
mod progress;
mod secrets;
mod stop;
mod terminal;
mod units;
mod vaults;
mod volumes;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use cli::Cli;
use failure::{Code, Failure};

fn main() -> ExitCode {
    match stop::listen().and_then(|()| run()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has what it wanted, as `head` does.
        Err(e) if e.closed_pipe => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(io::stderr(), "{} {e}", output::error_word());
            let status = if e.code == Code::Interrupted { stop::status() } else { None };
            ExitCode::from(status.unwrap_or(e.code as i32) as u8)
        }
    }
}

fn run() -> Result<(), Failure> {
    match Cli::try_parse() {
        Ok(cli) => cli.run(),
        Err(e) => {
            // Help goes to standard output and succeeds; an error is an error of usage.
            let printed = e.print();
            if e.use_stderr() { std::process::exit(Code::Usage as i32) } else { Ok(printed?) }
        }
    }
}
