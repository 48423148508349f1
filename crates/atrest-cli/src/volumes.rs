//! Opening volumes, as the arguments say.

use atrest::cipher::CipherSpec;
use atrest::key::HashAlgorithm;
use atrest::volume::{Header, PlainOptions};
use atrest::{DekAlgorithm, Error, Fingerprint, OpenOptions, SectorSize, Volume, hazmat};
use clap::Args;

#[cfg(feature = "kms")]
use crate::ade::AdeArgs;
use crate::confirm::confirm;
use crate::credentials::{CredentialArgs, Opener};
use crate::devices::{self, Access, Device};
use crate::failure::{About, Code, Failure, Result};
use crate::output::note;
use crate::secrets;
use crate::units::parse_size;

/// How often the terminal asks for a passphrase.
const TRIES: u32 = 3;

/// A volume to be opened.
#[derive(Debug, Args)]
pub struct VolumeArgs {
    /// The device or image: a path, or the nbd:// or nbd+unix:// URL of an export
    pub device: String,
    #[command(flatten)]
    pub credential: CredentialArgs,
    #[command(flatten)]
    pub expect: ExpectArgs,
}

/// The expectations of a volume, and the place of its header.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which volume it is")]
pub struct ExpectArgs {
    /// The file of a detached header
    #[arg(long, value_name = "FILE")]
    pub header: Option<String>,
    /// The context that the volume is bound to; another volume is refused
    #[arg(long, value_name = "TEXT")]
    context: Option<String>,
    /// The fingerprint of its data key, from when it was made; another volume is refused
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
    /// The name of the vault's key that must protect it; another volume is refused
    #[arg(long, value_name = "NAME")]
    expect_key: Option<String>,
    /// The only keyslot to try
    #[arg(long, value_name = "NUMBER")]
    keyslot: Option<u32>,
    /// Opens a volume that no token of a vault proves, as after another program has re-encrypted it
    #[arg(long)]
    ignore_tokens: bool,
}

impl ExpectArgs {
    /// The options for opening it.
    pub fn options(&self, access: Access) -> Result<OpenOptions> {
        let mut options = OpenOptions::new().read_only(access == Access::Read).hazmat_ignore_tokens(self.ignore_tokens);
        if let Some(header) = &self.header {
            options = options.header(devices::open(header, access)?);
        }
        if let Some(context) = &self.context {
            options = options.context(context.as_bytes());
        }
        if let Some(text) = &self.fingerprint {
            options = options.expect(parse_fingerprint(text)?);
        }
        if let Some(name) = &self.expect_key {
            options = options.expect_key(name);
        }
        if let Some(id) = self.keyslot {
            options = options.keyslot(id);
        }
        Ok(options)
    }

    /// Why it doesn't open.
    fn failure(&self, error: Error) -> Failure {
        match (&error, self.keyslot) {
            (Error::NoSuchProtector(_), Some(_)) => Failure {
                code: Code::NotFound,
                ..Failure::from(error).hint("`atrest protector ls` lists what there is")
            },
            _ => error.into(),
        }
    }
}

/// A volume of any device.
pub type AnyVolume = Volume<Device>;

impl ExpectArgs {
    /// Refuses expectations that only a header can prove. The fingerprint of the key is known without one.
    fn check_plain(&self) -> Result<()> {
        let given = [
            ("--header", self.header.is_some()),
            ("--context", self.context.is_some()),
            ("--expect-key", self.expect_key.is_some()),
            ("--keyslot", self.keyslot.is_some()),
            ("--ignore-tokens", self.ignore_tokens),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) => Err(Failure::usage(format!(
                "data without a header has nothing that {name} could be about: leave it out, or --plain; --fingerprint proves \
                 the key"
            ))),
            None => Ok(()),
        }
    }
}

impl VolumeArgs {
    /// Refuses options for which data without a header has no place, before anything is asked for or opened.
    fn check_plain(&self) -> Result<()> {
        self.expect.check_plain()?;
        self.credential.check_plain()
    }

    /// Opens the volume, or the data without a header.
    pub fn open_or_plain(
        &self,
        plain: &PlainArgs,
        access: Access,
        discard: bool,
        more: impl Fn(OpenOptions) -> OpenOptions,
    ) -> Result<AnyVolume> {
        if plain.plain {
            return plain.open(self, access, discard);
        }
        self.open_with(access, |open| more(open).discard(discard)).map(|(volume, _)| volume)
    }

    pub fn open(&self, access: Access) -> Result<(AnyVolume, Opener)> {
        self.open_with(access, |options| options)
    }

