//! File helpers: opening files so that a foreign object at the path does no harm, and making new names durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Secret};

/// Whether to follow a symbolic link at the path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// For a path from the caller.
    Follow,
    /// For a path of our own choice: only somebody else can have put a link there.
    Refuse,
}

/// The kinds of file that may be opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Disk,
}

/// The path of a sibling file: the same name plus `suffix`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The folder of a path; the current one for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The error for a failed file operation: the file is missing, exists already, or any other system error.
pub(crate) fn error_at(path: &Path, what: &'static str, doing: &str, e: io::Error) -> Error {
    let folder = parent(path);
    match e.kind() {
        ErrorKind::NotFound if !folder.exists() => Error::NotFound { what: "folder", path: folder.into() },
        ErrorKind::NotFound => Error::NotFound { what, path: path.into() },
        ErrorKind::AlreadyExists => Error::AlreadyExists { what, path: path.into() },
        _ => Error::io(format!("{doing} {}", path.display()), e),
    }
}

/// Makes a file's new name durable, if the system can sync folders.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(parent(path))?.sync_all()?;
    }
    Ok(())
}

/// Opens a plain file and refuses anything else at once.
pub(crate) fn open(options: &OpenOptions, path: &Path, links: Links) -> io::Result<File> {
    open_found(options, path, links).map(|(file, _)| file)
}

/// As [`open`]; also returns the file's metadata.
pub(crate) fn open_found(options: &OpenOptions, path: &Path, links: Links) -> io::Result<(File, fs::Metadata)> {
    open_kind(options.clone(), path, links, Kind::Plain)
}

/// Opens a plain file or a disk and refuses anything else at once.
pub(crate) fn open_disk(options: &OpenOptions, path: &Path) -> io::Result<File> {
    open_kind(options.clone(), path, Links::Follow, Kind::Disk).map(|(file, _)| file)
}

/// Opens a file for reading and writing, or makes it. Only its owner can access it afterwards.
pub(crate) fn open_or_create(path: &Path, links: Links) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    loop {
        match open_found(&options, path, links) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            opened => {
                let (file, found) = opened?;
                tighten(&file, &found);
                return Ok(file);
            }
        }
        match create_new(path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            made => return made,
        }
        // A dangling link is not found, and no file can be made there either.
        if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
            return Err(refused("a link to nothing"));
        }
    }
}

/// Removes all access except the owner's. A copied file, or one made by an older version, may be readable by anybody.
fn tighten(file: &File, found: &fs::Metadata) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if found.permissions().mode() & 0o7077 != 0 {
            // A file of another owner stays as it is.
            let _ = file.set_permissions(fs::Permissions::from_mode(0o600));
        }
    }
    #[cfg(not(unix))]
    let _ = (file, found);
}

/// Makes a file that must not exist yet. Only its owner can access it, if the system has owners.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    // The umask may have removed the owner's rights too.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })?;
    Ok(file)
}

/// Writes a file that must not exist yet, accessible by its owner only. A half-written file is removed.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create_new(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| sync(path));
    written.inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

/// The new content of a file, written next to it. It is removed unless it is put in place.
pub(crate) struct NewFile<'a> {
    path: &'a Path,
    new: PathBuf,
}

impl<'a> NewFile<'a> {
    /// Writes `text` next to the file at `path`.
    pub(crate) fn write(path: &'a Path, text: &[u8]) -> io::Result<Self> {
        let new = beside(path, ".new");
        // A killed writer may have left a file there. Remove it first: its mode would otherwise become the vault's
        // mode.
        match fs::remove_file(&new) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        write_new(&new, text)?;
        Ok(NewFile { path, new })
    }

    /// Renames it to the file's name, durably.
    pub(crate) fn put_in_place(self) -> io::Result<()> {
        fs::rename(&self.new, self.path)?;
        sync(self.path)
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        // After the rename no file has this name.
        let _ = fs::remove_file(&self.new);
    }
}

impl Secret {
    /// Reads a file with a secret: at most `max` bytes, into memory that is locked and wiped.
    ///
    /// The path leads to a plain file, also through links: Kubernetes mounts secrets by links. A pipe (FIFO), a socket, a
    /// device or a folder is refused at once. A pipe would make its reader wait, and a device such as `/dev/zero` has no end.
    ///
    /// ```
    /// use atrest::Secret;
    ///
    /// let folder = tempfile::tempdir()?;
    /// std::fs::write(folder.path().join("token"), "hvs.1")?;
    /// assert_eq!(Secret::read_file(folder.path().join("token"), 64 << 10)?.expose(), b"hvs.1");
    /// assert!(Secret::read_file("/dev/zero", 64 << 10).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of reading, such as [`ErrorKind::NotFound`]; [`ErrorKind::InvalidInput`] for what is no plain file, and
    /// [`ErrorKind::FileTooLarge`]. The text doesn't name the path: the caller knows what the file is for.
    pub fn read_file(path: impl AsRef<Path>, max: usize) -> io::Result<Secret> {
        read_secret(path.as_ref(), max as u64)
    }
}

