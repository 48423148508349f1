//! Opening a volume.

use std::sync::Mutex;

use super::header::StoredHeader;
use super::{BlockDevice, Layout, Volume};
use crate::arch::wipe_deep_stack;
use crate::key::Credential;
use crate::luks::{SegmentKind, SegmentSize, Token, VolumeKeyDigest};
use crate::{Dek, Error, Result, SectorSize, SectorUnit};

/// How to open a volume. `OpenOptions::new()` is right for most.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    read_only: bool,
    context: Option<Vec<u8>>,
    allow_truncated: bool,
}

impl OpenOptions {
    /// For reading and writing, whatever context the volume is bound to.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to write nothing at all: neither data nor a repair of the header.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// The context that the volume must be bound to. Without it, a header that was swapped for that of another volume
    /// under the same key is not noticed.
    pub fn context(mut self, context: &[u8]) -> Self {
        self.context = Some(context.to_vec());
        self
    }

    /// Whether to open a device that is smaller than its volume was. What is beyond its end is lost. Each open has to
    /// insist: the volume goes on knowing its size, also after a rotation.
    pub fn hazmat_allow_truncated(mut self, allow: bool) -> Self {
        self.allow_truncated = allow;
        self
    }
}

impl<D: BlockDevice> Volume<D> {
    /// Opens the volume on `device`.
    ///
    /// The DEK is proven by the header's digest, and the header by the MAC in its token, before anything is written or
    /// decrypted. A damaged or older copy of the header is then repaired from the intact one.
    ///
    /// # Errors
    /// [`Error::NotLuks`]; [`Error::InvalidHeader`]; [`Error::UnsupportedHeader`]; [`Error::NotThisVault`]; what the
    /// vault answers; [`Error::WrongKey`]; [`Error::TamperedHeader`]; [`Error::ContextMismatch`];
    /// [`Error::DeviceTooSmall`] for a truncated device; [`Error::Io`].
    pub fn open(device: D, credential: Credential<'_>, options: &OpenOptions) -> Result<Self> {
        let volume = Self::open_unwiped(device, credential, options);
        wipe_deep_stack();
        volume
    }

    /// Not inlined, so that what it leaves on the stack is below its caller, who wipes it.
    #[inline(never)]
    fn open_unwiped(device: D, credential: Credential<'_>, options: &OpenOptions) -> Result<Self> {
        let mut header = StoredHeader::load(&device)?;
        let data = DataArea::find(&header)?;
        let tokens = header.metadata.tokens()?;
        let (dek, token) = unlock(&header, &data, &tokens, credential)?;
        if options.context.as_deref().is_some_and(|wanted| token.is_none_or(|token| token.context != wanted)) {
            return Err(Error::ContextMismatch);
        }
        let device_size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        let layout = data.layout(device_size)?;
        let was = token.map_or(0, |token| token.data_size);
        if layout.size < was && !options.allow_truncated {
            return Err(Error::DeviceTooSmall { needed: layout.data_offset.saturating_add(was), size: device_size });
        }
        let cipher = dek.boxed_sector_cipher(layout.sector_size, SectorUnit::Bytes512)?;
        if header.needs_repair() && !options.read_only {
            header.repair(&device)?;
        }
        Ok(Volume { device, cipher, dek, layout, read_only: options.read_only, header: Mutex::new(header) })
    }
}

/// Finds the DEK, and proves it by the digest and the header by the MAC of one token. A header without tokens of ours has
/// no MAC: the DEK itself opens it, as it does with other tools.
fn unlock<'t>(
    header: &StoredHeader,
    data: &DataArea<'_>,
    tokens: &'t [(u32, Token)],
    credential: Credential<'_>,
) -> Result<(Dek, Option<&'t Token>)> {
    match credential {
        Credential::Dek(dek) => {
            data.digest.verify(dek.secret())?;
            let token = tokens.iter().map(|(_, token)| token).find(|token| header.proves(token, dek).is_ok());
            if token.is_none() && !tokens.is_empty() {
                return Err(Error::TamperedHeader);
            }
            Ok((dek.clone(), token))
        }
        Credential::Vault(vault) => {
            let mut failure = None;
            for (_, token) in tokens {
                let dek = token.wrapped.unwrap(vault, token.dek_algorithm);
                // The MAC first: it costs the same whatever the header asks for, and the digest does not.
                let proven = dek.and_then(|dek| {
                    dek.as_ref().map_or(Ok(()), |dek| {
                        header.proves(token, dek)?;
                        data.digest.verify(dek.secret())
                    })?;
                    Ok(dek)
                });
                match proven {
                    Ok(None) => {}
                    Ok(Some(dek)) => return Ok((dek, Some(token))),
                    // Another token may name another key of the same vault, or be the one that is right.
                    Err(e) => failure = failure.or(Some(e)),
                }
            }
            Err(failure.unwrap_or_else(|| Error::NotThisVault { wanted: ways_in(tokens) }))
        }
    }
}

