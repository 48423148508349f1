//! `info` and `check`: the content of a header.

use atrest::volume::{Header, Priority, TokenInfo};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::confirm::confirm;
use crate::devices::{self, Access, Device};
use crate::failure::{About, Code, Failure, Result};
use crate::output::{Answer, Output, Text, shown, size};
use crate::volumes::{VolumeArgs, fingerprint};

#[derive(Args)]
pub struct Info {
    #[command(flatten)]
    volume: VolumeArgs,
    /// Opens the volume, too: proves the credential and the header, and shows the fingerprint of the data key
    #[arg(long)]
    unlock: bool,
}

/// `info`: what the header says. Nothing of it is proven, except with --unlock.
#[derive(Serialize, JsonSchema)]
pub struct Shown {
    device: String,
    /// Such as `LUKS2`.
    format: String,
    uuid: String,
    label: String,
    subsystem: String,
    /// The segments of data.
    segments: Vec<Segment>,
    /// The ways in by a passphrase, key file and the like.
    keyslots: Vec<Keyslot>,
    /// The ways in by a vault, and the tokens of other programs.
    tokens: Vec<Token>,
    /// The features that a reader must know to open it, such as `online-reencrypt-v2`.
    requirements: Vec<String>,
    flags: Vec<String>,
    /// Whether a copy of the header is damaged or behind.
    needs_repair: bool,
    /// The facts that opening it has proven; null without --unlock.
    unlocked: Option<Unlocked>,
}

#[derive(Serialize, JsonSchema)]
struct Segment {
    id: u32,
    /// `crypt`, or `linear` for data that is not encrypted.
    kind: String,
    /// The first byte on the device.
    offset: u64,
    /// In bytes; null: to the end of the device.
    size: Option<u64>,
    /// As dm-crypt names it.
    cipher: String,
    /// In bytes.
    sector_size: u32,
}

#[derive(Serialize, JsonSchema)]
pub struct Keyslot {
    id: u32,
    kind: String,
    key_bits: u32,
    /// `ignore`, `normal` or `prefer`.
    priority: &'static str,
    /// `pbkdf2`, `argon2i`, `argon2id`, or empty.
    kdf: String,
    /// Iterations of PBKDF2, or passes of Argon2.
    iterations: u32,
    /// Memory of Argon2 in KiB.
    memory_kib: u32,
    /// Lanes of Argon2.
    lanes: u32,
    /// Whether it holds the key of the data.
    holds_data_key: bool,
}

#[derive(Serialize, JsonSchema)]
pub struct Token {
    id: u32,
    /// `atrest`, or that of another program.
    kind: String,
    /// The URL of the vault's key that wraps the data key; null for another program's token.
    key: Option<String>,
    /// The keyslots that it unlocks.
    keyslots: Vec<u32>,
}

#[derive(Serialize, JsonSchema)]
struct Unlocked {
    /// The size of the data in bytes.
    size: u64,
    /// The fingerprint of the data key, for --fingerprint.
    fingerprint: String,
    /// Whether all that it uses is approved (FIPS 140).
    approved: bool,
    /// The bytes of a re-encryption that are done; null if none is under way.
    reencrypted: Option<u64>,
    /// Why its cipher protects less than it seems to; null if it doesn't.
    weakness: Option<&'static str>,
}

pub fn keyslots(header: &Header<'_>) -> Vec<Keyslot> {
    let of = |slot: atrest::volume::KeyslotInfo| Keyslot {
        id: slot.id,
        kind: slot.kind,
        key_bits: slot.key_bits,
        priority: priority(slot.priority),
        kdf: slot.kdf,
        iterations: slot.iterations,
        memory_kib: slot.memory_kib,
        lanes: slot.lanes,
        holds_data_key: slot.holds_data_key,
    };
    header.keyslots().into_iter().map(of).collect()
}

fn priority(of: Priority) -> &'static str {
    match of {
        Priority::Ignore => "ignore",
        Priority::Normal => "normal",
        Priority::Prefer => "prefer",
    }
}

pub fn tokens(header: &Header<'_>) -> Vec<Token> {
    let of = |token: TokenInfo| Token { id: token.id, kind: token.kind, key: token.key_url, keyslots: token.keyslots };
    header.tokens().into_iter().map(of).collect()
}

impl Keyslot {
    pub fn row(&self) -> [String; 3] {
        let how = match self.kdf.as_str() {
            "" => self.kind.clone(),
            "pbkdf2" => format!("passphrase or key file, pbkdf2 with {} iterations", self.iterations),
            kdf => {
                format!("passphrase or key file, {kdf} with {} MiB, {} passes", self.memory_kib >> 10, self.iterations)
            }
        };
        let note = match (self.holds_data_key, self.priority) {
            (false, _) => "not the data's key",
            (true, "normal") => "",
            (true, "prefer") => "tried first",
            (true, _) => "only if it is named",
        };
        [format!("keyslot:{}", self.id), shown(&how), note.into()]
    }
}

impl Token {
    pub fn row(&self) -> [String; 3] {
        let what = match &self.key {
            Some(key) => format!("vault's key {}", shown(key)),
            None => format!("{} (another program's)", shown(&self.kind)),
        };
        [format!("token:{}", self.id), what, String::new()]
    }
}

