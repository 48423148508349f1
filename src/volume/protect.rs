//! Ways into a volume: made, changed, taken away.

use core::time::Duration;
use std::sync::{MutexGuard, PoisonError};

use super::headers::{NewKeyslot, StoredHeader};
use super::{BlockDevice, ProtectorId, Volume};
use crate::approval;
use crate::arch::on_wiped_stack;
use crate::key::{HashAlgorithm, Kdf, KdfKind, KeyVault, Passphrase, Protector, WrappedDek};
use crate::ondisk::luks::{Priority, Token};
use crate::{Error, Result};

/// What a new keyslot is like. `KeyslotOptions::new()` is right for most.
#[derive(Debug, Clone)]
pub struct KeyslotOptions {
    id: Option<u32>,
    priority: Priority,
    kdf: Option<Kdf>,
    time: Duration,
    max_memory_kib: u32,
}

/// As many as the reference implementation has at most.
const LANES: u32 = 4;

/// The least that a measured cost takes.
const MIN_MEMORY_KIB: u32 = 32 << 10;

/// Half of the machine's memory: with more, opening the volume might end other programs. Unknown but on Linux.
fn half_of_memory_kib() -> u32 {
    #[cfg(target_os = "linux")]
    {
        let system = rustix::system::sysinfo();
        let bytes = u128::from(system.totalram) * u128::from(system.mem_unit);
        u32::try_from(bytes / 2 / 1024).unwrap_or(u32::MAX)
    }
    #[cfg(not(target_os = "linux"))]
    u32::MAX
}

impl Default for KeyslotOptions {
    fn default() -> Self {
        let (time, max_memory_kib) = (Duration::from_secs(2), half_of_memory_kib().clamp(MIN_MEMORY_KIB, 1 << 20));
        KeyslotOptions { id: None, priority: Priority::Normal, kdf: None, time, max_memory_kib }
    }
}

impl KeyslotOptions {
    /// The first free keyslot, of normal priority, with Argon2id in LUKS2 and PBKDF2 in LUKS1 at a cost of 2 seconds and at
    /// most 1 GiB or half of the memory, measured on this machine. Where [approved](crate::approval) algorithms only are taken,
    /// LUKS2 has PBKDF2, too.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of the keyslot: 0 to 31, or to 7 in LUKS1.
    pub fn id(mut self, id: u32) -> Self {
        self.id = Some(id);
        self
    }

    /// When the keyslot is tried. LUKS1 has no priorities.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// The key derivation and its cost, in place of what would be measured.
    pub fn kdf(mut self, kdf: Kdf) -> Self {
        self.kdf = Some(kdf);
        self
    }

    /// How long it shall take to open the keyslot, on a machine like this.
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// The most memory that the cost which is measured may take, in KiB.
    pub fn max_memory_kib(mut self, max_memory_kib: u32) -> Self {
        self.max_memory_kib = max_memory_kib;
        self
    }

    /// The key derivation of a new keyslot, in a header that may demand a hash.
    pub(super) fn resolve(&self, required_hash: Option<HashAlgorithm>) -> Result<Kdf> {
        if let Some(kdf) = self.kdf {
            if matches!(kdf, Kdf::Pbkdf2 { hash: HashAlgorithm::Sha1, .. })
                && required_hash != Some(HashAlgorithm::Sha1)
            {
                return Err(Error::InvalidOption("SHA-1 is for old keyslots only; take SHA-256 or SHA-512".into()));
            }
            kdf.check_new()?;
            return Ok(kdf);
        }
        let measure = |kind| Kdf::benchmark(kind, self.time, self.max_memory_kib, LANES);
        match required_hash {
            None if approval::is_approved_only() => measure(KdfKind::Pbkdf2(HashAlgorithm::Sha256)),
            None => measure(KdfKind::Argon2id),
            // An old header, which can have no other. It takes as many rounds as the slower hash.
            Some(hash @ HashAlgorithm::Sha1) => match measure(KdfKind::Pbkdf2(HashAlgorithm::Sha256))? {
                Kdf::Pbkdf2 { iterations, .. } => Ok(Kdf::Pbkdf2 { hash, iterations }),
                other => Ok(other),
            },
            Some(hash) => measure(KdfKind::Pbkdf2(hash)),
        }
    }

    pub(super) fn keyslot<'a>(&self, kdf: Kdf, passphrase: Passphrase<'a>) -> NewKeyslot<'a> {
        NewKeyslot { id: self.id, kdf, passphrase, priority: self.priority }
    }
}

