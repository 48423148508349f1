//! The main use on real input: encrypts a disk image to a disk under a vault's key, and reads it back.
//!
//! `cargo run --release --example encrypt_disk [-- IMAGE]`

mod folder;
mod image;

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use atrest::managed::{DiskFolder, DiskService, KnownVaults, NewDisk, NewSet, OpenDisk, Resource, ServiceOptions};
use atrest::vault::{FileVault, KeyOperation, Unlock, VaultOptions, VersionChange};
use atrest::{
    Credential, Dek, DekAlgorithm, EncryptionType, FileDevice, OpenOptions, SectorSize, SectorUnit, Volume, hazmat,
};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use folder::Folder;
use image::Image;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Encrypts a disk image under the key of a vault, and proves it: every byte is read back and compared, and the key is
/// rotated.
///
/// The image is only read. The vault, the encrypted disk and its keys go into a folder, in place of what an earlier run made
/// there; a folder that holds anything else is left alone, and so is the earlier result if this run fails.
#[derive(Parser)]
#[command(after_help = "Example:\n  cargo run --release --example encrypt_disk -- --dir encrypted disk.img")]
struct Args {
    /// The image to encrypt: the raw bytes of a disk, in a file or a block device. Without one, an ext4 file system with this
    /// project's files is made.
    image: Option<PathBuf>,
    /// The folder for the vault, the encrypted disk and what else is made.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/encrypt_disk"))]
    dir: PathBuf,
}

const SECTOR: u64 = 512;
const CHUNK: usize = 4 << 20;

/// Set by Ctrl-C.
static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

