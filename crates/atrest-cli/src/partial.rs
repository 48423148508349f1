//! A result that is whole or not there: it is made as `NAME.partial`, and then renamed.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::confirm::confirm;
use crate::failure::{About, Code, Failure, Result};
use crate::output::quoted;
use crate::stop::{self, OnStop};

/// A file under way to its place.
pub struct Partial {
    place: PathBuf,
    path: PathBuf,
    on_stop: Option<OnStop>,
    replaces: bool,
}

/// Refuses a new file among the devices: it would lie in memory until the next start, and its name was meant to be a disk's.
fn check_no_device(place: &Path) -> Result<()> {
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = fs::canonicalize(folder).about(place.display())?;
    if folder.starts_with("/dev") && !folder.starts_with("/dev/shm") {
        let text = "there is no such device, and no file is made among the devices: `lsblk` lists them";
        return Err(Failure::new(Code::NotFound, text).about(place.display()));
    }
    Ok(())
}

impl Partial {
    /// Prepares the way to `place`. If something is there, it is asked whether it may be replaced: `what` names it.
    pub fn at(place: &Path, yes: bool, what: impl FnOnce(&Path) -> String) -> Result<Self> {
        let replaces = match fs::symlink_metadata(place) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                check_no_device(place)?;
                false
            }
            Err(e) => return Err(e).about(place.display()),
            Ok(found) if found.is_file() => {
                confirm(yes, &format!("{} will be replaced; it holds {}.", place.display(), what(place)))?;
                true
            }
            Ok(_) => {
                return Err(
                    Failure::refused("it is there, and no plain file; name another place").about(place.display())
                );
            }
        };
        let mut name = place.as_os_str().to_owned();
        name.push(".partial");
        let path = PathBuf::from(name);
        Self::clear(&path, yes)?;
        Ok(Partial { place: place.into(), path, on_stop: None, replaces })
    }

    /// Removes the remains of a killed run; another run holds its file by a lock.
    fn clear(path: &Path, yes: bool) -> Result<()> {
        // What a link leads to isn't this program's, and opening a pipe would wait for a writer.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
        let is_file = match &opened {
            Ok(file) => file.metadata().about(path.display())?.is_file(),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            // Links and sockets can't be opened so.
            Err(_) => match fs::symlink_metadata(path) {
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
                found => found.about(path.display())?.is_file(),
            },
        };
        if !is_file {
            return Err(Failure::usage("it is no plain file; move it away first").about(path.display()));
        }
        let file = opened.about(path.display())?;
        if file.try_lock().is_err() {
            let text = "another run of this program is making it; wait for it";
            return Err(Failure::new(Code::Busy, text).about(path.display()));
        }
        confirm(
            yes,
            &format!("{} is there, perhaps from a run that was killed, and will be removed.", path.display()),
        )?;
        // Who was asked may have put something else there meanwhile.
        if !is_at(&file, path).about(path.display())? {
            let text = "something else was put there meanwhile; look at it, and try again";
            return Err(Failure::new(Code::Busy, text).about(path.display()));
        }
        fs::remove_file(path).about(path.display())
    }

    /// Makes the file. From then on it is this run's, and goes with it.
    pub fn make<T, E>(&mut self, make: impl FnOnce(&Path) -> Result<T, E>) -> Result<T, E> {
        let path = self.path.clone();
        let (made, on_stop) = stop::making(|| make(&self.path), move || drop(fs::remove_file(path)));
        self.on_stop = on_stop;
        made
    }

    /// Puts the file, which was synced, into its place.
    pub fn finish(mut self) -> Result<()> {
        let Some(on_stop) = self.on_stop.take() else { return Ok(()) };
        let moved = on_stop.called_off(|| rename(&self.path, &self.place, self.replaces));
        if let Err(e) = moved {
            let _ = fs::remove_file(&self.path);
            let text = match e.kind() {
                ErrorKind::AlreadyExists => "something was put there meanwhile; name another place".into(),
                _ => e.to_string(),
            };
            return Err(Failure::from(e)).map_err(|e| Failure { text, ..e }.about(self.place.display()));
        }
        sync_folder(&self.place).about(quoted(&self.place.display().to_string()))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(on_stop) = self.on_stop.take() {
            let _ = fs::remove_file(&self.path);
            drop(on_stop);
        }
    }
}

/// Whether a file is the one at `path`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (opened, there) = (file.metadata()?, fs::symlink_metadata(path)?);
    Ok((opened.dev(), opened.ino()) == (there.dev(), there.ino()))
}

fn rename(from: &Path, to: &Path, replaces: bool) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if !replaces {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // This file system can't; the earlier content was looked at.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            renamed => return Ok(renamed?),
        }
    }
    fs::rename(from, to)
}

/// Makes a new or renamed file at `path` durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_name_that_is_too_long_is_an_error_of_the_system() {
        let folder = tempfile::tempdir().unwrap();
        let failure = Partial::clear(&folder.path().join("n".repeat(256)), true).unwrap_err();
        assert_eq!((failure.code, failure.text.contains("plain file")), (Code::Io, false), "{}", failure.text);
    }

    /// A pipe that comes between a look and an opening would be waited for for ever.
    #[test]
    fn what_changes_place_with_remains_is_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (file, pipe, place, next) = (at("file"), at("pipe"), at("a.luks.partial"), at("next"));
        fs::write(&file, "the remains").unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for kind in [&file, &pipe] {
                        fs::hard_link(kind, &next).unwrap();
                        fs::rename(&next, &place).unwrap();
                    }
                }
            });
            let (sender, cleared) = channel();
            let path = place.clone();
            // Not of this scope, which would wait for it.
            thread::spawn(move || {
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_secs(1) {
                    sender.send(Partial::clear(&path, true).map_err(|failure| failure.code)).unwrap();
                }
            });
            let mut seen = [0; 3];
            let ended = loop {
                match cleared.recv_timeout(Duration::from_secs(20)) {
                    Ok(Ok(())) => seen[0] += 1,
                    Ok(Err(Code::Usage)) => seen[1] += 1,
                    Ok(Err(_)) => seen[2] += 1,
                    Err(why) => break why,
                }
            };
            done.store(true, Ordering::Relaxed);
            assert_eq!(ended, std::sync::mpsc::RecvTimeoutError::Disconnected, "after {seen:?}");
            assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
        });
    }

    #[test]
    fn what_was_put_in_the_place_of_remains_is_told_from_them() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.luks.partial");
        fs::write(&place, "the remains").unwrap();
        let remains = File::open(&place).unwrap();
        assert!(is_at(&remains, &place).unwrap());
        fs::write(folder.path().join("other"), "somebody's").unwrap();
        fs::rename(folder.path().join("other"), &place).unwrap();
        assert!(!is_at(&remains, &place).unwrap());
        assert!(is_at(&remains, &folder.path().join("none")).is_err());
    }
}
