//! The image to encrypt: opened and checked before anything is made, or made here.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Context, Result, say};

pub struct Image {
    pub path: PathBuf,
    pub size: u64,
    file: File,
}

/// The first bytes of disk containers, and their names in `qemu-img`. Their bytes are not a raw disk.
const CONTAINERS: [(&[u8], &str); 5] = [
    (b"QFI\xfb", "qcow2"),
    (b"vhdxfile", "VHDX"),
    (b"KDMV", "VMDK"),
    (b"# Disk DescriptorFile", "VMDK"),
    (b"conectix", "VHD"),
];

impl Image {
    /// Opens a raw image, or a block device.
    pub fn open(path: &Path) -> Result<Self> {
        let context = || path.display();
        // Check first, because opening a FIFO waits for a writer.
        let kind = fs::metadata(path).context(context)?.file_type();
        let refuse = |what: &str| Err(format!("{}: {what}", path.display()).into());
        if kind.is_dir() {
            return refuse("it is a folder, and an image is a file or a block device");
        }
        if !kind.is_file() && !is_block_device(&kind) {
            return refuse("it is a pipe, a socket or a terminal, and an image is a file or a block device");
        }
        let mut file = File::open(path).context(context)?;
        let mut start = Vec::new();
        (&mut file).take(64).read_to_end(&mut start).context(context)?;
        // Seeking to the end gives the size of a block device too.
        let size = file.seek(SeekFrom::End(0)).context(context)?;
        if size == 0 {
            return refuse("it is empty; there is nothing to encrypt");
        }
        if let Some((_, name)) = CONTAINERS.iter().find(|(magic, _)| start.starts_with(magic)) {
            return refuse(&format!(
                "it is a {name} image, and only the raw bytes of a disk are encrypted as one; make such an image by \
                 `qemu-img convert -O raw {} OUT`",
                crate::quoted(path)
            ));
        }
        Ok(Image { path: path.to_owned(), size, file })
    }

    /// An ext4 file system with this project's files; without `mke2fs`, an archive of them.
    pub fn make(folder: &Path) -> Result<Self> {
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (path, files) = (folder.join("disk.img"), folder.join("files"));
        fs::create_dir(&files).context(|| files.display())?;
        for name in ["Cargo.toml", "Cargo.lock", "README.md", "src", "include", "docs", "examples", "tests"] {
            copy_tree(&project.join(name), &files.join(name))?;
        }
        let made = Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-L", "project", "-d"])
            .args([&files, &path])
            .arg("256M")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if made.is_ok_and(|status| status.success()) {
            say("made an ext4 file system with this project's files in it")?;
        } else {
            pack(&files, &path).context(|| path.display())?;
            say("packed this project's files into an archive (mke2fs made no file system here)")?;
        }
        fs::remove_dir_all(&files).context(|| files.display())?;
        Image::open(&path)
    }

    /// Reads a whole part.
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let mut file = &self.file;
        let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(bytes));
        match read {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                Err(format!("{}: it became shorter while it was read", self.path.display()).into())
            }
            read => read.context(|| self.path.display()),
        }
    }
}

fn pack(files: &Path, path: &Path) -> io::Result<()> {
    let mut archive = tar::Builder::new(File::create(path)?);
    archive.append_dir_all(".", files)?;
    archive.finish()
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        return if from.exists() { fs::copy(from, to).map(|_| ()).context(|| to.display()) } else { Ok(()) };
    }
    fs::create_dir(to).context(|| to.display())?;
    for entry in fs::read_dir(from).context(|| from.display())? {
        let entry = entry.context(|| from.display())?;
        copy_tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(unix)]
fn is_block_device(kind: &fs::FileType) -> bool {
    std::os::unix::fs::FileTypeExt::is_block_device(kind)
}

#[cfg(not(unix))]
fn is_block_device(_: &fs::FileType) -> bool {
    false
}
