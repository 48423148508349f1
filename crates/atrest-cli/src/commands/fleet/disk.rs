//! `fleet disk`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atrest::Error;
use atrest::managed::{DiskService, NewCopy, NewDisk, OpenDisk, ResourceKind, ResourceName};
use atrest_host::{Disk, Nbd, Serve as _, VhostUser};
use clap::{Args, Subcommand};

use super::adopt::Adopt;
use super::answers::{Thing, things};
use super::rekey::Rekey;
use crate::commands::serve::Serving;
use crate::confirm::confirm;
use crate::copy::for_parts;
use crate::failure::{About, Failure, Result};
use crate::image::Image;
use crate::output::{Output, size};
use crate::progress::{Progress, Show};
use crate::stop::{self, Gently};
use crate::units::parse_size;

#[derive(Subcommand)]
pub enum Command {
    /// Makes a disk
    Create(Create),
    /// Makes an encrypted volume a disk, with its data, and removes the other ways into it
    Adopt(Adopt),
    /// Lists the disks
    Ls,
    /// Shows a disk
    Show(Named),
    /// Writes an image to the start of a disk
    Write(Write),
    /// Enlarges a disk
    Resize(Resize),
    /// Encrypts a disk's data under a new data key, while it is in use
    Rekey(Rekey),
    /// Puts a disk into an encryption set
    PutIntoSet(PutIntoSet),
    /// Serves a disk, as long as its key may be used
    Serve(ServeDisk),
    /// Removes a disk and all its data
    Rm(Named),
}

#[derive(Args)]
pub struct Create {
    /// The name of the disk
    name: String,
    /// Its size; not needed with --from
    #[arg(long, value_name = "SIZE", value_parser = parse_size, required_unless_present = "from")]
    size: Option<u64>,
    /// The region
    #[arg(long, value_name = "TEXT")]
    region: String,
    /// The subscription
    #[arg(long, value_name = "TEXT")]
    subscription: String,
    /// The encryption set; without one, the platform's key protects the disk
    #[arg(long, value_name = "NAME")]
    set: Option<String>,
    /// The sector size: 512 or 4096 bytes
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    sector_size: u32,
    /// Copies a disk (disk:NAME), a snapshot (snapshot:NAME), or an image's copy (image:NAME/REGION/NUMBER, with the disk's number
    /// from 0)
    #[arg(long, value_name = "KIND:NAME", conflicts_with = "size")]
    from: Option<String>,
}

#[derive(Args)]
pub struct Named {
    /// The name of the disk
    name: String,
}

#[derive(Args)]
pub struct Write {
    /// The name of the disk
    name: String,
    /// The image: the raw bytes of a disk
    image: String,
    /// The format of the image, as qemu names it
    #[arg(long, value_name = "FORMAT")]
    src_format: Option<String>,
}

#[derive(Args)]
pub struct Resize {
    /// The name of the disk
    name: String,
    /// The new size
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    size: u64,
}

#[derive(Args)]
pub struct PutIntoSet {
    /// The name of the disk
    name: String,
    /// The name of the set
    set: String,
}

#[derive(Args)]
pub struct ServeDisk {
    /// The name of the disk
    name: String,
    /// The Unix socket for NBD clients
    #[arg(long, value_name = "SOCKET", required_unless_present = "vhost_user")]
    nbd: Option<PathBuf>,
    /// The Unix socket for a virtual machine, as vhost-user-blk
    #[arg(long, value_name = "SOCKET", conflicts_with = "nbd")]
    vhost_user: Option<PathBuf>,
    /// Waits so long for another host to hand the disk over, or to close it
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
    /// When it is stopped, hands the disk over to this host, which shares the store
    #[arg(long, value_name = "HOST")]
    hand_over_to: Option<String>,
}

impl Command {
    /// `disks` is the URL of the place of the disks.
    pub fn run(self, service: &DiskService, disks: &str, output: Output, show: Show, yes: bool) -> Result<()> {
        match self {
            Command::Create(create) => create.run(service, output, show),
            Command::Adopt(adopt) => adopt.run(service, disks, output, show),
            Command::Ls => list(service, output),
            Command::Show(Named { name }) => output.answer(&Thing::of(service.resource(&ResourceName::disk(name))?)),
            Command::Write(write) => write.run(service, output, show, yes),
            Command::Resize(Resize { name, size }) => output.answer(&Thing::of(service.resize_disk(&name, size)?)),
            Command::Rekey(rekey) => rekey.run(service, output, show),
            Command::PutIntoSet(PutIntoSet { name, set }) => {
                output.answer(&Thing::of(service.put_into_set(&ResourceName::disk(name), &set)?))
            }
            Command::Serve(serve) => serve.run(service, output),
            Command::Rm(Named { name }) => {
                let name = ResourceName::disk(name);
                let len = service.resource(&name)?.size;
                confirm(yes, &format!("The {name} will be removed with all its data, {}.", size(len)))?;
                service.delete(&name)?;
                list(service, output)
            }
        }
    }
}

fn list(service: &DiskService, output: Output) -> Result<()> {
    let names = service.names(ResourceKind::Disk)?;
    things(service, names.into_iter().map(ResourceName::disk).collect(), output)
}

