//! `fleet image`: a copy of each of some disks in each of some regions.

use std::collections::BTreeSet;

use atrest::managed::{DiskService, NewImage, ResourceKind, ResourceName};
use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::answers::{Copies, Thing};
use crate::confirm::confirm;
use crate::failure::{Failure, Result};
use crate::output::{Answer, Output, Text, shown, size};
use crate::progress::{Progress, Show};

#[derive(Subcommand)]
pub enum Command {
    /// Makes an image: a copy of each disk in each region, all of one instant
    Create(Create),
    /// Lists the images
    Ls,
    /// Shows the copies of an image
    Show(Named),
    /// Removes an image with all its copies
    Rm(Named),
}

#[derive(Args)]
pub struct Create {
    /// The name of the image
    name: String,
    /// A disk; may be given several times
    #[arg(long, value_name = "NAME", required = true)]
    disk: Vec<String>,
    /// A region for copies, and the encryption sets there: one for all disks, or one for each, in the order of --disk. Without one,
    /// or where its name is empty, the platform's key protects the copy. May be given several times
    #[arg(long, value_name = "REGION[=SET[,SET]]", required = true)]
    to: Vec<String>,
}

#[derive(Args)]
pub struct Named {
    /// The name of the image
    name: String,
}

/// Each of `fleet image ls`.
#[derive(Serialize, JsonSchema)]
struct Image {
    name: String,
    /// How many disks it has.
    disks: usize,
    regions: Vec<String>,
    /// The size of the copies in one region, in bytes.
    size: u64,
    /// Seconds since 1970-01-01 UTC.
    created: u64,
}

/// `fleet image ls` and `fleet image rm`.
#[derive(Serialize, JsonSchema)]
pub struct Images {
    images: Vec<Image>,
}

impl Answer for Images {
    fn text(&self, out: &mut Text) {
        let row = |image: &Image| {
            [shown(&image.name), image.disks.to_string(), size(image.size), shown(&image.regions.join(" "))]
        };
        out.table(["IMAGE", "DISKS", "SIZE", "REGIONS"], self.images.iter().map(row));
    }
}

impl Command {
    pub fn run(self, service: &DiskService, output: Output, show: Show, yes: bool) -> Result<()> {
        match self {
            Command::Create(create) => create.run(service, output, show),
            Command::Ls => list(service, output),
            Command::Show(Named { name }) => output.answer(&copies(service, name)?),
            Command::Rm(Named { name }) => {
                let count = service.image(&name)?.len();
                confirm(yes, &format!("The image {name:?} will be removed with its {count} copies and their data."))?;
                service.delete_image(&name)?;
                list(service, output)
            }
        }
    }
}

fn copies(service: &DiskService, image: String) -> Result<Copies> {
    Ok(Copies { copies: service.image(&image)?.into_iter().map(Thing::of).collect(), image })
}

fn list(service: &DiskService, output: Output) -> Result<()> {
    let copies = service.names(ResourceKind::Image)?;
    // A copy is IMAGE/REGION/NUMBER.
    let names: BTreeSet<&str> = copies.iter().filter_map(|copy| copy.split('/').next()).collect();
    let image = |name: &str| {
        let copies = service.image(name)?;
        let mut regions: Vec<String> = copies.iter().map(|copy| copy.region.clone()).collect();
        regions.dedup();
        Ok(Image {
            name: name.to_owned(),
            disks: copies.len() / regions.len().max(1),
            size: copies.iter().filter(|copy| Some(&copy.region) == regions.first()).map(|copy| copy.size).sum(),
            created: copies.first().map_or(0, |copy| copy.created),
            regions,
        })
    };
    output.answer(&Images { images: names.into_iter().map(image).collect::<Result<_>>()? })
}

impl Create {
    fn run(self, service: &DiskService, output: Output, show: Show) -> Result<()> {
        let mut new = NewImage::new(&self.name);
        for disk in &self.disk {
            new = new.disk(disk);
        }
        for to in &self.to {
            let (region, sets) = to.split_once('=').unwrap_or((to, ""));
            let mut sets: Vec<Option<&str>> = sets.split(',').map(|set| (!set.is_empty()).then_some(set)).collect();
            if let [one] = sets[..] {
                sets = vec![one; self.disk.len()];
            }
            if sets.len() != self.disk.len() {
                let text = format!(
                    "the region {region:?} names {} sets for {} disks: name one for all, or one for each, as --to {region}=SET,SET",
                    sets.len(),
                    self.disk.len()
                );
                return Err(Failure::usage(text));
            }
            new = new.region(region, sets);
        }
        let sizes = self.disk.iter().map(|disk| Ok(service.resource(&ResourceName::disk(disk))?.size));
        let total = sizes.sum::<Result<u64>>()? * self.to.len() as u64;
        let progress = Progress::new(show, "copying", total);
        // The library reports one copy at a time; they are made one after the other.
        let (before, last) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        service.create_image(&new, &|copy| {
            if copy.done < last.get() {
                before.set(before.get() + last.get());
            }
            last.set(copy.done);
            progress.set(before.get() + copy.done);
        })?;
        drop(progress);
        output.answer(&copies(service, self.name)?)
    }
}
