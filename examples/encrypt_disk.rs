//! The main job on real input: a disk image goes onto an encrypted disk under a vault's key, and comes out again.
//!
//! `cargo run --release --example encrypt_disk [-- IMAGE]`

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atrest::managed::{
    DiskFolder, DiskService, FileVaults, LeasePolicy, NewDisk, NewSet, OpenDisk, Resource, ServiceOptions,
};
use atrest::vault::{FileVault, KeyOperation, Unlock, VaultOptions, VersionChange};
use atrest::{
    Credential, Dek, DekAlgorithm, EncryptionType, FileDevice, OpenOptions, SectorSize, SectorUnit, SystemClock,
    Volume, hazmat,
};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Encrypts a disk image under the key of a vault, and proves it.
#[derive(Parser)]
struct Args {
    /// The image to encrypt; it is only read. Without one, an ext4 file system with this project's files is made.
    image: Option<PathBuf>,
    /// The folder for the vault, the encrypted volume and what else is made; what an earlier run left there goes.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/encrypt_disk"))]
    dir: PathBuf,
}

const SECTOR: u64 = 512;
const CHUNK: usize = 4 << 20;

fn main() -> Result<()> {
    let args = Args::parse();
    let place = Place::prepare(&args.dir, args.image.as_deref())?;

    step(1, "A disk image to protect");
    let image = match args.image {
        Some(image) => image,
        None => make_image(&place)?,
    };
    // The end of a file, and also of a block device.
    let size = File::open(&image)?.seek(SeekFrom::End(0))?;
    if size == 0 {
        return Err(format!("{} is empty", image.display()).into());
    }
    say(&format!("{}, {}", image.display(), mib(size)));

    step(2, "A vault, and in it the key that protects the keys of disks (KEK)");
    FileVault::generate_key_file(&place.root_key)?;
    let options = VaultOptions::new().region("here").tenant("example").purge_protection(true);
    let vault = FileVault::create_with(&place.vault, Unlock::KeyFile(&place.root_key), &options)?;
    let first = vault.create_key("disks")?;
    say(&format!("vault    {}", place.vault.display()));
    say(&format!("key      {first}"));

    step(3, "A disk encryption set: it names the key, and the vault's owner grants its identity access");
    let service = open_service(&place, &vault)?;
    let set = service.create_set(&NewSet {
        name: "example".into(),
        region: "here".into(),
        subscription: "example".into(),
        tenant: "example".into(),
        encryption_type: EncryptionType::CustomerKey,
        key: first.clone(),
        auto_rotation: true,
    })?;
    vault.grant(&set.identity, &[KeyOperation::Get, KeyOperation::WrapKey, KeyOperation::UnwrapKey])?;
    say(&format!("identity {}", set.identity));

    step(4, "A disk of the set; its data key (DEK) is new, and stored only as the vault wrapped it");
    let disk = service.create_disk(&NewDisk {
        name: "disk".into(),
        region: "here".into(),
        subscription: "example".into(),
        size: size.next_multiple_of(SECTOR),
        sector_size: SECTOR as u32,
        set: Some("example".into()),
    })?;
    let file = place.disks.join(format!("{}.disk", disk.id));
    say(&format!("disk     {}", file.display()));
    say(&format!("engine   {}", engine_speed()?));

    step(5, "The image goes in");
    let took = copy_in(&image, &service.open_disk("disk")?, size)?;
    say(&format!("encrypted, written and synced {} in {:.2} s, {}", mib(size), took.as_secs_f64(), speed(size, took)));
    drop(service);

    step(6, "Closed and opened again through the vault; every byte is compared with the image");
    let service = open_service(&place, &vault)?;
    let took = verify(&image, &service.open_disk("disk")?, size)?;
    say(&format!("read, decrypted and compared {} in {:.2} s, {}", mib(size), took.as_secs_f64(), speed(size, took)));

    step(7, "The vault's key is rotated: the DEK is wrapped anew, no sector is touched");
    let second = vault.rotate_key("disks")?;
    let start = Instant::now();
    let rotation = service.rotate_set("example", &|_| {})?;
    say(&format!("version {} -> {} in {:.1} ms", first.version(), rotation.key.version(), millis(start)));
    assert_eq!((rotation.key, rotation.rewrapped), (second, 1));
    drop(service);

    step(8, "The old version is disabled, and the disk still opens");
    vault.set_version(&first, VersionChange::new().enabled(false))?;
    let service = open_service(&place, &vault)?;
    verify(&image, &service.open_disk("disk")?, size)?;
    say(&format!("opened with version {} alone; every byte is right", service.set("example")?.active_key.version()));
    drop(service);

    step(9, "The disk is a LUKS2 volume: any Linux machine opens it without this library, given its DEK");
    let volume = open_volume(&file, &disk, &vault)?;
    write_private(&place.dek, hazmat::dek_bytes(volume.dek()).expose())?;
    let bits = volume.dek().algorithm().key_len() * 8;
    drop(volume);
    let key = ["--volume-key-file", &quoted(&place.dek), "--key-size", &bits.to_string(), &quoted(&file)].join(" ");
    say(&format!("sudo cryptsetup open {key} secret"));
    match cryptsetup_agrees(&place, &file, bits) {
        Some(true) => say("checked here: cryptsetup says that the key is right"),
        Some(false) => return Err("cryptsetup does not accept the volume".into()),
        None => say("(not checked: cryptsetup is not installed here)"),
    }

    println!("\nAll of it is in {}. The file disk.dek is the key itself: delete it when done.", place.dir.display());
    Ok(())
}

