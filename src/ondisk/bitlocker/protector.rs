//! Protectors: ways to the master key.

use core::fmt;

use super::bytes::{array, text, u16_at, u32_at};
use super::entry::{self, entries};
use super::guid::Guid;
use super::sealed::Sealed;
use super::stretch::Stretch;
use crate::Secret;

/// A way to the master key.
#[derive(Clone)]
pub(crate) struct Protector {
    pub(crate) id: Guid,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// The salt, for a protector that a password opens.
    pub(crate) stretch: Option<Stretch>,
    /// Whether the key is derived from the password by PBKDF2, and not by the chain of hashes.
    pub(crate) is_pbkdf2: bool,
    /// The clear key, of a volume whose protection is suspended.
    pub(crate) clear_key: Option<Secret>,
    /// The master key.
    pub(crate) sealed: Option<Sealed>,
}

/// The kind of a protector, by the secrets that open it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A key beside it: nothing is protected.
    ClearKey,
    Tpm,
    StartupKey,
    TpmAndStartupKey,
    TpmAndPin,
    TpmPinAndStartupKey,
    RecoveryPassword,
    SmartCard,
    Password,
    Unknown(u16),
}

impl Kind {
    fn of(number: u16) -> Self {
        match number {
            0..=0xff => Kind::ClearKey,
            0x0100..=0x01ff => Kind::Tpm,
            0x0200..=0x02ff => Kind::StartupKey,
            0x0300..=0x03ff => Kind::TpmAndStartupKey,
            0x0400..=0x05ff => Kind::TpmAndPin,
            0x0600..=0x07ff => Kind::TpmPinAndStartupKey,
            0x0800..=0x08ff => Kind::RecoveryPassword,
            0x1000..=0x10ff => Kind::SmartCard,
            0x2000..=0x20ff => Kind::Password,
            number => Kind::Unknown(number),
        }
    }

    /// The name in header descriptions.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::ClearKey => "clear key",
            Kind::Tpm => "TPM",
            Kind::StartupKey => "startup key",
            Kind::TpmAndStartupKey => "TPM and startup key",
            Kind::TpmAndPin => "TPM and PIN",
            Kind::TpmPinAndStartupKey => "TPM, PIN and startup key",
            Kind::RecoveryPassword => "recovery password",
            Kind::SmartCard => "smart card",
            Kind::Password => "password",
            Kind::Unknown(_) => "unknown",
        }
    }
}

/// Iterations by PBKDF2, a flag of a stretched key.
const PBKDF2: u32 = 0x40 << 16;

impl Protector {
    /// Reads the data of a master key's entry.
    pub(super) fn parse(data: &[u8]) -> Result<Self, String> {
        let short = || format!("a protector has {} bytes, fewer than 28", data.len());
        let (id, number) = (array(data, 0).ok_or_else(short)?, u16_at(data, 26).ok_or_else(short)?);
        let mut protector = Protector {
            id: Guid(id),
            kind: Kind::of(number),
            name: String::new(),
            stretch: None,
            is_pbkdf2: false,
            clear_key: None,
            sealed: None,
        };
        for property in entries(&data[28..]) {
            let property = property?;
            match property.kind {
                entry::TEXT if protector.name.is_empty() => protector.name = text(property.data),
                entry::STRETCHED if protector.stretch.is_none() => {
                    let cut = "a protector's salt is cut off";
                    let flags = u32_at(property.data, 0).ok_or(cut)?;
                    protector.stretch = Some(Stretch(array(property.data, 4).ok_or(cut)?));
                    protector.is_pbkdf2 = flags & PBKDF2 != 0;
                }
                entry::KEY if protector.clear_key.is_none() => {
                    protector.clear_key = Some(entry::Key::parse(property.data)?.bytes);
                }
                entry::SEALED if protector.sealed.is_none() => protector.sealed = Some(Sealed::parse(property.data)?),
                // Times, data for TPMs and smart cards, and copies of the user's key for Windows.
                _ => {}
            }
        }
        Ok(protector)
    }
}

impl fmt::Display for Protector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Unknown(number) => write!(f, "of unknown kind {number:#06x} {{{}}}", self.id),
            kind => write!(f, "{} {{{}}}", kind.name(), self.id),
        }
    }
}