    /// Opens the volume, with more options. The terminal is asked again where a passphrase was wrong.
    pub fn open_with(&self, access: Access, more: impl Fn(OpenOptions) -> OpenOptions) -> Result<(AnyVolume, Opener)> {
        // Before the device is held for writing.
        let of_azure = self.of_azure()?;
        self.open_by(of_azure, self.credential.asks(), access, more)
    }

    /// Opens the volume by `given`, or else by the credential of the arguments, which is asked for again if the
    /// terminal `asks`.
    fn open_by(
        &self,
        mut given: Option<Opener>,
        asks: bool,
        access: Access,
        more: impl Fn(OpenOptions) -> OpenOptions,
    ) -> Result<(AnyVolume, Opener)> {
        // Before anybody is asked for a passphrase.
        let device = devices::open(&self.device, access)?;
        let options = more(self.expect.options(access)?);
        if self.expect.header.is_none() {
            Header::load(&device).about(&self.device)?;
        }
        let mut tries = if asks { TRIES } else { 1 };
        loop {
            let opener = given.take().map_or_else(|| self.credential.opener(&self.device), Ok)?;
            tries -= 1;
            let opened = Volume::open(device.clone(), opener.credential()?, &options);
            match opened.map_err(|e| self.expect.failure(e)).about(&self.device) {
                Err(e) if e.wrong_passphrase && tries > 0 => note(format_args!("{e}")),
                Err(e) => return Err(e),
                Ok(volume) => {
                    warn_of(&volume, &self.device);
                    return Ok((volume, opener));
                }
            }
        }
    }
}

#[cfg(feature = "kms")]
impl VolumeArgs {
    /// Opens the volume by the credential that was given beside the place of a future passphrase of Azure Disk
    /// Encryption.
    pub fn open_beside_ade(&self, access: Access) -> Result<(AnyVolume, &AdeArgs)> {
        let ade = self.credential.ade_to_be();
        if !ade.is_given() {
            return Err(Failure::usage("say where the passphrase or startup key will be: --secret URL or --token"));
        }
        let (volume, _) = self.open_by(None, self.credential.asks_besides(), access, |options| options)?;
        Ok((volume, ade))
    }

    /// The credential of a disk of Azure Disk Encryption, if its place was given.
    fn of_azure(&self) -> Result<Option<Opener>> {
        let Some(ade) = self.credential.ade()? else { return Ok(None) };
        let mut disk = atrest_ade::Disk::new(devices::open(&self.device, Access::Read)?);
        if let Some(header) = &self.expect.header {
            disk = disk.header(devices::open(header, Access::Read)?);
        }
        let found = ade.ask(|source, vaults| atrest_ade::credential(&disk, source, vaults).about(&self.device));
        found.map(Opener::Azure).map(Some)
    }
}

#[cfg(not(feature = "kms"))]
impl VolumeArgs {
    fn of_azure(&self) -> Result<Option<Opener>> {
        Ok(None)
    }
}

/// Warns of a cipher that protects less than it seems to.
fn warn_of(volume: &AnyVolume, device: &str) {
    let cipher = volume.cipher();
    if let Some(weakness) = cipher.weakness() {
        note(format_args!("warning: {device} is encrypted with {}: {weakness}", cipher.name()));
    }
}

fn parse_fingerprint(text: &str) -> Result<Fingerprint> {
    let bytes: Option<Vec<u8>> = text
        .is_ascii()
        .then(|| {
            text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
        })
        .flatten();
    let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.map(Fingerprint::from_bytes).ok_or_else(|| Failure::usage("a fingerprint is 64 hexadecimal digits"))
}