/// The files of this run.
struct Place {
    dir: PathBuf,
    image: PathBuf,
    root_key: PathBuf,
    vault: PathBuf,
    store: PathBuf,
    disks: PathBuf,
    dek: PathBuf,
}

impl Place {
    /// Makes the folder and removes what an earlier run made, by name.
    fn prepare(dir: &Path, image: Option<&Path>) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        if image.is_some_and(|image| image.canonicalize().is_ok_and(|image| image.starts_with(&dir))) {
            return Err(
                format!("the image is in {}, which this program clears; copy it elsewhere", dir.display()).into()
            );
        }
        for name in [
            "disk.img",
            "root.key",
            "keys.vault",
            "keys.vault.bak",
            "keys.vault.lock",
            "keys.vault.audit",
            "fleet.redb",
            "disk.dek",
        ] {
            match fs::remove_file(dir.join(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            }
        }
        let file = |name| dir.join(name);
        if file("disks").exists() {
            fs::remove_dir_all(file("disks"))?;
        }
        fs::create_dir(file("disks"))?;
        Ok(Place {
            image: file("disk.img"),
            root_key: file("root.key"),
            vault: file("keys.vault"),
            store: file("fleet.redb"),
            disks: file("disks"),
            dek: file("disk.dek"),
            dir,
        })
    }
}

/// An ext4 file system that holds this project's files; without `mke2fs`, an archive of them.
fn make_image(place: &Place) -> Result<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = place.dir.join("files");
    if files.exists() {
        fs::remove_dir_all(&files)?;
    }
    fs::create_dir(&files)?;
    for name in ["Cargo.toml", "Cargo.lock", "README.md", "src", "include", "docs", "examples", "tests"] {
        copy_tree(&project.join(name), &files.join(name))?;
    }
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-L", "project", "-d"])
        .args([&files, &place.image])
        .arg("256M")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if made.is_ok_and(|status| status.success()) {
        say("made an ext4 file system with this project's files in it");
    } else {
        let mut archive = tar::Builder::new(File::create(&place.image)?);
        archive.append_dir_all(".", &files)?;
        archive.finish()?;
        say("packed this project's files into an archive (mke2fs is not installed, so no file system)");
    }
    fs::remove_dir_all(&files)?;
    Ok(place.image.clone())
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        return if from.exists() { fs::copy(from, to).map(|_| ()) } else { Ok(()) };
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The service that keeps disks. Here one vault holds the customer's key and the platform's, which no disk is under.
fn open_service(place: &Place, vault: &FileVault) -> Result<DiskService> {
    let vaults = FileVaults::new();
    vaults.add(vault.clone())?;
    let options = ServiceOptions {
        backend: Arc::new(DiskFolder::new(&place.disks)),
        vaults: Arc::new(vaults),
        platform: Arc::new(vault.clone()),
        platform_key: "disks".into(),
        clock: Arc::new(SystemClock),
        lease: LeasePolicy::default(),
        parallel: 4,
        rotation_interval: Duration::from_secs(900),
        require_locked_memory: false,
    };
    Ok(DiskService::open(&place.store, options)?)
}