fn main() -> ExitCode {
    let args = Args::parse();
    match stop_when_interrupted().and_then(|()| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // The reader of the pipe closed it, as `head` does. It wants no more output.
            let closed = e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe);
            if !closed {
                eprintln!("error: {e:#}");
            }
            if INTERRUPTED.load(Ordering::Relaxed) { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}

/// Makes Ctrl-C end the program where it can still remove its files; a second Ctrl-C ends it at once.
fn stop_when_interrupted() -> Result<()> {
    for &signal in signal_hook::consts::TERM_SIGNALS {
        signal_hook::flag::register_conditional_shutdown(signal, 130, INTERRUPTED.clone())?;
        signal_hook::flag::register(signal, INTERRUPTED.clone())?;
    }
    Ok(())
}

fn run(args: &Args) -> Result<()> {
    let image = args.image.as_deref().map(Image::open).transpose()?;
    let folder = Folder::begin(&args.dir)?;
    if let Some(image) = &image {
        let path = image.path.canonicalize().context(|| image.path.display())?;
        if path.starts_with(&folder.result) {
            return Err(format!("{}: it is in the folder that is replaced; copy it elsewhere", path.display()).into());
        }
    }
    let place = Place::of(&folder);
    encrypt(&place, image)?;
    unless_interrupted()?;
    folder.finish()?;
    let dir = place.result.display();
    print(&format!("\nAll of it is in {dir}. The file disk.dek is the key itself: delete it when done."))
}

fn encrypt(place: &Place, image: Option<Image>) -> Result<()> {
    step(1, "A disk image to protect")?;
    let image = image.map_or_else(|| Image::make(&place.dir), Ok)?;
    let size = image.size;
    fs::create_dir(&place.disks).context(|| place.disks.display())?;
    say(&format!("{}, {}", place.shown(&image.path).display(), mib(size)))?;

    step(2, "A vault, and in it the key that protects the keys of disks (KEK)")?;
    FileVault::generate_key_file(&place.root_key)?;
    let options = VaultOptions::new().region("here").tenant("example").purge_protection(true);
    let vault = FileVault::create_with(&place.vault, Unlock::KeyFile(&place.root_key), &options)?;
    let first = vault.create_key("disks")?;
    say(&format!("vault    {}", place.shown(&place.vault).display()))?;
    say(&format!("key      {first}"))?;

    step(3, "A disk encryption set: it names the key, and the vault's owner grants its identity access")?;
    let service = open_service(place, &vault)?;
    let set = service.create_set(
        &NewSet::new("example", first.clone())
            .region("here")
            .subscription("example")
            .tenant("example")
            .encryption_type(EncryptionType::CustomerKey)
            .auto_rotation(true),
    )?;
    vault.grant(&set.identity, &[KeyOperation::Get, KeyOperation::WrapKey, KeyOperation::UnwrapKey])?;
    say(&format!("identity {}", set.identity))?;

    step(4, "A disk of the set; its data key (DEK) is new, and stored only as the vault wrapped it")?;
    let disk = service.create_disk(
        &NewDisk::new("disk", size.next_multiple_of(SECTOR))
            .region("here")
            .subscription("example")
            .sector_size(SECTOR as u32)
            .encryption_set("example"),
    )?;
    let file = place.disks.join(format!("{}.disk", disk.id));
    say(&format!("disk     {}", place.shown(&file).display()))?;
    say(&format!("engine   {}", engine_speed()?))?;

    step(5, "The image goes in")?;
    let took = copy_in(&image, &service.open_disk("disk")?).map_err(|e| format!("{}: {e:#}", file.display()))?;
    say(&format!("encrypted, written and synced {} in {:.2} s, {}", mib(size), took.as_secs_f64(), speed(size, took)))?;
    drop(service);

    step(6, "Closed and opened again through the vault; every byte is compared with the image")?;
    let service = open_service(place, &vault)?;
    let took = verify(&image, &service.open_disk("disk")?)?;
    say(&format!("read, decrypted and compared {} in {:.2} s, {}", mib(size), took.as_secs_f64(), speed(size, took)))?;

    step(7, "The vault's key is rotated: the DEK is wrapped anew, no sector is touched")?;
    let second = vault.rotate_key("disks")?;
    let start = Instant::now();
    let rotation = service.rotate_set("example", &|_| {})?;
    say(&format!("version {} -> {} in {:.1} ms", first.version(), rotation.key.version(), millis(start)))?;
    assert_eq!((rotation.key, rotation.rewrapped), (second, 1));
    drop(service);

    step(8, "The old version is disabled, and the disk still opens")?;
    vault.set_version(&first, VersionChange::new().enabled(false))?;
    let service = open_service(place, &vault)?;
    verify(&image, &service.open_disk("disk")?)?;
    say(&format!(
        "opened with version {} alone; every byte is right",
        service.encryption_set("example")?.active_key.version()
    ))?;
    drop(service);

    step(9, "The disk is a LUKS2 volume: any Linux machine opens it without this library, given its DEK")?;
    let volume = open_volume(&file, &disk, &vault)?;
    write_private(&place.dek, hazmat::dek_bytes(&volume.dek()).expose()).context(|| place.dek.display())?;
    let bits = volume.dek().algorithm().key_len() * 8;
    drop(volume);
    let (dek, disk) = (quoted(&place.shown(&place.dek)), quoted(&place.shown(&file)));
    say(&format!("sudo cryptsetup open --volume-key-file {dek} --key-size {bits} {disk} secret"))?;
    match cryptsetup_agrees(place, &file, bits) {
        Some(true) => say("checked here: cryptsetup says that the key is right"),
        Some(false) => Err(format!("{}: cryptsetup does not accept the volume", file.display()).into()),
        None => say("(not checked: cryptsetup is not installed here)"),
    }
}

/// The files of this run: the folder where they are made, and the final folder that is shown.
struct Place {
    result: PathBuf,
    dir: PathBuf,
    root_key: PathBuf,
    vault: PathBuf,
    store: PathBuf,
    disks: PathBuf,
    dek: PathBuf,
}

impl Place {
    fn of(folder: &Folder) -> Self {
        let file = |name| folder.partial.join(name);
        Place {
            result: folder.result.clone(),
            dir: folder.partial.clone(),
            root_key: file("root.key"),
            vault: file("keys.vault"),
            store: file("fleet.redb"),
            disks: file("disks"),
            dek: file("disk.dek"),
        }
    }

    /// The final path of a file.
    fn shown(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.dir).map_or_else(|_| path.to_owned(), |name| self.result.join(name))
    }
}

/// The service that keeps disks. Here one vault holds the customer's key and also the platform's, which no disk uses.
fn open_service(place: &Place, vault: &FileVault) -> Result<DiskService> {
    let vaults = KnownVaults::new();
    vaults.add_file(vault.clone())?;
    let options = ServiceOptions::new(
        Arc::new(DiskFolder::new(&place.disks)),
        Arc::new(vaults),
        Arc::new(vault.clone()),
        "disks",
    )
    .parallel(4)
    .rotation_interval(Duration::from_secs(900));
    Ok(DiskService::open(&place.store, options)?)
}

