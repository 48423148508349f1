//! `mount`: a volume as a plain file, by FUSE.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, MountOption,
    OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    SessionACL, TimeOrNow, WriteFlags,
};
use schemars::JsonSchema;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::devices::Access;
use crate::failure::{About, Code, Failure, Result};
use crate::output::{Answer, Output, Text, shown, size};
use crate::stop::{self, Gently};
use crate::volumes::{AnyVolume, PlainArgs, VolumeArgs};

/// The name of the file.
const FILE: &str = "volume";
/// How long the kernel may believe an answer: nothing here changes.
const TTL: Duration = Duration::from_secs(3600);
/// How long an open file may keep us.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Args)]
pub struct Mount {
    #[command(flatten)]
    volume: VolumeArgs,
    /// The empty folder where the file `volume` appears
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Refuses writes
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    plain: PlainArgs,
}

/// `mount`, once the file is there.
#[derive(Serialize, JsonSchema)]
pub struct Mounted {
    device: String,
    /// The file with the data in the clear.
    file: String,
    /// In bytes.
    size: u64,
    read_only: bool,
}

impl Answer for Mounted {
    fn text(&self, out: &mut Text) {
        let how = if self.read_only { ", for reading" } else { "" };
        out.line(format_args!("{} is {} ({}){how}", shown(&self.device), shown(&self.file), size(self.size)));
    }
}

impl Mount {
    pub fn run(self, output: Output, yes: bool) -> Result<()> {
        let access = if self.read_only { Access::Read } else { Access::Write };
        if !self.read_only {
            self.plain.confirm_writes(&self.volume, yes)?;
        }
        let volume = self.volume.open_or_plain(&self.plain, access, false, |open| open)?;
        let volume = Arc::new(volume);
        let gently = Gently::new();
        let mut config = Config::default();
        // For this user alone: others would see the disk in the clear.
        config.acl = SessionACL::Owner;
        config.mount_options = vec![
            MountOption::FSName("atrest".into()),
            MountOption::Subtype("atrest".into()),
            MountOption::NoDev,
            MountOption::NoSuid,
            MountOption::NoExec,
            if self.read_only { MountOption::RO } else { MountOption::RW },
        ];
        let file = OneFile::new(volume.clone(), self.read_only);
        let session = fuser::spawn_mount(file, &self.folder, &config).about(self.folder.display())?;
        output.answer(&Mounted {
            device: self.volume.device.clone(),
            file: self.folder.join(FILE).display().to_string(),
            size: volume.size(),
            read_only: self.read_only,
        })?;
        while !stop::asked() && !session.guard.is_finished() {
            std::thread::sleep(Duration::from_millis(50));
        }
        if !session.guard.is_finished() {
            detach(&self.folder)?;
            let start = Instant::now();
            // A program that has the file open keeps it until then.
            while !session.guard.is_finished() && start.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        if session.guard.is_finished() {
            session.join().about(self.folder.display())?;
        }
        if !self.read_only {
            volume.sync().about(&self.volume.device)?;
        }
        drop(gently);
        // Unmounted by somebody, or stopped by a service manager.
        if !stop::asked() || stop::by_manager() {
            return Ok(());
        }
        Err(Failure::interrupted("unmounted; all that was written is on the disk"))
    }
}

/// Takes the folder away, also while somebody has the file open. All that was written has come to us: the kernel keeps nothing back.
fn detach(folder: &Path) -> Result<()> {
    let mut command = Command::new("fusermount3");
    command.args(["-u", "-z", "--"]).arg(folder).stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().about("fusermount3")?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(Code::Busy, "it could not be unmounted").about(folder.display()))
    }
}

/// A file system of one file.
struct OneFile {
    volume: Arc<AnyVolume>,
    made: SystemTime,
    read_only: bool,
    /// Writes that don't cover whole sectors read and write the rest of them, one after the other.
    partial: Mutex<()>,
}

impl OneFile {
    fn new(volume: Arc<AnyVolume>, read_only: bool) -> Self {
        OneFile { volume, made: SystemTime::now(), read_only, partial: Mutex::new(()) }
    }