impl<D: BlockDevice> Volume<D> {
    /// Makes another way into the volume, beside those that it has.
    ///
    /// A vault gets a token, and `options` are of no meaning; it is bound to the context and has the encryption type of the
    /// tokens that are there. A passphrase or key file gets a keyslot. Killed at any instant, the volume has the new way or
    /// has not, and those before it in any case.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::NoRoom`] when all keyslots or tokens are taken; [`Error::InvalidOption`];
    /// [`Error::UnsupportedHeader`] for a vault on LUKS1; [`Error::Busy`] when another program has changed the header
    /// since the volume was opened; what the vault answers; [`Error::Io`].
    pub fn add_protector(&self, protector: Protector<'_>, options: &KeyslotOptions) -> Result<ProtectorId> {
        on_wiped_stack(|| {
            self.check_writable()?;
            let passphrase = match protector {
                Protector::Vault(vault, key) => return self.add_token(vault, key).map(ProtectorId::Token),
                Protector::Passphrase(passphrase) => Passphrase::given(passphrase)?.protecting()?,
                Protector::KeyFile(path) => Passphrase::read(path)?.protecting()?,
            };
            // Costs are measured while others can use the header.
            let required_hash = self.locked_header().required_hash();
            let new = options.keyslot(options.resolve(required_hash)?, passphrase);
            let mut header = self.locked_header();
            let id = header.add_keyslot(self.header_device(), self.dek.secret(), &new)?;
            Ok(ProtectorId::Keyslot(id))
        })
    }

    fn add_token(&self, vault: &dyn KeyVault, key: &str) -> Result<u32> {
        self.locked_header().check_takes_tokens()?;
        // No lock is held while a vault answers.
        let wrapped = WrappedDek::wrap(vault, key, &self.dek)?;
        let mut header = self.locked_header();
        let like = header.genuine_tokens(&self.dek).into_iter().map(|(_, token)| token).next();
        let (kind, context) = like.map_or_else(Default::default, |token| (token.encryption_type, token.context));
        let token = Token::new(kind, &self.dek, wrapped, context, self.layout.size);
        header.add_token(self.header_device(), &self.dek, token, &[])
    }

    /// Puts a new passphrase or key file in the place of a keyslot, and returns the number of the new keyslot.
    ///
    /// The new one is made before the old one is destroyed, so that a free keyslot is needed; it takes over the priority,
    /// unless `options` have another. Killed at any instant, or after an error, the volume opens by the old or the new
    /// passphrase, or both.
    ///
    /// # Errors
    /// [`Error::NoSuchProtector`]; and those of [`add_protector`](Self::add_protector).
    pub fn change_keyslot(&self, id: u32, protector: Protector<'_>, options: &KeyslotOptions) -> Result<u32> {
        on_wiped_stack(|| {
            self.check_writable()?;
            let passphrase = match protector {
                Protector::Passphrase(passphrase) => Passphrase::given(passphrase)?.protecting()?,
                Protector::KeyFile(path) => Passphrase::read(path)?.protecting()?,
                Protector::Vault(..) => {
                    return Err(Error::InvalidOption(
                        "a keyslot takes a passphrase or a key file; add the vault instead".into(),
                    ));
                }
            };
            let mut options = options.clone();
            let header = self.locked_header();
            header.priority(id)?;
            let required_hash = header.required_hash();
            drop(header);
            let kdf = options.resolve(required_hash)?;
            // Under one lock, so that what is removed is what was asked for, and no keyslot that got its number since.
            let mut header = self.locked_header();
            let priority = header.priority(id)?;
            if options.priority == Priority::Normal {
                options.priority = priority;
            }
            let new = options.keyslot(kdf, passphrase);
            let new = header.add_keyslot(self.header_device(), self.dek.secret(), &new)?;
            header.remove_keyslot(self.header_device(), id)?;
            Ok(new)
        })
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        // Before any lock: in a child of the process that opened it, one may be held for ever.
        self.dek.check()?;
        if self.read_only { Err(Error::ReadOnly) } else { Ok(()) }
    }

    pub(super) fn header_device(&self) -> &dyn BlockDevice {
        match &self.header_device {
            Some(device) => device,
            None => &self.device,
        }
    }

    pub(super) fn locked_header(&self) -> MutexGuard<'_, Box<dyn StoredHeader>> {
        self.header.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