/// The disk without the service: the volume itself.
fn open_volume(file: &Path, disk: &Resource, vault: &FileVault) -> Result<Volume<FileDevice>> {
    let options = OpenOptions::new().context(disk.id.as_bytes());
    Ok(Volume::open(FileDevice::open(file)?, Credential::Vault(vault), &options)?)
}

/// Copies the image in; its last sector is padded with zeros.
fn copy_in(image: &Image, disk: &OpenDisk) -> Result<Duration> {
    let start = Instant::now();
    for_chunks(image, "writing", |offset, plaintext| Ok(disk.write_at(offset, plaintext)?))?;
    disk.sync()?;
    Ok(start.elapsed())
}

/// Compares the whole disk with the image.
fn verify(image: &Image, disk: &OpenDisk) -> Result<Duration> {
    let start = Instant::now();
    let mut decrypted = vec![0; CHUNK];
    for_chunks(image, "comparing", |offset, plaintext| {
        let decrypted = &mut decrypted[..plaintext.len()];
        disk.read_at(offset, decrypted)?;
        if decrypted == plaintext {
            return Ok(());
        }
        Err(format!("{}: it and its encrypted copy differ from byte {offset} on", image.path.display()).into())
    })?;
    Ok(start.elapsed())
}

/// Calls `work` with every chunk of the image, padded to a whole number of sectors, behind a progress bar.
fn for_chunks(image: &Image, what: &'static str, mut work: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
    let style = ProgressStyle::with_template("   {msg:9} {bar:40} {bytes}/{total_bytes} {bytes_per_sec}")?;
    let bar = ProgressBar::new(image.size).with_style(style).with_message(what);
    let mut chunk = vec![0; CHUNK];
    for offset in (0..image.size).step_by(CHUNK) {
        unless_interrupted()?;
        let len = (image.size - offset).min(CHUNK as u64) as usize;
        let padded = len.next_multiple_of(SECTOR as usize);
        image.read_at(offset, &mut chunk[..len])?;
        chunk[len..padded].fill(0);
        work(offset, &chunk[..padded])?;
        bar.inc(len as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

/// The kernel of the sector engine here, and its speed alone.
fn engine_speed() -> Result<String> {
    let cipher = Dek::generate(DekAlgorithm::Aes256Xts)?.sector_cipher(SectorSize::B512, SectorUnit::Bytes512)?;
    let mut sectors = vec![0; 256 << 10];
    let len = sectors.len() as f64;
    // The best of many passes shows the machine's other activity least.
    let mut best: Option<Duration> = None;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(100) {
        let pass = Instant::now();
        cipher.encrypt(0, &mut sectors)?;
        best = Some(best.map_or(pass.elapsed(), |best| best.min(pass.elapsed())));
    }
    let speed = best.map_or(0.0, |best| len / best.as_secs_f64() / f64::from(1 << 30));
    Ok(format!("{}, {speed:.1} GiB/s in memory on one core", cipher.kernel().name()))
}

fn cryptsetup_agrees(place: &Place, file: &Path, bits: usize) -> Option<bool> {
    let mut command = Command::new("cryptsetup");
    command.args(["open", "--test-passphrase", "--key-size", &bits.to_string(), "--volume-key-file"]);
    let status = command.args([&*place.dek, file]).stdin(Stdio::null()).status().ok()?;
    Some(status.success())
}

/// A path quoted for a shell.
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

fn step(number: u32, title: &str) -> Result<()> {
    unless_interrupted()?;
    print(&format!("\n{number}. {title}"))
}

fn say(line: &str) -> Result<()> {
    print(&format!("   {line}"))
}

/// `println!` panics if the reader has closed the pipe.
fn print(line: &str) -> Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Err(e.into()),
        printed => printed.context(|| "standard output"),
    }
}

fn unless_interrupted() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        Err("interrupted; what an earlier run made is as it was".into())
    } else {
        Ok(())
    }
}

/// Adds the subject of an operation to its error.
trait Context<T> {
    fn context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| format!("{}: {e}", what()).into())
    }
}

impl<T> Context<T> for atrest::Result<T> {
    fn context<D: Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| format!("{}: {e:#}", what()).into())
    }
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