/// The disk without the service: the volume that it is.
fn open_volume(file: &Path, disk: &Resource, vault: &FileVault) -> Result<Volume<FileDevice>> {
    let options = OpenOptions::new().context(disk.id.as_bytes());
    Ok(Volume::open(FileDevice::open(file)?, Credential::Vault(vault), &options)?)
}

/// Copies the image in; its last sector is padded with zeros.
fn copy_in(image: &Path, disk: &OpenDisk, size: u64) -> Result<Duration> {
    let start = Instant::now();
    for_chunks(image, size, "writing", |offset, plaintext| Ok(disk.write_at(offset, plaintext)?))?;
    disk.sync()?;
    Ok(start.elapsed())
}

/// Compares all of the disk with the image.
fn verify(image: &Path, disk: &OpenDisk, size: u64) -> Result<Duration> {
    let start = Instant::now();
    let mut decrypted = vec![0; CHUNK];
    for_chunks(image, size, "comparing", |offset, plaintext| {
        let decrypted = &mut decrypted[..plaintext.len()];
        disk.read_at(offset, decrypted)?;
        if decrypted == plaintext { Ok(()) } else { Err(format!("the bytes from {offset} on differ").into()) }
    })?;
    Ok(start.elapsed())
}

/// Calls `work` with every chunk of the image, padded to a whole number of sectors, behind a progress bar.
fn for_chunks(
    image: &Path,
    size: u64,
    what: &'static str,
    mut work: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let style = ProgressStyle::with_template("   {msg:9} {bar:40} {bytes}/{total_bytes} {bytes_per_sec}")?;
    let bar = ProgressBar::new(size).with_style(style).with_message(what);
    let mut file = File::open(image)?;
    let mut chunk = vec![0; CHUNK];
    for offset in (0..size).step_by(CHUNK) {
        let len = (size - offset).min(CHUNK as u64) as usize;
        let padded = len.next_multiple_of(SECTOR as usize);
        file.read_exact(&mut chunk[..len])?;
        chunk[len..padded].fill(0);
        work(offset, &chunk[..padded])?;
        bar.inc(len as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Which kernel the sector engine has here, and how fast it is alone.
fn engine_speed() -> Result<String> {
    let cipher = Dek::generate(DekAlgorithm::Aes256Xts)?.sector_cipher(SectorSize::B512, SectorUnit::Bytes512)?;
    let mut sectors = vec![0; 256 << 10];
    // The best of many passes: what else the machine does shows least in it.
    let len = sectors.len() as f64;
    let pass = || {
        let start = Instant::now();
        cipher.encrypt(0, &mut sectors).map(|()| start.elapsed())
    };
    let best = std::iter::repeat_with(pass).take(500).collect::<Result<Vec<_>, _>>()?.into_iter().min();
    let speed = best.map_or(0.0, |best| len / best.as_secs_f64() / f64::from(1 << 30));
    Ok(format!("{}, {speed:.1} GiB/s in memory on one core", cipher.kernel().name()))
}

fn cryptsetup_agrees(place: &Place, file: &Path, bits: usize) -> Option<bool> {
    let mut command = Command::new("cryptsetup");
    command.args(["open", "--test-passphrase", "--key-size", &bits.to_string(), "--volume-key-file"]);
    let status = command.args([&*place.dek, file]).stdin(Stdio::null()).status().ok()?;
    Some(status.success())
}

/// A path as a shell wants it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    if plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    io::Write::write_all(&mut options.open(path)?, bytes)
}

fn step(number: u32, title: &str) {
    println!("\n{number}. {title}");
}

fn say(line: &str) {
    println!("   {line}");
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn speed(bytes: u64, took: Duration) -> String {
    format!("{:.0} MiB/s", bytes as f64 / f64::from(1 << 20) / took.as_secs_f64())
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
