//! The image that is to be encrypted: the raw bytes of a disk, or a container that qemu-nbd reads.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atrest::{Error, FileDevice};
use atrest_nbd::{NbdDevice, NbdOptions};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::devices::{Access, Device, is_nbd, open, size_of};
use crate::failure::{About, Failure, Result};
use crate::output::quoted;
use crate::stop;

/// The first bytes of disk containers: their bytes aren't those of a disk. With the name for people, and that of qemu.
const CONTAINERS: [(&[u8], &str, &str); 6] = [
    (b"QFI\xfb", "qcow2", "qcow2"),
    (b"vhdxfile", "VHDX", "vhdx"),
    (b"KDMV", "VMDK", "vmdk"),
    (b"# Disk DescriptorFile", "VMDK", "vmdk"),
    (b"COWD", "VMDK", "vmdk"),
    (b"conectix", "VHD", "vpc"),
];

/// An image, opened for reading.
pub struct Image {
    pub device: Device,
    pub size: u64,
    /// The file, which knows its holes.
    file: Option<Arc<FileDevice>>,
    _server: Option<Server>,
}

impl Image {
    /// Opens an image; `format` is qemu's name of a container that is to be read through qemu-nbd.
    pub fn open(name: &str, format: Option<&str>) -> Result<Self> {
        let (device, file, server): (Device, _, _) = match format {
            None | Some("raw") if is_nbd(name) => (open(name, Access::Read)?, None, None),
            None | Some("raw") => {
                // Before it is opened, since opening a pipe waits for a writer.
                check_kind(Path::new(name))?;
                let file = Arc::new(FileDevice::open_read_only(name)?);
                if format.is_none() {
                    refuse_container(name, &file)?;
                }
                (file.clone(), Some(file), None)
            }
            Some(format) => {
                let (server, device) = Server::start(name, format)?;
                (device, None, Some(server))
            }
        };
        let size = size_of(&*device).about(name)?;
        if size == 0 {
            return Err(Failure::usage("it is empty; there is nothing to encrypt").about(name));
        }
        Ok(Image { device, size, file, _server: server })
    }

    /// The runs of bytes that aren't holes, in order. Without knowledge, it is all of it.
    pub fn data(&self) -> Result<Vec<(u64, u64)>> {
        let whole = vec![(0, self.size)];
        let Some(file) = &self.file else { return Ok(whole) };
        let file = file.file();
        let (mut runs, mut at) = (Vec::new(), 0);
        while at < self.size {
            let start = match seek(file, SeekFrom::Data(at)) {
                Ok(start) => start,
                // No data after it.
                Err(Errno::NXIO) => break,
                Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(whole),
                Err(e) => return Err(io::Error::from(e).into()),
            };
            let end = seek(file, SeekFrom::Hole(start)).map_err(io::Error::from)?.min(self.size);
            if end <= start {
                break;
            }
            runs.push((start, end));
            at = end;
        }
        Ok(runs)
    }
}

fn check_kind(path: &Path) -> Result<()> {
    let kind = match fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(Error::NotFound { what: "image", path: path.into() }.into());
        }
        found => found.about(path.display())?.file_type(),
    };
    if kind.is_file() || kind.is_block_device() {
        return Ok(());
    }
    let what = if kind.is_dir() { "a folder" } else { "a pipe, a socket or a terminal" };
    Err(Failure::usage(format!("it is {what}, and an image is a file or a block device")).about(path.display()))
}

fn refuse_container(name: &str, file: &Arc<FileDevice>) -> Result<()> {
    let device: Device = file.clone();
    let size = size_of(&*device)?;
    let mut start = vec![0; size.min(64) as usize];
    device.read_at(0, &mut start).about(name)?;
    let mut found = CONTAINERS.iter().find(|(magic, ..)| start.starts_with(magic));
    if found.is_none() && size >= 512 {
        // A VHD of a fixed size has its mark at the end alone.
        let mut end = [0; 8];
        device.read_at(size - 512, &mut end).about(name)?;
        found = CONTAINERS.iter().find(|(magic, ..)| *magic == b"conectix" && end.starts_with(magic));
    }
    let Some((_, title, format)) = found else { return Ok(()) };
    Err(Failure::refused(format!(
        "it is a {title} image, and only the raw bytes of a disk are encrypted as one. Make such an image by `qemu-img convert \
         -O raw {} OUT`; or say --src-format {format} to have qemu-nbd read it, or --src-format raw to encrypt the file itself",
        quoted(name)
    ))
    .about(name))
}

/// A qemu-nbd that reads an image. No plaintext is stored anywhere.
struct Server {
    child: Option<Child>,
    _folder: TempDir,
    on_stop: Option<stop::OnStop>,
}

impl Server {
    fn start(name: &str, format: &str) -> Result<(Self, Device)> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("image.sock");
        let mut command = Command::new("qemu-nbd");
        command.args(["--read-only", "--persistent", "--shared=8", "--format", format, "--socket"]).arg(&socket);
        // An absolute path: qemu takes a name with a colon for a protocol.
        command.arg("--").arg(fs::canonicalize(name).about(name)?).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::inherit()).spawn();
        let child = child.map_err(|e| match e.kind() {
            ErrorKind::NotFound => Failure::refused(format!(
                "qemu-nbd, which reads {format}, is not installed. Install it, or make a raw image elsewhere by `qemu-img \
                 convert -O raw {} OUT`",
                quoted(name)
            )),
            _ => e.into(),
        })?;
        let (id, path) = (child.id(), folder.path().to_owned());
        let on_stop = stop::on_stop(move || {
            if let Some(id) = rustix::process::Pid::from_raw(id as i32) {
                let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
            }
            let _ = fs::remove_dir_all(path);
        });
        let mut server = Server { child: Some(child), _folder: folder, on_stop: Some(on_stop) };
        let url = format!("nbd+unix:///?socket={}", socket.display());
        let options = NbdOptions::new().read_only(true);
        let start = Instant::now();
        loop {
            if socket.exists()
                && let Ok(device) = NbdDevice::connect_with(&url, &options)
            {
                return Ok((server, Arc::new(device)));
            }
            let ended = server.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || start.elapsed() > Duration::from_secs(20) {
                return Err(Failure::refused(format!("qemu-nbd did not open it as {format}")).about(name));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.on_stop.take());
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
