//! The folder of the result. It is complete or not there, and only this program's own files in it are ever replaced.
//!
//! A run makes all of its files in a folder next to it, `NAME.partial`, which replaces the result at the end. Each of
//! the two has a file that marks it as made here. The result's marker lists the other files. The other folder's marker
//! is locked while a run is at work.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::{Context, Result};

const MARKER: &str = ".encrypt_disk";
const HEADING: &str = "Made by the example encrypt_disk of atrest, which replaces this folder if it holds just this:\n";

pub struct Folder {
    /// The place of the result.
    pub result: PathBuf,
    /// The folder where it is made.
    pub partial: PathBuf,
    /// The marker in `partial`, locked.
    marker: File,
}

impl Folder {
    /// Checks whether the result may go there, and makes the folder next to it.
    pub fn begin(dir: &Path) -> Result<Self> {
        let dir = std::path::absolute(dir).context(|| dir.display())?;
        // Next to the folder itself, not to a link to it.
        let result = match dir.canonicalize() {
            Ok(found) => found,
            Err(_) => {
                let parent = dir.parent().unwrap_or(&dir);
                fs::create_dir_all(parent).context(|| parent.display())?;
                parent.canonicalize().context(|| parent.display())?.join(dir.file_name().unwrap_or_default())
            }
        };
        if result.file_name().is_none() || is_mount_point(&result) {
            return Err(format!("{}: nothing can be put in its place; name a folder in it", result.display()).into());
        }
        check(&result)?;
        let partial = beside(&result, ".partial");
        let marker = lock(&partial)?;
        let folder = Folder { result, partial, marker };
        folder.recover()?;
        // Remove the remains of a killed run.
        folder.clear().context(|| folder.partial.display())?;
        (&folder.marker).write_all(HEADING.as_bytes()).context(|| folder.partial.display())?;
        Ok(folder)
    }

    /// Replaces an earlier result by the new one, and removes the earlier.
    pub fn finish(mut self) -> Result<()> {
        let made = list(&self.partial).context(|| self.partial.display())?;
        self.marker.write_all(lines(&made).as_bytes()).context(|| self.partial.display())?;
        self.marker.sync_all().context(|| self.partial.display())?;
        // Check again: it may have changed since the start.
        let earlier = check(&self.result)?;
        match put_in_place(&self.partial, &self.result).context(|| self.result.display())? {
            // Remove file by file, so that files added meanwhile stay.
            Some(old) => remove(&old, &earlier).context(|| old.display()),
            None => Ok(()),
        }
    }

    /// Continues if a run was killed between the renames of `put_in_place`.
    fn recover(&self) -> Result<()> {
        let aside = beside(&self.result, ".old");
        if !is_ours(&aside) {
            return Ok(());
        }
        if !self.result.exists() {
            return fs::rename(&aside, &self.result).context(|| aside.display());
        }
        let listing = check(&aside)?;
        remove(&aside, &listing).context(|| aside.display())
    }

    /// Removes everything in `partial` except the marker.
    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.partial)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false if entry.file_name() == MARKER => {}
                false => fs::remove_file(entry.path())?,
            }
        }
        self.marker.set_len(0)
    }
}

impl Drop for Folder {
    /// Removes the files of a failed run. A successful run has left none.
    fn drop(&mut self) {
        let stopped = same_file(&self.marker, &self.partial.join(MARKER));
        if stopped && self.clear().is_ok() {
            // Remove the marker last: without it nobody knows who made the rest.
            let _ = fs::remove_file(self.partial.join(MARKER)).and_then(|()| fs::remove_dir(&self.partial));
        }
    }
}

/// The content of a folder: the path of each file and folder in it, with data that reveals a change.
type Listing = BTreeMap<PathBuf, String>;

/// The files of an earlier run. Fails if there are any others.
fn check(result: &Path) -> Result<Listing> {
    let found = match list(result) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Listing::new()),
        found => found.context(|| result.display())?,
    };
    let marker = fs::read_to_string(result.join(MARKER)).unwrap_or_default();
    let made: Vec<&str> = marker.strip_prefix(HEADING).unwrap_or_default().lines().collect();
    for (path, state) in &found {
        let line = line(path, state);
        if !made.contains(&line.as_str()) {
            return Err(format!(
                "{} is in the folder for the result, and is not what this program made: name another folder with --dir",
                result.join(path).display()
            )
            .into());
        }
    }
    Ok(found)
}

