//! `serve` and `qemu`: a volume as the disk of a virtual machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use atrest_host::{Disk, Nbd, ReadOnly, Serve as _, Served, VhostUser};
use clap::{ArgGroup, Args};
use schemars::JsonSchema;
use serde::Serialize;

use crate::devices::Access;
#[cfg(feature = "ublk")]
use crate::failure::Code;
use crate::failure::{About, Failure, Result};
use crate::output::{Answer, Output, Text, quoted, shown, size};
use crate::stop::{self, Gently};
use crate::volumes::{PlainArgs, VolumeArgs};

#[derive(Args)]
#[command(group(ArgGroup::new("way").required(true)))]
pub struct Serve {
    #[command(flatten)]
    volume: VolumeArgs,
    /// The Unix socket for NBD clients: QEMU, nbd-client, nbdkit's tools
    #[arg(long, value_name = "SOCKET", group = "way")]
    nbd: Option<PathBuf>,
    /// The Unix socket for a virtual machine, as vhost-user-blk
    #[arg(long, value_name = "SOCKET", group = "way")]
    vhost_user: Option<PathBuf>,
    /// As a block device of this machine, by the kernel's ublk driver: as root, on Linux 6.5 or later
    #[cfg(feature = "ublk")]
    #[arg(long, group = "way")]
    ublk: bool,
    /// The queues of vhost-user-blk or ublk, each with a thread of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    queues: u16,
    /// The name of the NBD export, and the serial number of the disk
    #[arg(long, value_name = "NAME", default_value = "atrest")]
    name: String,
    /// Refuses writes
    #[arg(long)]
    read_only: bool,
    /// Passes discards on to the device, which shows anyone who sees it which blocks are free
    #[arg(long)]
    discard: bool,
    #[command(flatten)]
    plain: PlainArgs,
}

/// The protocol whose place is a block device.
const UBLK: &str = "ublk";

/// `serve`, once clients can come.
#[derive(Serialize, JsonSchema)]
pub struct Serving {
    device: String,
    /// `nbd`, `vhost-user-blk` or `ublk`.
    protocol: &'static str,
    /// Where clients connect; not by `ublk`.
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<String>,
    /// The block device of this machine, by `ublk`.
    #[serde(skip_serializing_if = "Option::is_none")]
    block_device: Option<String>,
    /// The size of the data in bytes.
    size: u64,
    /// In bytes.
    sector_size: u32,
    read_only: bool,
}

impl Serving {
    pub fn new(
        device: &str,
        protocol: &'static str,
        place: &Path,
        (size, sector_size): (u64, u32),
        read_only: bool,
    ) -> Self {
        let (device, place) = (device.into(), Some(place.display().to_string()));
        let (socket, block_device) = if protocol == UBLK { (None, place) } else { (place, None) };
        Serving { device, protocol, socket, block_device, size, sector_size, read_only }
    }
}

impl Answer for Serving {
    fn text(&self, out: &mut Text) {
        let place = self.socket.as_ref().or(self.block_device.as_ref()).map_or("", String::as_str);
        let (device, place) = (shown(&self.device), shown(place));
        let how = if self.read_only { ", for reading" } else { "" };
        out.line(format_args!("serving {device} ({}) by {} at {place}{how}", size(self.size), self.protocol));
    }
}

impl Serve {
    pub fn run(self, output: Output, yes: bool) -> Result<()> {
        let access = if self.read_only { Access::Read } else { Access::Write };
        #[cfg(feature = "ublk")]
        if self.ublk {
            check_ublk()?;
        }
        if !self.read_only {
            self.plain.confirm_writes(&self.volume, yes)?;
        }
        let volume = self.volume.open_or_plain(&self.plain, access, self.discard, |open| open)?;
        let (size, sector_size) = (volume.size(), volume.sector_size().bytes());
        let (disk, written): (Arc<dyn Disk>, _) = if self.read_only {
            (Arc::new(ReadOnly(volume)), None)
        } else {
            let volume = Arc::new(volume);
            (volume.clone(), Some(volume))
        };
        // From here on a signal lets clients' requests end first.
        let gently = Gently::new();
        let (protocol, place, served) = self.begin(disk)?;
        let device = &self.volume.device;
        output.answer(&Serving::new(device, protocol, &place, (size, sector_size), self.read_only))?;
        while !stop::asked() {
            std::thread::sleep(Duration::from_millis(50));
        }
        served.stop();
        if let Some(volume) = written {
            volume.sync().about(&self.volume.device)?;
        }
        drop(gently);
        // A service manager's way to stop it is no failure.
        if stop::by_manager() {
            Ok(())
        } else {
            Err(Failure::interrupted("stopped; all that was written is on the disk"))
        }
    }

