//! Descriptions of headers for people.

use core::fmt::{self, Write};

use super::{Header, HeaderFormat, KeyslotInfo, TokenInfo};
use crate::ondisk::luks::{LuksVersion, Priority, TOKEN_TYPE};

impl Header<'_> {
    /// Describes the whole header for people. It has the layout of `cryptsetup luksDump`, followed by the credentials that could
    /// open the volume, and anything that prevents opening it. `device` is the device's name, which LUKS1 has in the first line.
    /// None of it is proven: anyone who can write to the disk can write it. Control characters show as `?`.
    ///
    /// ```
    /// use atrest::volume::{Header, KeyslotOptions};
    /// use atrest::{FormatOptions, MemoryDevice, Protector, Volume, key::Kdf};
    ///
    /// let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
    /// let options = FormatOptions::new().keyslot(cheap);
    /// let volume = Volume::format(MemoryDevice::new(20 << 20), Protector::Passphrase(b"secret"), &options)?;
    /// let device = volume.into_device();
    /// let text = Header::load(&device)?.describe("disk.img");
    /// assert!(text.starts_with("LUKS header information\nVersion:       \t2\n"));
    /// assert!(text.ends_with("  the data key itself, for anyone who has it\n"));
    /// # Ok::<(), atrest::Error>(())
    /// ```
    pub fn describe(&self, device: &str) -> String {
        let mut out = String::new();
        let written = match self.format() {
            HeaderFormat::Luks(LuksVersion::Luks1) => {
                writeln!(out, "LUKS header information for {}\n", shown(device)).and_then(|()| luks1(&mut out, self))
            }
            _ => luks2(&mut out, self),
        };
        // Writing into memory doesn't fail.
        let _ = written.and_then(|()| ways_in(&mut out, self));
        out
    }
}

fn luks1(out: &mut String, header: &Header<'_>) -> fmt::Result {
    for segment in header.segments() {
        let (name, mode) = segment.cipher.split_once('-').unwrap_or((&segment.cipher, ""));
        writeln!(out, "Version:       \t1\nCipher name:   \t{}\nCipher mode:   \t{}", shown(name), shown(mode))?;
        for digest in header.digests() {
            writeln!(out, "Hash spec:     \t{}\nPayload offset:\t{}", shown(&digest.hash), segment.offset / 512)?;
            writeln!(out, "MK bits:       \t{}", digest.key_bits)?;
            writeln!(out, "MK digest:     \t{}", hex(&digest.digest, usize::MAX, ""))?;
            writeln!(out, "MK salt:       \t{}", hex(&digest.salt, 16, "               \t"))?;
            writeln!(out, "MK iterations: \t{}", digest.iterations)?;
        }
    }
    writeln!(out, "UUID:          \t{}\n", shown(header.uuid()))?;
    let keyslots = header.keyslots();
    for id in 0..8 {
        let Some(keyslot) = keyslots.iter().find(|keyslot| keyslot.id == id) else {
            writeln!(out, "Key Slot {id}: DISABLED")?;
            continue;
        };
        writeln!(out, "Key Slot {id}: ENABLED")?;
        writeln!(out, "\tIterations:         \t{}", keyslot.iterations)?;
        writeln!(out, "\tSalt:               \t{}", hex(&keyslot.salt, 16, "\t                      \t"))?;
        writeln!(out, "\tKey material offset:\t{}", keyslot.area_offset / 512)?;
        writeln!(out, "\tAF stripes:            \t{}", keyslot.af_stripes)?;
    }
    Ok(())
}

fn luks2(out: &mut String, header: &Header<'_>) -> fmt::Result {
    let or = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { shown(text) };
    match header.format() {
        HeaderFormat::Luks(_) => writeln!(out, "LUKS header information\nVersion:       \t2")?,
        other => writeln!(out, "{other} header information")?,
    }
    if let Some(epoch) = header.epoch() {
        writeln!(out, "Epoch:         \t{epoch}")?;
    }
    writeln!(out, "Metadata area: \t{} [bytes]", header.metadata_size())?;
    writeln!(out, "Keyslots area: \t{} [bytes]", header.keyslots_size())?;
    writeln!(out, "UUID:          \t{}", shown(header.uuid()))?;
    writeln!(out, "Label:         \t{}", or(&header.label(), "(no label)"))?;
    writeln!(out, "Subsystem:     \t{}", or(&header.subsystem(), "(no subsystem)"))?;
    writeln!(out, "Flags:       \t{}", or(&names(&header.flags()), "(no flags)"))?;
    if !header.requirements().is_empty() {
        writeln!(out, "Requirements:\t{}", names(&header.requirements()))?;
    }

    writeln!(out, "\nData segments:")?;
    for segment in header.segments() {
        writeln!(out, "  {}: {}\n\toffset: {} [bytes]", segment.id, shown(&segment.kind), segment.offset)?;
        match segment.size {
            Some(size) => writeln!(out, "\tlength: {size} [bytes]")?,
            None => writeln!(out, "\tlength: (whole device)")?,
        }
        if segment.sector_size != 0 {
            writeln!(out, "\tcipher: {}\n\tsector: {} [bytes]", shown(&segment.cipher), segment.sector_size)?;
        }
        if !segment.flags.is_empty() {
            writeln!(out, "\tflags : {}", names(&segment.flags))?;
        }
        writeln!(out)?;
    }
    writeln!(out, "Keyslots:")?;
    header.keyslots().iter().try_for_each(|keyslot| luks2_keyslot(out, keyslot))?;
    writeln!(out, "Tokens:")?;
    for token in header.tokens() {
        writeln!(out, "  {}: {}", token.id, shown(&token.kind))?;
        token.keyslots.iter().try_for_each(|keyslot| writeln!(out, "\tKeyslot:    {keyslot}"))?;
    }
    writeln!(out, "Digests:")?;
    for digest in header.digests().iter().filter(|digest| !digest.kind.is_empty()) {
        writeln!(out, "  {}: {}\n\tHash:       {}", digest.id, shown(&digest.kind), shown(&digest.hash))?;
        writeln!(out, "\tIterations: {}", digest.iterations)?;
        writeln!(out, "\tSalt:       {}", hex(&digest.salt, 16, "\t            "))?;
        writeln!(out, "\tDigest:     {}", hex(&digest.digest, 16, "\t            "))?;
    }
    Ok(())
}