impl Create {
    fn run(self, service: &DiskService, output: Output, show: Show) -> Result<()> {
        let set = self.set.as_deref();
        let disk = match (&self.from, self.size) {
            (Some(from), _) => {
                let source = parse_name(from)?;
                let new =
                    NewCopy::new(&self.name).region(self.region).subscription(self.subscription).encryption_set(set);
                let progress = Progress::new(show, "copying", service.resource(&source)?.size);
                service.create_disk_from(&source, &new, &|done| progress.set(done.done))?
            }
            (None, Some(len)) => {
                let new = NewDisk::new(&self.name, len).region(self.region).subscription(self.subscription);
                service.create_disk(&new.sector_size(self.sector_size).encryption_set(set))?
            }
            (None, None) => return Err(Failure::usage("give the size of the disk, or what it is copied from")),
        };
        output.answer(&Thing::of(disk))
    }
}

fn parse_name(text: &str) -> Result<ResourceName> {
    match text.split_once(':') {
        Some(("disk", name)) => Ok(ResourceName::disk(name)),
        Some(("snapshot", name)) => Ok(ResourceName::snapshot(name)),
        Some(("image", copy)) => {
            let mut parts = copy.split('/');
            match (parts.next(), parts.next(), parts.next().map(str::parse), parts.next()) {
                (Some(image), Some(region), Some(Ok(number)), None) => Ok(ResourceName::image(image, region, number)),
                _ => Err(Failure::usage(
                    "an image's copy is image:NAME/REGION/NUMBER; `atrest fleet image show NAME` lists them",
                )),
            }
        }
        _ => Err(Failure::usage("what is copied is disk:NAME, snapshot:NAME or image:NAME/REGION/NUMBER")),
    }
}

impl Write {
    fn run(self, service: &DiskService, output: Output, show: Show, yes: bool) -> Result<()> {
        let image = Image::open(&self.image, self.src_format.as_deref())?;
        let disk = service.open_disk(&self.name)?;
        if image.size > disk.size() {
            let text = format!("the disk has {} bytes, and the image {}", disk.size(), image.size);
            return Err(Failure::refused(text).about(&self.name));
        }
        confirm(yes, &format!("The first {} of the disk {:?} will be overwritten.", size(image.size), self.name))?;
        let sector = disk.sector_size() as usize;
        let progress = Progress::new(show, "writing", image.size);
        for_parts(&[(0, image.size)], &progress, |offset, room, len| {
            let room = room.take(len.next_multiple_of(sector));
            room[len..].fill(0);
            image.device.read_at(offset, &mut room[..len]).about("reading the image")?;
            Ok(disk.write_in_place(offset, room)?)
        })?;
        disk.sync()?;
        drop(progress);
        output.answer(&Thing::of(service.resource(&ResourceName::disk(&self.name))?))
    }
}

impl ServeDisk {
    fn run(self, service: &DiskService, output: Output) -> Result<()> {
        // From here on a signal lets the service end in order, so that other hosts need not wait for its lease.
        let gently = Gently::new();
        let disk = self.opened(service)?;
        let (len, sector_size) = (disk.size(), disk.sector_size());
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let (protocol, socket, served) = match (&self.nbd, &self.vhost_user) {
            (Some(socket), _) => ("nbd", socket, Nbd::unix(socket).serve(disk.clone(), &self.name)),
            (None, Some(socket)) => ("vhost-user-blk", socket, VhostUser::new(socket).serve(disk.clone(), &self.name)),
            (None, None) => return Err(Failure::usage("name a socket by --nbd or --vhost-user")),
        };
        let served = served.about(socket.display())?;
        output.answer(&Serving::new(&self.name, protocol, socket, (len, sector_size), false))?;
        let mut looked = Instant::now();
        while !stop::asked() {
            std::thread::sleep(Duration::from_millis(50));
            if looked.elapsed() > Duration::from_secs(60) {
                looked = Instant::now();
                // Without it, a disk that nobody reads keeps a key that was revoked.
                service.maintain();
            }
        }
        served.stop();
        disk.flush()?;
        if let Some(to) = &self.hand_over_to {
            service.hand_over(&self.name, to)?;
        }
        drop(gently);
        if stop::by_manager() {
            Ok(())
        } else {
            Err(Failure::interrupted("stopped; all that was written is on the disk"))
        }
    }

    /// Opens the disk, as soon as no other host has it.
    fn opened(&self, service: &DiskService) -> Result<OpenDisk> {
        let begun = Instant::now();
        let mut looked = begun;
        loop {
            match service.open_disk(&self.name) {
                Err(Error::Busy { .. }) if begun.elapsed() < Duration::from_secs(self.wait) => {}
                opened => return Ok(opened?),
            }
            if stop::asked() {
                return Err(Failure::interrupted("stopped while it waited for the disk"));
            }
            std::thread::sleep(Duration::from_millis(100));
            if looked.elapsed() > Duration::from_secs(15) {
                looked = Instant::now();
                // The host that has it may be lost.
                service.maintain();
            }
        }
    }
}