impl Answer for Shown {
    fn text(&self, out: &mut Text) {
        out.pair("volume", shown(&self.device));
        out.pair("format", format_args!("{}, UUID {}", self.format, shown(&self.uuid)));
        for (name, value) in [("label", &self.label), ("subsystem", &self.subsystem)] {
            if !value.is_empty() {
                out.pair(name, shown(value));
            }
        }
        for segment in &self.segments {
            let len = segment.size.map_or_else(|| "to the end".into(), size);
            let cipher = if segment.cipher.is_empty() { "not encrypted" } else { &segment.cipher };
            let sectors = segment.sector_size;
            let what = format!("{}, sectors of {sectors} bytes, from {}, {len}", shown(cipher), size(segment.offset));
            out.pair("data", what);
        }
        if !self.requirements.is_empty() {
            out.pair("requires", shown(&self.requirements.join(" ")));
        }
        if !self.flags.is_empty() {
            out.pair("flags", shown(&self.flags.join(" ")));
        }
        if self.needs_repair {
            out.pair("repair", "a copy of the header is damaged or behind: `atrest check --repair`");
        }
        if let Some(unlocked) = &self.unlocked {
            out.pair("size", size(unlocked.size));
            out.pair("fingerprint", &unlocked.fingerprint);
            out.pair("approved", if unlocked.approved { "yes" } else { "no" });
            if let Some(done) = unlocked.reencrypted {
                out.pair("re-encryption", format_args!("under way, {} done", size(done)));
            }
        }
        let rows = self.tokens.iter().map(Token::row).chain(self.keyslots.iter().map(Keyslot::row));
        out.table(["WAY IN", "WHAT OPENS IT", ""], rows);
    }
}

/// The device that has the header.
pub fn header_device(volume: &VolumeArgs, access: Access) -> Result<(Device, &str)> {
    let name = volume.expect.header.as_deref().unwrap_or(&volume.device);
    Ok((devices::open(name, access)?, name))
}

impl Info {
    pub fn run(self, output: Output) -> Result<()> {
        let unlocked = if self.unlock { Some(self.prove()?) } else { None };
        let (device, name) = header_device(&self.volume, Access::Read)?;
        let header = Header::load(&device).about(name)?;
        let segment = |of: atrest::volume::SegmentInfo| Segment {
            id: of.id,
            kind: of.kind,
            offset: of.offset,
            size: of.size,
            cipher: of.cipher,
            sector_size: of.sector_size,
        };
        output.answer(&Shown {
            device: self.volume.device.clone(),
            format: header.format().to_string(),
            uuid: header.uuid().into(),
            label: header.label().into(),
            subsystem: header.subsystem().into(),
            segments: header.segments().into_iter().map(segment).collect(),
            keyslots: keyslots(&header),
            tokens: tokens(&header),
            requirements: header.requirements(),
            flags: header.flags(),
            needs_repair: header.needs_repair(),
            unlocked,
        })
    }

    fn prove(&self) -> Result<Unlocked> {
        let (volume, _) = self.volume.open_with(Access::Read, |open| open.hazmat_allow_unencrypted(true))?;
        Ok(Unlocked {
            size: volume.size(),
            fingerprint: fingerprint(volume.fingerprint()?),
            approved: volume.approval().is_approved(),
            reencrypted: volume.reencryption().map(|progress| progress.done),
            weakness: volume.cipher().weakness(),
        })
    }
}

#[derive(Args)]
pub struct Check {
    #[command(flatten)]
    volume: VolumeArgs,
    /// Repairs a copy of the header that is damaged or behind
    #[arg(long)]
    repair: bool,
    /// Repairs it although something else lies at its place, which is destroyed
    #[arg(long, requires = "repair")]
    force: bool,
    /// Opens the volume, too: proves the credential and the header
    #[arg(long)]
    unlock: bool,
}

/// `check`.
#[derive(Serialize, JsonSchema)]
pub struct Checked {
    device: String,
    /// Such as `LUKS2`.
    format: String,
    /// Whether all copies of the header are sound now.
    sound: bool,
    /// Whether something was repaired.
    repaired: bool,
    /// Whether a credential and the header were proven (--unlock).
    proven: bool,
}

impl Answer for Checked {
    fn text(&self, out: &mut Text) {
        let state = match (self.sound, self.repaired) {
            (true, false) => "the header is sound",
            (true, true) => "a copy of the header was repaired",
            (false, _) => "a copy of the header is damaged or behind",
        };
        out.line(format_args!("{}: {}, {state}", shown(&self.device), self.format));
        if self.proven {
            out.line("it opens, and its header is as its owner wrote it");
        }
    }
}

impl Check {
    pub fn run(self, output: Output, yes: bool) -> Result<()> {
        let access = if self.repair { Access::Write } else { Access::Read };
        let (device, name) = header_device(&self.volume, access)?;
        let mut header = Header::load(&device).about(name)?;
        let repaired = match (self.repair, self.force) {
            (false, _) => false,
            (true, false) => header.repair().about(name)?,
            (true, true) => {
                confirm(
                    yes,
                    &format!("What lies at the place of a header's copy on {name} is destroyed, whatever it is."),
                )?;
                header.hazmat_repair().about(name)?
            }
        };
        let checked = Checked {
            device: self.volume.device.clone(),
            format: header.format().to_string(),
            sound: !header.needs_repair(),
            repaired,
            proven: self.unlock,
        };
        drop(header);
        drop(device);
        if self.unlock {
            self.volume.open_with(Access::Read, |open| open.hazmat_allow_unencrypted(true))?;
        }
        output.answer(&checked)?;
        if checked.sound {
            return Ok(());
        }
        Err(Failure::new(Code::Damaged, "it opens as it is; `atrest check --repair` makes the copy anew")
            .about(&self.volume.device))
    }
}