fn luks2_keyslot(out: &mut String, keyslot: &KeyslotInfo) -> fmt::Result {
    let unbound = if keyslot.holds_data_key { "" } else { " (unbound)" };
    writeln!(out, "  {}: {}{unbound}\n\tKey:        {} bits", keyslot.id, shown(&keyslot.kind), keyslot.key_bits)?;
    let priority = match keyslot.priority {
        Priority::Ignore => "ignored",
        Priority::Normal => "normal",
        Priority::Prefer => "preferred",
    };
    writeln!(out, "\tPriority:   {priority}")?;
    if !keyslot.kdf.is_empty() {
        writeln!(out, "\tCipher:     {}\n\tCipher key: {} bits", shown(&keyslot.cipher), keyslot.area_key_bits)?;
        writeln!(out, "\tPBKDF:      {}", shown(&keyslot.kdf))?;
        if keyslot.kdf == "pbkdf2" {
            writeln!(out, "\tHash:       {}\n\tIterations: {}", shown(&keyslot.hash), keyslot.iterations)?;
        } else {
            writeln!(out, "\tTime cost:  {}\n\tMemory:     {}", keyslot.iterations, keyslot.memory_kib)?;
            writeln!(out, "\tThreads:    {}", keyslot.lanes)?;
        }
        writeln!(out, "\tSalt:       {}", hex(&keyslot.salt, 16, "\t            "))?;
        writeln!(out, "\tAF stripes: {}\n\tAF hash:    {}", keyslot.af_stripes, shown(&keyslot.af_hash))?;
    }
    writeln!(out, "\tArea offset:{} [bytes]\n\tArea length:{} [bytes]", keyslot.area_offset, keyslot.area_size)?;
    keyslot.digests.iter().try_for_each(|digest| writeln!(out, "\tDigest ID:  {digest}"))
}

/// Facts that `cryptsetup` doesn't print: the credentials that could open the volume, and obstacles to opening it at all.
fn ways_in(out: &mut String, header: &Header<'_>) -> fmt::Result {
    writeln!(out, "\nWays in:")?;
    for keyslot in header.keyslots() {
        writeln!(out, "  keyslot {}: {}", keyslot.id, keyslot_opens(&keyslot))?;
    }
    for token in header.tokens() {
        writeln!(out, "  token {}: {}", token.id, token_opens(&token))?;
    }
    writeln!(out, "  the data key itself, for anyone who has it")?;
    if !header.requirements().is_empty() {
        writeln!(out, "But it requires what atrest does not do: {}", names(&header.requirements()))?;
    }
    if header.needs_repair() {
        writeln!(out, "It is to be repaired, which opening it for writing does.")?;
    }
    Ok(())
}

fn keyslot_opens(keyslot: &KeyslotInfo) -> String {
    let KeyslotInfo { memory_kib, iterations, lanes, .. } = keyslot;
    let memory =
        if memory_kib % 1024 == 0 { format!("{} MiB", memory_kib / 1024) } else { format!("{memory_kib} KiB") };
    let cost = match &*keyslot.kdf {
        "" => return format!("{}, nothing that opens it", shown(&keyslot.kind)),
        _ if !keyslot.holds_data_key => return "another key than the data's".into(),
        "pbkdf2" => format!("pbkdf2 with {}, {}", shown(&keyslot.hash), counted(*iterations, "iteration")),
        kdf => format!("{kdf}, {memory}, {}, {}", counted(*iterations, "pass"), counted(*lanes, "lane")),
    };
    let when = match keyslot.priority {
        Priority::Ignore => ", if it is named",
        Priority::Normal => "",
        Priority::Prefer => ", tried first",
    };
    format!("a passphrase or key file ({cost}){when}")
}

fn token_opens(token: &TokenInfo) -> String {
    if let Some(url) = &token.key_url {
        return format!("a vault with the key {}", shown(url));
    }
    if token.kind == TOKEN_TYPE {
        return "atrest, but it is not sound".into();
    }
    let keyslots: Vec<String> = token.keyslots.iter().map(|id| format!("keyslot {id}")).collect();
    let through = if keyslots.is_empty() { "no keyslot".into() } else { keyslots.join(" or ") };
    format!("{}, through {through}: another program", shown(&token.kind))
}

fn counted(count: u32, what: &str) -> String {
    let plural = match what {
        _ if count == 1 => "",
        "pass" => "es",
        _ => "s",
    };
    format!("{count} {what}{plural}")
}

/// Bytes in lines of `width`; all lines but the first are indented by `indent`.
fn hex(bytes: &[u8], width: usize, indent: &str) -> String {
    let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x} ")).collect::<String>();
    bytes.chunks(width).map(line).collect::<Vec<_>>().join(&format!("\n{indent}"))
}

fn names(names: &[String]) -> String {
    names.iter().map(|name| shown(name)).collect::<Vec<_>>().join(" ")
}

/// A text of the header without control characters for a terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
