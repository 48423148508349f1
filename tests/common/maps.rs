//! What the kernel says of this process's memory, and a search of it for keys.

use std::fs;

use atrest::Secret;

/// A mapping of this process, from /proc/self/smaps.
#[derive(Debug)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    /// Memory of this process alone that is written to. The rest is parts of files.
    pub own: bool,
    pub name: String,
    /// The two-letter flags: `lo` for locked, `dd` for kept out of core dumps, `wf` for zeros in a child.
    pub flags: Vec<String>,
}

impl Mapping {
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|has| has == flag)
    }
}

pub fn mappings() -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            mappings.last_mut().unwrap().flags = flags.split_whitespace().map(Into::into).collect();
            continue;
        }
        let fields: Vec<&str> = line.split_whitespace().collect();
        let Some((start, end)) = fields[0].split_once('-') else { continue };
        let address = |text| u64::from_str_radix(text, 16).unwrap();
        let name = fields.get(5).copied().unwrap_or_default().to_owned();
        mappings.push(Mapping {
            start: address(start),
            end: address(end),
            own: fields[1].starts_with("rw-p") && matches!(name.as_str(), "" | "[heap]" | "[stack]"),
            name,
            flags: Vec::new(),
        });
    }
    mappings
}

/// The mappings in which 16 bytes of a key, at a multiple of 8, were found. It is read where it lies: a copy would be
/// found as well.
pub fn holding<'a>(key: &Secret, mappings: impl Iterator<Item = &'a Mapping>) -> Vec<String> {
    let parts: Vec<*const u64> = key.expose().chunks_exact(16).map(|part| part.as_ptr().cast()).collect();
    let mut found = Vec::new();
    for mapping in mappings {
        for at in (mapping.start..mapping.end - 8).step_by(8) {
            let at = std::ptr::with_exposed_provenance::<u64>(at as usize);
            // SAFETY: the kernel says that the mapping can be read. It belongs to this process alone, and no other
            // thread runs that could end it. Keys are aligned to 64 bytes. Any bytes there are valid.
            let same = |part: &&*const u64| unsafe {
                at.read_volatile() == part.read_volatile() && at.add(1).read_volatile() == part.add(1).read_volatile()
            };
            if parts.iter().any(|part| same(&part)) {
                found.push(format!("{at:?} in {mapping:?}"));
            }
        }
    }
    found
}

/// The states of HMAC-SHA-256 after the blocks of a key, which stand for it: of both paddings (FIPS 198-1, 4), as `sha2` holds them
/// and as the CPU's instructions do.
pub fn hmac_states(key: &[u8; 32]) -> [Secret; 4] {
    let after = |padding: u8| {
        let mut block = [padding; 64];
        block.iter_mut().zip(key).for_each(|(byte, of)| *byte ^= of);
        // The initial values of FIPS 180-4, 5.3.3.
        let mut state = [
            0x6a09_e667_u32,
            0xbb67_ae85,
            0x3c6e_f372,
            0xa54f_f53a,
            0x510e_527f,
            0x9b05_688c,
            0x1f83_d9ab,
            0x5be0_cd19,
        ];
        sha2::block_api::compress256(&mut state, &[block]);
        state
    };
    let secret = |words: [u32; 8]| {
        let mut secret = Secret::zeroed(32);
        secret
            .expose_mut()
            .chunks_exact_mut(4)
            .zip(words)
            .for_each(|(out, word)| out.copy_from_slice(&word.to_ne_bytes()));
        secret
    };
    let [inner, outer] = [after(0x36), after(0x5c)];
    let in_registers = |[a, b, c, d, e, f, g, h]: [u32; 8]| [f, e, b, a, h, g, d, c];
    [secret(inner), secret(outer), secret(in_registers(inner)), secret(in_registers(outer))]
}