/// The keys that tokens name, for an error's text.
pub(super) fn ways_in(tokens: &[(u32, Token)]) -> String {
    let keys: Vec<String> = tokens.iter().map(|(_, token)| token.wrapped.kek.to_string()).collect();
    if keys.is_empty() { "another credential: it names no vault at all".into() } else { keys.join(" or ") }
}

/// The one encrypted segment that the volume shows, checked for what this version can do.
struct DataArea<'m> {
    offset: u64,
    size: SegmentSize,
    iv_tweak: u64,
    sector_size: SectorSize,
    digest: &'m VolumeKeyDigest,
}

impl<'m> DataArea<'m> {
    fn find(header: &'m StoredHeader) -> Result<Self> {
        let metadata = &header.metadata;
        let no = |text: String| Err(Error::UnsupportedHeader(text));
        if !metadata.requirements().is_empty() {
            return no(format!("it requires {}", metadata.requirements().join(", ")));
        }
        let [segment] = metadata.segments() else {
            return no(format!("it has {} segments, not one", metadata.segments().len()));
        };
        let crypt = match &segment.kind {
            SegmentKind::Crypt(crypt) => crypt,
            SegmentKind::Other(kind) => return no(format!("its segment is of type {kind:?}, not \"crypt\"")),
        };
        if crypt.encryption != "aes-xts-plain64" {
            return no(format!("its cipher is {:?}, not \"aes-xts-plain64\"", crypt.encryption));
        }
        if crypt.integrity {
            return no("its sectors carry integrity tags".into());
        }
        if !segment.flags.is_empty() {
            return no(format!("its segment carries the flags {}", segment.flags.join(", ")));
        }
        let sector_size = match crypt.sector_size {
            size @ (512 | 1024 | 2048 | 4096) => SectorSize::new(size)?,
            size => return no(format!("its sectors have {size} bytes")),
        };
        if !segment.offset.is_multiple_of(512) || segment.offset < 2 * header.binary.header_size {
            return no(format!("its data begins at byte {}, within the header or a sector", segment.offset));
        }
        if matches!(segment.size, SegmentSize::Bytes(n) if n == 0 || !n.is_multiple_of(u64::from(crypt.sector_size))) {
            return no("the size of its segment is no whole number of sectors".into());
        }
        let digest = metadata.digests().iter().find(|digest| digest.segments.contains(&segment.id));
        let Some(digest) = digest.and_then(|digest| digest.pbkdf2.as_ref()) else {
            return no("no digest of a known type proves its key".into());
        };
        digest.check()?;
        let (offset, size, iv_tweak) = (segment.offset, segment.size, crypt.iv_tweak);
        Ok(DataArea { offset, size, iv_tweak, sector_size, digest })
    }

    fn layout(&self, device_size: u64) -> Result<Layout> {
        let sector_size = u64::from(self.sector_size.bytes());
        let wanted = if let SegmentSize::Bytes(size) = self.size { size } else { sector_size };
        let room = device_size.saturating_sub(self.offset);
        if room < wanted {
            return Err(Error::DeviceTooSmall { needed: self.offset.saturating_add(wanted), size: device_size });
        }
        let size = if let SegmentSize::Bytes(size) = self.size { size } else { room / sector_size * sector_size };
        let (data_offset, iv_tweak, sector_size) = (self.offset, self.iv_tweak, self.sector_size);
        Layout { data_offset, size, iv_tweak, sector_size }.check()
    }
}
