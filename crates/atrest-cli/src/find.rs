//! Looking for the volumes that are under a vault's keys: in folders, and on the block devices of this machine.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use atrest::volume::Header;
use atrest::{BlockDevice, Error, FileDevice};
use rustix::io::Errno;

use crate::devices;
use crate::failure::{About, Code, Failure, Result};

/// No header with a vault's token is smaller than two copies of 16 KiB. Most files of `/proc` and `/sys` say that they are smaller.
const SMALLEST: u64 = 32 << 10;

/// The result of a search.
#[derive(Default)]
pub struct Search {
    /// In order.
    pub volumes: Vec<Found>,
    /// Files and devices that name a key of the vault, or may do so, but aren't volumes to move: with the reason.
    pub passed_over: Vec<(PathBuf, String)>,
    /// Paths that could not be read.
    pub failed: Vec<(PathBuf, Failure)>,
    seen: HashSet<(u64, u64)>,
}

/// A volume that names a key of the vault.
pub struct Found {
    pub path: PathBuf,
    pub what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Volume,
    /// A header without its data, which has at least so many bytes.
    Header(u64),
    /// A volume with the name of a disk of `atrest fleet`.
    MaybeFleet,
}

/// Where the kernel shows its block devices.
struct Machine<'a> {
    sys: &'a Path,
    dev: &'a Path,
}

/// Looks through folders, files and devices; without any, at all block devices of this machine.
pub fn under(vault: &str, roots: &[PathBuf]) -> Result<Search> {
    let machine = Machine { sys: Path::new("/sys"), dev: Path::new("/dev") };
    let mut search = Search::default();
    for path in roots {
        search.walk(path, vault, &machine);
    }
    if roots.is_empty() {
        for path in machine.devices()? {
            match fs::metadata(&path) {
                Ok(found) => search.look(path, &found, false, vault, &machine),
                Err(e) => search.failed.push((path, e.into())),
            }
        }
        let hint = "run it as somebody who may read block devices, or name the devices and folders to look at";
        for (_, failure) in &mut search.failed {
            let text = std::mem::take(&mut failure.text);
            failure.text = format!("{text}; {hint}");
        }
    }
    search.volumes.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(search)
}

impl Search {
    /// These, without a look at them.
    pub fn named(paths: &[PathBuf]) -> Self {
        let volumes = paths.iter().map(|path| Found { path: path.clone(), what: What::Volume });
        Search { volumes: volumes.collect(), ..Search::default() }
    }

    fn walk(&mut self, root: &Path, vault: &str, machine: &Machine<'_>) {
        let mut next = vec![(root.to_owned(), true)];
        while let Some((path, is_named)) = next.pop() {
            let found = match fs::metadata(&path) {
                Ok(found) => found,
                // It has gone meanwhile, or is a link to nothing or to itself.
                Err(e) if !is_named && leads_nowhere(&e) => continue,
                Err(e) => {
                    self.failed.push((path, e.into()));
                    continue;
                }
            };
            let kind = found.file_type();
            if kind.is_dir() {
                // Links and mounts can lead round in a circle.
                if self.seen.insert((found.dev(), found.ino())) {
                    match entries(&path) {
                        Ok(entries) => next.extend(entries.into_iter().map(|path| (path, false))),
                        Err(e) => self.failed.push((path, e)),
                    }
                }
            } else if kind.is_file() || kind.is_block_device() {
                self.look(path, &found, is_named, vault, machine);
            } else if is_named {
                self.failed.push((path, Failure::usage("it is no file, block device or folder")));
            }
        }
    }