/// A fingerprint, as text.
pub fn fingerprint(of: Fingerprint) -> String {
    of.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn sector_size(bytes: u32) -> Result<SectorSize> {
    match bytes {
        512 | 1024 | 2048 | 4096 => Ok(SectorSize::new(bytes)?),
        _ => Err(Failure::usage("a sector has 512, 1024, 2048 or 4096 bytes")),
    }
}

/// Data without a header, such as a plain mapping of dm-crypt.
#[derive(Debug, Args)]
#[command(next_help_heading = "Data without a header (dm-crypt plain)")]
pub struct PlainArgs {
    /// The data has no header; nothing can tell whether the key or the options are right
    #[arg(long)]
    plain: bool,
    /// The cipher, as dm-crypt names it
    #[arg(long, value_name = "NAME", default_value = "aes-xts-plain64", requires = "plain")]
    cipher: String,
    /// The length of the key in bits, for a passphrase
    #[arg(long, value_name = "BITS", default_value_t = 256, requires = "plain")]
    key_size: u32,
    /// The hash of a passphrase
    #[arg(long, value_name = "NAME", default_value = "sha256", requires = "plain")]
    hash: String,
    /// The size of a sector in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 512, requires = "plain")]
    plain_sector_size: u32,
    /// The first sector of the data on the device, in units of 512 bytes
    #[arg(long, value_name = "SECTORS", default_value_t = 0, requires = "plain")]
    offset: u64,
    /// The number of the first sector, in units of 512 bytes
    #[arg(long, value_name = "SECTORS", default_value_t = 0, requires = "plain")]
    skip: u64,
    /// The size of the data, if it doesn't go to the end of the device
    #[arg(long, value_name = "SIZE", value_parser = parse_size, requires = "plain")]
    plain_size: Option<u64>,
    /// Numbers count sectors of the cipher's own size, not units of 512 bytes
    #[arg(long, requires = "plain")]
    iv_large_sectors: bool,
    /// AES-XTS with the number in the upper half of the tweak: disks of SPDK's software module, and of ubiblk
    #[arg(long, requires = "plain", conflicts_with_all = ["cipher", "iv_large_sectors"])]
    upper_half: bool,
}

impl PlainArgs {
    /// Asks before anything may be written: nothing tells whether the key and the options are right.
    pub fn confirm_writes(&self, of: &VolumeArgs, yes: bool) -> Result<()> {
        if !self.plain {
            return Ok(());
        }
        of.check_plain()?;
        let text = format!(
            "{} has no header, so nothing proves the key, the cipher and the place of the data: if one of them is wrong, what is \
             written destroys what is there. Try it with --read-only first.",
            of.device
        );
        confirm(yes, &text)
    }

    /// Opens the data.
    pub fn open(&self, of: &VolumeArgs, access: Access, discard: bool) -> Result<AnyVolume> {
        of.check_plain()?;
        let expected = of.expect.fingerprint.as_deref().map(parse_fingerprint).transpose()?;
        let cipher = match self.upper_half {
            true => CipherSpec::AesXtsUpperHalf,
            false => self.cipher.parse()?,
        };
        let cipher = if self.iv_large_sectors { cipher.with_large_sectors() } else { cipher };
        let offset = self.offset.checked_mul(512).ok_or_else(|| Failure::usage("the offset is too large"))?;
        let mut options = PlainOptions::new(cipher)
            .sector_size(sector_size(self.plain_sector_size)?)
            .offset(offset)
            .first_number(self.skip)
            .read_only(access == Access::Read)
            .discard(discard);
        if let Some(size) = self.plain_size {
            options = options.size(size);
        }
        let device = devices::open(&of.device, access)?;
        let bits = |len: usize| algorithm(cipher, len);
        let dek = match of.credential.dek_file() {
            Some(path) => {
                let key = secrets::read_file(path)?;
                hazmat::dek_from_bytes_for(bits(key.len())?, key.expose())?
            }
            None => {
                let hash: HashAlgorithm = self.hash.parse()?;
                let algorithm = bits(self.key_size as usize / 8)?;
                match of.credential.opener(&of.device)? {
                    Opener::Passphrase(secret) => hazmat::plain_dek(algorithm, hash, secret.expose())?,
                    // dm-crypt takes the first bytes of a key file as they are.
                    Opener::KeyFile(path) => {
                        let key = secrets::read_file(&path)?;
                        let short = || Failure::usage("the key file is shorter than the key").about(path.display());
                        hazmat::dek_from_bytes_for(
                            algorithm,
                            key.expose().get(..algorithm.key_len()).ok_or_else(short)?,
                        )?
                    }
                    _ => {
                        return Err(Failure::usage(
                            "data without a header opens by a passphrase, a key file or a data key",
                        ));
                    }
                }
            }
        };
        if let Some(expected) = expected {
            expected.check(&dek).about(&of.device)?;
        }
        let volume = Volume::hazmat_open_plain(device, &dek, &options).about(&of.device)?;
        warn_of(&volume, &of.device);
        Ok(volume)
    }
}

/// The algorithm of a key of so many bytes.
fn algorithm(cipher: CipherSpec, len: usize) -> Result<DekAlgorithm> {
    DekAlgorithm::for_cipher(cipher, len)
        .ok_or_else(|| Failure::usage(format!("{} takes no key of {} bits", cipher.name(), len * 8)))
}