    /// Begins to serve: by which protocol, and where.
    fn begin(&self, disk: Arc<dyn Disk>) -> Result<(&'static str, PathBuf, Served)> {
        if let Some(socket) = &self.nbd {
            let served = Nbd::unix(socket).serve(disk, &self.name).about(socket.display())?;
            return Ok(("nbd", socket.clone(), served));
        }
        if let Some(socket) = &self.vhost_user {
            let served = VhostUser::new(socket).queues(self.queues).serve(disk, &self.name);
            return Ok(("vhost-user-blk", socket.clone(), served.about(socket.display())?));
        }
        #[cfg(feature = "ublk")]
        if self.ublk {
            let served = atrest_host::Ublk::new().queues(self.queues).serve(disk, &self.name)?;
            let device = served.device().map(Path::to_owned).unwrap_or_default();
            return Ok((UBLK, device, served));
        }
        Err(Failure::usage("name a socket by --nbd or --vhost-user"))
    }
}

/// Whether this kernel has the driver, which is said before anybody is asked for a passphrase.
#[cfg(feature = "ublk")]
fn check_ublk() -> Result<()> {
    const CONTROL: &str = "/dev/ublk-control";
    if Path::new(CONTROL).exists() {
        return Ok(());
    }
    let text = format!(
        "{CONTROL} is not there: load the driver by `modprobe ublk_drv`, on Linux 6.5 or later with CONFIG_BLK_DEV_UBLK; or serve by \
         --nbd, and let `nbd-client` make the block device"
    );
    Err(Failure::new(Code::NotFound, text))
}

#[derive(Args)]
pub struct Qemu {
    /// The device or image
    device: String,
    /// The vault that opens it, to be named in the lines
    #[arg(long, value_name = "VAULT")]
    vault: Option<String>,
    /// By NBD instead of vhost-user-blk: slower, for every QEMU
    #[arg(long)]
    nbd: bool,
    /// The memory of the machine, as QEMU writes it
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    memory: String,
}

/// `qemu`: the lines to type.
#[derive(Serialize, JsonSchema)]
pub struct Lines {
    /// Serves the volume; it goes on until it is stopped.
    serve: String,
    /// Starts the machine, in another terminal.
    qemu: String,
}

impl Answer for Lines {
    fn text(&self, out: &mut Text) {
        out.line("# in one terminal:");
        out.line(&self.serve);
        out.line("# in another:");
        out.line(&self.qemu);
    }
}

impl Qemu {
    pub fn run(self, output: Output) -> Result<()> {
        let stem = Path::new(&self.device).file_stem().map_or_else(|| "disk".into(), |stem| stem.to_string_lossy());
        let folder = std::env::var("XDG_RUNTIME_DIR").unwrap_or_else(|_| "/tmp".into());
        let socket = format!("{folder}/atrest-{}.sock", stem.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
        let vault = self.vault.map(|vault| format!(" --vault {}", quoted(&vault))).unwrap_or_default();
        let (how, memory) = (if self.nbd { "nbd" } else { "vhost-user" }, &self.memory);
        let serve = format!("atrest serve {}{vault} --{how} {}", quoted(&self.device), quoted(&socket));
        let qemu = if self.nbd {
            let drive = format!("file=nbd+unix:///?socket={socket},format=raw,if=virtio,discard=unmap");
            format!("qemu-system-x86_64 -m {memory} -drive {}", quoted(&drive))
        } else {
            format!(
                "qemu-system-x86_64 -m {memory} -object {} -machine memory-backend=mem -chardev {} -device \
                 vhost-user-blk-pci,chardev=disk",
                quoted(&format!("memory-backend-memfd,id=mem,size={memory},share=on")),
                quoted(&format!("socket,id=disk,path={socket},reconnect=1"))
            )
        };
        output.answer(&Lines { serve, qemu })
    }
}