    /// Looks at a file or a block device.
    fn look(&mut self, path: PathBuf, found: &Metadata, is_named: bool, vault: &str, machine: &Machine<'_>) {
        let is_block = found.file_type().is_block_device();
        let identity = |found: &Metadata| if is_block { (u64::MAX, found.rdev()) } else { (found.dev(), found.ino()) };
        if !is_block && found.len() < SMALLEST || !self.seen.insert(identity(found)) {
            return;
        }
        match shown_by(&path, vault) {
            Ok(Shown::Nothing) => {}
            Ok(Shown::Unknown(why)) => self.passed_over.push((path, why)),
            Ok(Shown::Copy) => self.passed_over.push((
                path,
                "it is a copy of a header, and stays under its version; make it anew when the volume has moved".into(),
            )),
            Ok(Shown::Volume(what, uuid)) => {
                let above = if is_block && !is_named { machine.above(found.rdev(), &uuid) } else { None };
                match above {
                    // A part of a mirror or a path of several: the device above it shows the same volume, and keeps all parts
                    // alike.
                    Some(above) => {
                        if let Ok(found) = fs::metadata(&above) {
                            self.look(above, &found, false, vault, machine);
                        }
                    }
                    None => self.volumes.push(Found { path, what }),
                }
            }
            Err(e) => self.failed.push((path, e)),
        }
    }
}