    fn attributes(&self, ino: INodeNo) -> Option<FileAttr> {
        let is_folder = ino == INodeNo::ROOT;
        if !is_folder && ino != INodeNo(2) {
            return None;
        }
        let (kind, perm, size) = match (is_folder, self.read_only) {
            (true, _) => (FileType::Directory, 0o500, 0),
            (false, true) => (FileType::RegularFile, 0o400, self.volume.size()),
            (false, false) => (FileType::RegularFile, 0o600, self.volume.size()),
        };
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let (atime, mtime, ctime, crtime) = (self.made, self.made, self.made, self.made);
        let (blocks, blksize) = (size.div_ceil(512), 4096);
        let (nlink, rdev, flags) = (1, 0, 0);
        Some(FileAttr {
            ino,
            size,
            blocks,
            atime,
            mtime,
            ctime,
            crtime,
            kind,
            perm,
            nlink,
            uid,
            gid,
            rdev,
            blksize,
            flags,
        })
    }

    /// The whole sectors that hold some bytes: their start and length.
    fn sectors(&self, offset: u64, len: usize) -> (u64, usize) {
        let unit = u64::from(self.volume.sector_size().bytes());
        let start = offset / unit * unit;
        let end = (offset + len as u64).next_multiple_of(unit);
        (start, (end - start) as usize)
    }

    fn read_some(&self, offset: u64, len: usize) -> atrest::Result<Zeroizing<Vec<u8>>> {
        let len = (self.volume.size().saturating_sub(offset)).min(len as u64) as usize;
        if len == 0 {
            return Ok(Zeroizing::default());
        }
        let (start, whole) = self.sectors(offset, len);
        let mut room = Zeroizing::new(vec![0; whole]);
        self.volume.read_at(start, &mut room)?;
        let skipped = (offset - start) as usize;
        room.copy_within(skipped..skipped + len, 0);
        room.truncate(len);
        Ok(room)
    }

    fn write_some(&self, offset: u64, data: &[u8]) -> atrest::Result<()> {
        let (start, whole) = self.sectors(offset, data.len());
        if (start, whole) == (offset, data.len()) {
            return self.volume.write_at(offset, data);
        }
        let _alone: MutexGuard<'_, ()> = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        let mut room = Zeroizing::new(vec![0; whole]);
        self.volume.read_at(start, &mut room)?;
        room[(offset - start) as usize..][..data.len()].copy_from_slice(data);
        self.volume.write_at(start, &room)
    }
}

/// The number of an error for the caller of a system call.
fn number(error: &atrest::Error) -> Errno {
    match error {
        atrest::Error::ReadOnly => Errno::EROFS,
        atrest::Error::OutOfBounds { .. } => Errno::ENOSPC,
        atrest::Error::Io { source, .. } => source.raw_os_error().map_or(Errno::EIO, Errno::from_i32),
        _ => Errno::EIO,
    }
}

impl Filesystem for OneFile {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(INodeNo(2)) {
            Some(of) if parent == INodeNo::ROOT && name == FILE => reply.entry(&TTL, &of, Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino) {
            Some(of) => reply.attr(&TTL, &of),
            None => reply.error(Errno::ENOENT),
        }
    }

    /// The size stays; times aren't kept. A program that opens the file to write it anew cuts it off first.
    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changes = mode.is_some() || uid.is_some() || gid.is_some();
        let resizes = size.is_some_and(|size| size != self.volume.size());
        match self.attributes(ino) {
            Some(of) if !changes && !resizes => reply.attr(&TTL, &of),
            Some(_) => reply.error(Errno::EPERM),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if ino == INodeNo(2) {
            reply.opened(FileHandle(0), FopenFlags::empty());
        } else {
            reply.error(Errno::EISDIR);
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.read_some(offset, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(e) => reply.error(number(&e)),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > self.volume.size()) {
            return reply.error(Errno::ENOSPC);
        }
        match self.write_some(offset, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(e) => reply.error(number(&e)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.volume.sync() {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(number(&e)),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let entries = [
            (INodeNo::ROOT, FileType::Directory, "."),
            (INodeNo::ROOT, FileType::Directory, ".."),
            (INodeNo(2), FileType::RegularFile, FILE),
        ];
        for (next, (ino, kind, name)) in entries.into_iter().enumerate().skip(offset as usize) {
            if reply.add(ino, next as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