fn list(folder: &Path) -> io::Result<Listing> {
    let mut found = Listing::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(folder.join(&inner))? {
            let entry = entry?;
            let path = inner.join(entry.file_name());
            let metadata = entry.metadata()?;
            let state = if metadata.is_dir() {
                folders.push(path.clone());
                "folder".into()
            } else if metadata.is_file() {
                let changed = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                format!("{} bytes, of {}", metadata.len(), changed.as_nanos())
            } else {
                "neither a file nor a folder".into()
            };
            if path != Path::new(MARKER) {
                found.insert(path, state);
            }
        }
    }
    Ok(found)
}

fn lines(listing: &Listing) -> String {
    listing.iter().map(|(path, state)| line(path, state) + "\n").collect()
}

fn line(path: &Path, state: &str) -> String {
    format!("{}: {state}", path.display())
}

/// Removes the listed files, and the folder if it is then empty.
fn remove(folder: &Path, listing: &Listing) -> io::Result<()> {
    // The content of a folder sorts after the folder.
    for path in listing.keys().rev().map(|path| folder.join(path)) {
        if path.symlink_metadata()?.is_dir() { fs::remove_dir(path)? } else { fs::remove_file(path)? }
    }
    if is_ours(folder) {
        fs::remove_file(folder.join(MARKER))?;
    }
    fs::remove_dir(folder)
}

/// Makes the folder `partial`, or takes it over from a killed run, and locks its marker.
fn lock(partial: &Path) -> Result<File> {
    let foreign = || -> Result<File> {
        Err(format!("{} is in the way, and this program did not make it: move it elsewhere", partial.display()).into())
    };
    match fs::create_dir(partial) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e).context(|| partial.display()),
        Err(_) if !partial.symlink_metadata().is_ok_and(|found| found.is_dir()) => return foreign(),
        _ => {}
    }
    let path = partial.join(MARKER);
    let empty = fs::read_dir(partial).context(|| partial.display())?.next().is_none();
    if !empty && !path.symlink_metadata().is_ok_and(|found| found.is_file()) {
        return foreign();
    }
    let mut options = File::options();
    let mut marker = options.read(true).write(true).create(true).open(&path).context(|| path.display())?;
    match marker.try_lock() {
        Err(TryLockError::Error(e)) => return Err(e).context(|| path.display()),
        Ok(()) if same_file(&marker, &path) => {}
        _ => return Err(format!("{}: another run of this program is at work there", partial.display()).into()),
    }
    let mut heading = String::new();
    let read = marker.read_to_string(&mut heading).and_then(|_| marker.rewind());
    // A run killed at its very start has left an empty marker.
    let ours = read.is_ok() && (heading.starts_with(HEADING) || HEADING.starts_with(&heading));
    if ours { Ok(marker) } else { foreign() }
}

fn is_ours(folder: &Path) -> bool {
    fs::read_to_string(folder.join(MARKER)).is_ok_and(|marker| marker.starts_with(HEADING))
}

/// Moves a folder to a place. Returns the new place of the folder that was there, if any.
fn put_in_place(new: &Path, place: &Path) -> io::Result<Option<PathBuf>> {
    if !place.exists() {
        return fs::rename(new, place).map(|()| None);
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        // Exchange both atomically, if the file system can.
        if renameat_with(CWD, new, CWD, place, RenameFlags::EXCHANGE).is_ok() {
            return Ok(Some(new.to_owned()));
        }
    }
    let aside = beside(place, ".old");
    fs::rename(place, &aside)?;
    fs::rename(new, place).map(|()| Some(aside))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Whether the path still names this open file.
fn same_file(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        file.metadata().map(id).ok() == fs::symlink_metadata(path).map(id).ok()
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// A file system's root can't be renamed.
fn is_mount_point(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
        path.exists() && path.parent().is_some_and(|parent| device(parent) != device(path))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}