/// Reads a secret of at most `max` bytes without leaving a copy of it on the heap.
pub(crate) fn read_secret(path: &Path, max: u64) -> io::Result<Secret> {
    let mut file = open(OpenOptions::new().read(true), path, Links::Follow)?;
    let len = file.metadata()?.len();
    if len > max {
        return Err(too_large(max));
    }
    // With a byte more than there should be, to see the end. A file of `/proc` doesn't say how long it is, and another file may
    // grow meanwhile.
    let mut room = Secret::zeroed(len as usize + 1);
    let mut read = 0;
    loop {
        match file.read(&mut room.expose_mut()[read..]) {
            Ok(0) => return Ok(Secret::copy_from(&room.expose()[..read])),
            Ok(more) => read += more,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        if read as u64 > max {
            return Err(too_large(max));
        }
        if read == room.len() {
            let mut larger = Secret::zeroed((max as usize).min(4 * read + 4096) + 1);
            larger.expose_mut()[..read].copy_from_slice(room.expose());
            room = larger;
        }
    }
}

/// Reads as many bytes as `to` has from an offset of a file.
pub(crate) fn read_exact_at(file: &File, to: &mut [u8], from: u64) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, to, from);
    #[cfg(not(unix))]
    {
        use std::io::{Seek, SeekFrom};
        let mut file = file;
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(to)
    }
}

/// Writes bytes to an offset of a file.
pub(crate) fn write_all_at(file: &File, bytes: &[u8], to: u64) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_all_at(file, bytes, to);
    #[cfg(not(unix))]
    {
        use std::io::{Seek, SeekFrom};
        let mut file = file;
        file.seek(SeekFrom::Start(to))?;
        file.write_all(bytes)
    }
}

/// Reads a file of at most `max` bytes.
pub(crate) fn read_bounded(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    read_open(&open(OpenOptions::new().read(true), path, Links::Refuse)?, max)
}

/// Reads the rest of an open file, at most `max` bytes.
pub(crate) fn read_open(file: &File, max: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(max + 1).read_to_end(&mut text)?;
    if text.len() as u64 > max {
        return Err(too_large(max));
    }
    Ok(text)
}

fn too_large(max: u64) -> io::Error {
    io::Error::new(ErrorKind::FileTooLarge, format!("it has more than {max} bytes"))
}

/// Renames a file durably. It never replaces an existing file.
#[cfg(feature = "managed")]
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(e),
        Ok(()) => fs::remove_file(from)?,
        // The file system has no hard links.
        Err(_) if fs::symlink_metadata(to).is_ok() => return Err(ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to)?,
    }
    sync(to)
}

/// Opens a stream: a plain file, or a pipe. A pipe without a writer reads as empty.
pub(crate) fn open_stream(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
        // Opening a pipe must not wait for a writer, but reading it must wait for the writer's data.
        let nonblock = OFlags::NONBLOCK.bits().cast_signed();
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, nonblock);
        let file = options.open(path)?;
        fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
        Ok(file)
    }
    #[cfg(not(unix))]
    options.open(path)
}

#[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has flags to add"))]
fn open_kind(mut options: OpenOptions, path: &Path, links: Links, kind: Kind) -> io::Result<(File, fs::Metadata)> {
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        // Without these flags, opening a pipe waits for its other end, and a terminal becomes the process's controlling
        // terminal.
        let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        flags.set(OFlags::NOFOLLOW, links == Links::Refuse);
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
    }
    let refused_link = || links == Links::Refuse && fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    // Unix has a flag for it, above.
    if cfg!(not(unix)) && refused_link() {
        return Err(refused("a link"));
    }
    let file = options.open(path).map_err(|e| {
        if refused_link() {
            return refused("a link");
        }
        // Some kinds can't be opened at all. Then report the kind instead of the error.
        let found = fs::metadata(path).map(|found| found.file_type());
        found.ok().and_then(|found| check(found, kind).err()).unwrap_or(e)
    })?;
    let found = file.metadata()?;
    check(found.file_type(), kind)?;
    Ok((file, found))
}

fn check(found: fs::FileType, kind: Kind) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        // Other systems than Linux have disks as character devices too.
        let disk = found.is_block_device() || found.is_char_device() && !cfg!(target_os = "linux");
        match () {
            () if kind == Kind::Disk && disk => return Ok(()),
            () if found.is_fifo() => return Err(refused("a pipe (FIFO)")),
            () if found.is_socket() => return Err(refused("a socket")),
            () if found.is_block_device() || found.is_char_device() => return Err(refused("a device")),
            () => {}
        }
    }
    #[cfg(windows)]
    if kind == Kind::Disk && !found.is_dir() {
        return Ok(());
    }
    Err(refused(if found.is_dir() { "a folder" } else { "no plain file" }))
}

fn refused(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, format!("it is {what}, not a file; put the right file in its place"))
}
