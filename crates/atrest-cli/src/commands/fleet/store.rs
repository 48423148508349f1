//! `fleet store`: the records of a fleet, without a service on them.

use std::path::{Path, PathBuf};

use atrest::managed::store::{FileStore, reopen_moved};
use atrest_stores::{FleetStore, FleetStoreOptions};
use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::answers::Checked;
use crate::confirm::confirm;
use crate::failure::{About, Code, Failure, Result};
use crate::output::{Answer, Output, Text};

#[derive(Subcommand)]
pub enum Command {
    /// Copies all records to another store, and compares both; no service may have either open
    Copy(Copy),
    /// Copies a store that is a file, which no service has open
    Backup(Backup),
    /// Checks the store without a vault: a file that no service has open, or a store that hosts share
    Check,
    /// Makes a store usable again after a copy to another one that nobody has used since, and checks it
    Reopen,
}

#[derive(Args)]
pub struct Copy {
    /// The store to copy from: a file's path, or a URL
    from: String,
    /// The store to copy to: empty, or with the remains of an earlier attempt
    to: String,
}

#[derive(Args)]
pub struct Backup {
    /// The file for the copy
    #[arg(value_name = "FILE")]
    to: PathBuf,
}

/// `fleet store copy`.
#[derive(Serialize, JsonSchema)]
pub struct Copied {
    /// How many records there are; each was compared.
    records: u64,
}

impl Answer for Copied {
    fn text(&self, out: &mut Text) {
        out.line(format_args!("{} records were copied, and compared", self.records));
    }
}

/// The store of a path, or of a URL.
pub fn named(text: &str) -> Result<FleetStore> {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_url = scheme.len() > 1 && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+');
    // A name that begins like a URL may be a file's.
    if !is_url || Path::new(text).exists() {
        return Ok(FleetStore::File(text.into()));
    }
    Ok(FleetStore::from_url(text, &FleetStoreOptions::new())?)
}

impl Command {
    pub fn run(self, store: &str, output: Output, yes: bool) -> Result<()> {
        match self {
            Command::Copy(Copy { from, to }) => {
                let (from, to) = (named(&from)?, named(&to)?);
                output.answer(&Copied { records: from.copy_to(&to)? })
            }
            Command::Backup(Backup { to }) => match named(store)? {
                FleetStore::File(path) => {
                    if !path.exists() {
                        return Err(Failure::new(Code::NotFound, "there is no such store").about(path.display()));
                    }
                    FileStore::open(&path).about(path.display())?.backup(&to).about(to.display())?;
                    output.answer(&Checked { sound: true, faults: Vec::new() })
                }
                FleetStore::Shared(_) => Err(Failure::refused(
                    "a store that hosts share is backed up by the means of its engine, as of one moment: docs/fleet says how",
                )),
            },
            Command::Check => checked(named(store)?.check()?, output),
            Command::Reopen => {
                let store = named(store)?;
                let records = store.existing()?;
                confirm(
                    yes,
                    "The store will be used again as it was before its records were copied to another one. If a service uses the \
                     other one, or has used it, both write the same disks.",
                )?;
                reopen_moved(&*records)?;
                // A file is locked as long as it is held.
                drop(records);
                checked(store.check()?, output)
            }
        }
    }
}

/// Prints the result of a check.
pub fn checked(check: atrest::managed::StoreCheck, output: Output) -> Result<()> {
    let is_sound = check.is_sound();
    output.answer(&Checked { sound: is_sound, faults: check.defects })?;
    if is_sound { Ok(()) } else { Err(Failure::new(Code::Damaged, "the store is damaged; see docs/store.md")) }
}
