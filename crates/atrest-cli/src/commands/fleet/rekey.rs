//! `fleet disk rekey`: a disk's data under a new data key.

use atrest::Error;
use atrest::managed::{DiskService, ResourceName};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::{Failure, Result};
use crate::output::{Answer, Output, Text, quoted, shown, size};
use crate::progress::{Progress, Show};
use crate::stop::{self, Gently};
use crate::units::parse_size;

/// How much is rewritten between two looks at the signals.
const STEP: u64 = 16 << 20;

#[derive(Args)]
pub struct Rekey {
    /// The name of the disk
    name: String,
    /// Goes on with a rekey that was stopped or killed
    #[arg(long)]
    resume: bool,
    /// Withdraws an order that has not begun; one that has begun pauses until --resume, and has to be finished
    #[arg(long, conflicts_with_all = ["resume", "at_most"])]
    cancel: bool,
    /// Rewrites at most so much now; --resume goes on
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    at_most: Option<u64>,
}

/// `fleet disk rekey`.
#[derive(Serialize, JsonSchema)]
pub struct Rekeyed {
    disk: String,
    /// Whether the order was withdrawn: the data stay under the data key that they have.
    withdrawn: bool,
    /// Whether all data are under the new data key.
    finished: bool,
    /// The bytes that are.
    done: u64,
    /// The bytes in all.
    total: u64,
}

impl Answer for Rekeyed {
    fn text(&self, out: &mut Text) {
        let disk = shown(&self.disk);
        if self.withdrawn {
            out.line(format_args!("the data of {disk} stay under their data key"));
        } else if self.finished {
            out.line(format_args!("the {} of {disk} are under a new data key", size(self.total)));
        } else {
            let (done, total) = (size(self.done), size(self.total));
            out.line(format_args!("{done} of the {total} of {disk} are under a new data key; --resume goes on"));
        }
    }
}

impl Rekey {
    pub fn run(self, service: &DiskService, output: Output, show: Show) -> Result<()> {
        let name = ResourceName::disk(&self.name);
        let goes_on = format!("`atrest fleet disk rekey {} --resume` goes on", quoted(&self.name));
        if self.cancel {
            let total = service.resource(&name)?.size;
            let ordered = service.reencrypting()?.contains(&self.name);
            service.cancel_reencryption(&self.name).map_err(|e| match e {
                Error::InvalidOption(_) if ordered => Failure::refused(format!(
                    "what has begun, or came with the disk's adoption, can't be withdrawn; it pauses until {goes_on}"
                ))
                .about(name),
                Error::InvalidOption(_) => Failure::refused("there is no order that could be withdrawn").about(name),
                e => e.into(),
            })?;
            return output.answer(&Rekeyed { disk: self.name, withdrawn: true, finished: false, done: 0, total });
        }
        // A signal that comes from here on is looked at between steps.
        let _gently = Gently::new();
        if !self.resume {
            service.rekey_disk(&self.name).map_err(|e| match e {
                Error::Busy { what } if what.contains("re-encrypted already") => {
                    Failure::from(Error::Busy { what }).hint(&goes_on)
                }
                e => e.into(),
            })?;
        } else if !service.reencrypting()?.contains(&self.name) {
            service.resource(&name)?;
            return Err(Failure::refused("nothing is under way there; without --resume it begins").about(name));
        }
        let progress = Progress::new(show, "encrypting", service.resource(&name)?.size);
        let mut left = self.at_most.unwrap_or(u64::MAX);
        loop {
            let step = service.reencrypt_step(&self.name, STEP.min(left))?;
            progress.set(step.done);
            left = left.saturating_sub(STEP);
            if step.is_finished() || left == 0 {
                drop(progress);
                let (done, total) = (step.done, step.total);
                return output.answer(&Rekeyed {
                    disk: self.name,
                    withdrawn: false,
                    finished: step.is_finished(),
                    done,
                    total,
                });
            }
            stop::check(&format!("stopped; the disk can be used, and {goes_on}"))?;
        }
    }
}