fn leads_nowhere(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || Errno::from_io_error(error) == Some(Errno::LOOP)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A link to a volume is one; a link to a folder leads out of this one.
        let is_link = entry.file_type()?.is_symlink();
        if !(is_link && fs::metadata(entry.path()).is_ok_and(|found| found.is_dir())) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The content of a file or a block device, as far as it concerns the search.
enum Shown {
    /// Nothing of this vault.
    Nothing,
    /// A header that this program doesn't know.
    Unknown(String),
    Copy,
    /// A volume of this UUID.
    Volume(What, String),
}

fn shown_by(path: &Path, vault: &str) -> Result<Shown> {
    let device = match FileDevice::open_read_only(path) {
        // Its holder may be about to change it, but its kind can be read all the same.
        Err(Error::Busy { .. }) => FileDevice::from_file(File::open(path)?),
        // It has gone meanwhile.
        Err(Error::NotFound { .. }) => return Ok(Shown::Nothing),
        opened => opened?,
    };
    let header = match Header::load(&device) {
        Ok(header) => header,
        Err(Error::NotLuks { .. } | Error::DeviceTooSmall { .. }) => return Ok(Shown::Nothing),
        Err(e @ Error::UnsupportedHeader(_)) => return Ok(Shown::Unknown(e.to_string())),
        Err(e) => return Err(e.into()),
    };
    let names_it = |url: &str| url.strip_prefix(vault).is_some_and(|rest| rest.starts_with("/keys/"));
    if !header.tokens().iter().filter_map(|token| token.key_url.as_deref()).any(names_it) {
        return Ok(Shown::Nothing);
    }
    let (segments, len) = (header.segments(), devices::size_of(&device)?);
    // A detached header's data begins where the header itself would be.
    if segments.iter().any(|segment| segment.offset < header.size()) {
        let is_still = segments.len() == 1 && !header.requirements().iter().any(|name| name.contains("reencrypt"));
        let why = "its data is being encrypted, and lies elsewhere; name that by `atrest rotate DATA --header FILE`";
        return match is_still {
            true => Ok(Shown::Volume(What::Header(data_size(&header)), header.uuid().into())),
            false => Err(Failure::new(Code::Refused, why)),
        };
    }
    if segments.iter().all(|segment| segment.offset >= len) {
        return Ok(Shown::Copy);
    }
    let what = if fleet_id(path).is_some() { What::MaybeFleet } else { What::Volume };
    Ok(Shown::Volume(what, header.uuid().into()))
}

/// The least size of the data that a vault's token records.
fn data_size(header: &Header<'_>) -> u64 {
    let of =
        |json: &str| serde_json::from_str::<serde_json::Value>(json).ok()?.get("data_size")?.as_str()?.parse().ok();
    header
        .tokens()
        .iter()
        .filter(|token| token.key_url.is_some())
        .filter_map(|token| of(&token.json))
        .min()
        .unwrap_or(0)
}

/// The id of the disk of `atrest fleet` whose file has this name.
pub fn fleet_id(path: &Path) -> Option<&str> {
    let id = path.file_name()?.to_str()?.strip_suffix(".disk")?;
    let is_uuid = id.len() == 36
        && id.bytes().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    is_uuid.then_some(id)
}

impl Machine<'_> {
    /// All block devices that have room for a header.
    fn devices(&self) -> Result<Vec<PathBuf>> {
        let folder = self.sys.join("class/block");
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).about(folder.display())? {
            let entry = entry.about(folder.display())?;
            let sectors = fs::read_to_string(entry.path().join("size")).unwrap_or_default();
            // One without a medium, or a loop device without a file, has none.
            if sectors.trim().parse::<u64>().is_ok_and(|sectors| sectors >= SMALLEST / 512) {
                found.push(self.node(&entry.file_name()));
            }
        }
        found.sort();
        Ok(found)
    }

    /// The device of a name of the kernel's, which has `!` for `/`.
    fn node(&self, name: &std::ffi::OsStr) -> PathBuf {
        self.dev.join(name.to_string_lossy().replace('!', "/"))
    }

    /// The device that was made of this one and shows the same volume.
    fn above(&self, number: u64, uuid: &str) -> Option<PathBuf> {
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let holders = fs::read_dir(self.sys.join(format!("dev/block/{major}:{minor}/holders"))).ok()?;
        holders.flatten().map(|holder| self.node(&holder.file_name())).find(|above| {
            let device = File::open(above).map(FileDevice::from_file);
            device
                .is_ok_and(|device| Header::load(&device as &dyn BlockDevice).is_ok_and(|header| header.uuid() == uuid))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use atrest::volume::KeyslotOptions;
    use atrest::{FormatOptions, Protector, Volume, key::Kdf};

    use super::*;

    /// A machine with a mirror of two parts, an encrypted disk that is mapped, one without a medium, and one with a slash.
    #[test]
    fn the_devices_of_a_machine_are_found_and_parts_lead_to_what_is_above() {
        let folder = tempfile::tempdir().unwrap();
        let (sys, dev) = (folder.path().join("sys"), folder.path().join("dev"));
        fs::create_dir_all(dev.join("cciss")).unwrap();
        let sizes =
            [("sda", 65536), ("sdb", 65536), ("md0", 65536), ("sdc", 65536), ("dm-0", 32768), ("sr0", 0), ("fd0", 8)];
        for (name, sectors) in sizes.into_iter().chain([("cciss!c0d0", 65536)]) {
            fs::create_dir_all(sys.join("class/block").join(name)).unwrap();
            fs::write(sys.join("class/block").join(name).join("size"), format!("{sectors}\n")).unwrap();
        }
        let kdf = Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 };
        let format = FormatOptions::new().keyslot(KeyslotOptions::new().kdf(kdf));
        for name in ["md0", "sdc"] {
            let device = FileDevice::create(dev.join(name), 20 << 20).unwrap();
            drop(Volume::format(device, Protector::Passphrase(b"secret"), &format).unwrap());
        }
        fs::write(dev.join("dm-0"), vec![7; 1 << 20]).unwrap();
        for (number, holder) in [("8:0", "md0"), ("8:16", "md0"), ("8:32", "dm-0")] {
            let holders = sys.join(format!("dev/block/{number}/holders"));
            fs::create_dir_all(&holders).unwrap();
            symlink("../nowhere", holders.join(holder)).unwrap();
        }
        let machine = Machine { sys: &sys, dev: &dev };
        let found = ["cciss/c0d0", "dm-0", "md0", "sda", "sdb", "sdc"].map(|name| dev.join(name));
        assert_eq!(machine.devices().unwrap(), found);
        let uuid = |name: &str| {
            let device = FileDevice::open_read_only(dev.join(name)).unwrap();
            Header::load(&device).unwrap().uuid().to_owned()
        };
        let number = |minor| rustix::fs::makedev(8, minor);
        assert_eq!(machine.above(number(0), &uuid("md0")), Some(dev.join("md0")));
        assert_eq!(machine.above(number(16), &uuid("md0")), Some(dev.join("md0")));
        // The device above it is the plaintext.
        assert_eq!(machine.above(number(32), &uuid("sdc")), None);
        assert_eq!(machine.above(number(48), &uuid("sdc")), None);
    }

    #[test]
    fn a_fleets_disk_is_known_by_its_name() {
        let id = "8296d06a-ded0-43c1-9d92-69e7794634a1";
        assert_eq!(fleet_id(Path::new(&format!("/disks/{id}.disk"))), Some(id));
        for name in [id.to_owned(), "a.disk".into(), format!("x{id}.disk"), format!("{}_.disk", &id[1..])] {
            assert_eq!(fleet_id(Path::new(&name)), None, "{name}");
        }
    }
}
