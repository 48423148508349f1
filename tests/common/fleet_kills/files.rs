//! Disks in files that keep nobody out, and tell who opens and writes them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use atrest::managed::DiskBackend;
use atrest::{BlockDevice, Error, Result};

use super::uptime;

/// Where what this process does is told: its standard output, or what the judge has set.
pub static TOLD: OnceLock<File> = OnceLock::new();

/// Tells something. A pipe keeps such a short line whole, and in order.
pub fn tell(line: &str) {
    let told = TOLD.get_or_init(|| File::from(io::stdout().as_fd().try_clone_to_owned().unwrap()));
    // The test's own output may stand before it.
    let line = format!("\n@{line}\n");
    assert_eq!((&*told).write(line.as_bytes()).unwrap(), line.len());
}

pub struct Files {
    folder: PathBuf,
    run: String,
}

struct Device {
    file: File,
    id: String,
    run: String,
}

impl Files {
    pub fn new(folder: PathBuf, run: &str) -> Self {
        Files { folder, run: run.into() }
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }

    fn device(&self, id: &str, options: &OpenOptions) -> Result<Device> {
        tell(&format!("open {} {id} {}", self.run, uptime()));
        let failed = |source| Error::Io { what: format!("opening the device {id}"), source };
        let file = options.open(self.path(id)).map_err(failed)?;
        Ok(Device { file, id: id.into(), run: self.run.clone() })
    }
}

impl DiskBackend for Files {
    fn create(&self, _: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        let device = self.device(id, OpenOptions::new().read(true).write(true).create_new(true))?;
        device.set_size(size).map_err(|source| Error::Io { what: format!("making the device {id}"), source })?;
        Ok(Arc::new(device))
    }

    fn open(&self, _: &str, id: &str) -> Result<Arc<dyn BlockDevice>> {
        Ok(Arc::new(self.device(id, OpenOptions::new().read(true).write(true))?))
    }

    fn remove(&self, _: &str, id: &str) -> Result<()> {
        match std::fs::remove_file(self.path(id)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::Io { what: format!("removing the device {id}"), source })
            }
            _ => Ok(()),
        }
    }

    fn list(&self, _: &str) -> Result<Vec<String>> {
        let failed = |source| Error::Io { what: "listing the devices".into(), source };
        let entries = std::fs::read_dir(&self.folder).map_err(failed)?;
        entries.map(|entry| Ok(entry.map_err(failed)?.file_name().into_string().unwrap())).collect()
    }
}

impl Device {
    fn write(&self, act: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        let began = uptime();
        tell(&format!("write {} {} {began}", self.run, self.id));
        act(&self.file)?;
        tell(&format!("wrote {} {} {began}", self.run, self.id));
        Ok(())
    }
}

impl BlockDevice for Device {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(|file| file.write_all_at(bytes, offset))
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.write(|file| file.set_len(size))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
