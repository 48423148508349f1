//! Prints a LUKS1 or LUKS2 header in the layout of `cryptsetup luksDump`, and the credentials that could open the
//! volume. None of it is proven: anyone who can write to the disk can write it.
//!
//! `cargo run --example luks_dump DEVICE [--header FILE]`

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use atrest::FileDevice;
use atrest::volume::Header;
use clap::Parser;

/// Shows what a LUKS header says, in the layout of `cryptsetup luksDump`, and which credentials could open the volume.
///
/// It takes no key and writes nothing. Nothing that a header says is proven: whoever can write to the disk can write it.
#[derive(Parser)]
#[command(after_help = "Examples:\n  cargo run --example luks_dump -- /dev/sdb2\n  \
    cargo run --example luks_dump -- disk.img --header disk.header")]
struct Args {
    /// The device, or the file with its image.
    device: PathBuf,
    /// The file that its header was detached to.
    #[arg(long, value_name = "FILE")]
    header: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let path = args.header.unwrap_or(args.device);
    let error = match dump(&path) {
        Err(e) => format!("{e:#}"),
        Ok(text) => match io::Write::write_all(&mut io::stdout(), text.as_bytes()) {
            // The reader of the pipe closed it, as `head` does. It has read enough.
            Err(e) if e.kind() != ErrorKind::BrokenPipe => format!("standard output: {e}"),
            _ => return ExitCode::SUCCESS,
        },
    };
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// The header of a device, or of the file with its detached header.
pub fn dump(path: &Path) -> Result<String, Box<dyn std::error::Error>> {
    // An error here names the path.
    let device = FileDevice::open_read_only(path)?;
    let header = Header::load(&device).map_err(|e| format!("{}: {e:#}", path.display()))?;
    Ok(header.describe(&path.to_string_lossy()))
}
