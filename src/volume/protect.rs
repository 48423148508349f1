//! Adds, changes and removes the ways into a volume.

use core::time::Duration;
use std::sync::{MutexGuard, PoisonError};

use super::headers::{Means, NewKeyslot, StoredHeader};
#[cfg(feature = "bitlocker")]
use super::startup_key::{StartupKey, read_startup_key};
use super::{BlockDevice, ProtectorId, Volume};
use crate::approval;
use crate::arch::on_wiped_stack;
use crate::key::{HashAlgorithm, Kdf, KdfKind, KeyVault, Passphrase, Protector, WrappedDek};
use crate::ondisk::luks::{Priority, Token};
use crate::{Error, Result};

/// Options for a new keyslot. `KeyslotOptions::new()` is right for most.
#[derive(Debug, Clone)]
pub struct KeyslotOptions {
    id: Option<u32>,
    priority: Priority,
    kdf: Option<Kdf>,
    time: Duration,
    max_memory_kib: u32,
}

/// The most lanes that the reference implementation uses.
const LANES: u32 = 4;

/// The least memory of a measured cost.
const MIN_MEMORY_KIB: u32 = 32 << 10;

/// Half of the machine's memory. With more, opening the volume might make the system kill other programs. Only known on
/// Linux.
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
    /// The first free keyslot, with normal priority. The KDF is Argon2id in LUKS2 and PBKDF2 in LUKS1. Its cost is
    /// measured on this machine: 2 seconds, and at most 1 GiB or half of the memory. If the process takes
    /// [approved](crate::approval) algorithms only, LUKS2 uses PBKDF2, too.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of the keyslot: 0 to 31, or to 7 in LUKS1.
    pub fn id(mut self, id: u32) -> Self {
        self.id = Some(id);
        self
    }

    /// The priority of the keyslot. LUKS1 has no priorities.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// The key derivation and its cost, instead of a measured one.
    pub fn kdf(mut self, kdf: Kdf) -> Self {
        self.kdf = Some(kdf);
        self
    }

    /// The time to open the keyslot on a machine like this.
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// The most memory for a measured cost, in KiB.
    pub fn max_memory_kib(mut self, max_memory_kib: u32) -> Self {
        self.max_memory_kib = max_memory_kib;
        self
    }

    /// The key derivation of a new keyslot, if the header may require a hash.
    pub(super) fn resolve(&self, required_hash: Option<HashAlgorithm>) -> Result<Kdf> {
        if let Some(kdf) = self.kdf {
            if let Kdf::Pbkdf2 { hash, .. } = kdf
                && hash.is_legacy()
                && required_hash != Some(hash)
            {
                let text = format!("the hash {} is for old keyslots only; take SHA-256 or SHA-512", hash.name());
                return Err(Error::InvalidOption(text));
            }
            kdf.check_new()?;
            return Ok(kdf);
        }
        let measure = |kind| Kdf::benchmark(kind, self.time, self.max_memory_kib, LANES);
        match required_hash {
            None if approval::is_approved_only() => measure(KdfKind::Pbkdf2(HashAlgorithm::Sha256)),
            None => measure(KdfKind::Argon2id),
            // An old header, which can't use another hash. Use as many iterations as for a current one.
            Some(hash) if hash.is_legacy() => match measure(KdfKind::Pbkdf2(HashAlgorithm::Sha256))? {
                Kdf::Pbkdf2 { iterations, .. } => Ok(Kdf::Pbkdf2 { hash, iterations }),
                other => Ok(other),
            },
            Some(hash) => measure(KdfKind::Pbkdf2(hash)),
        }
    }

    /// As [`resolve`](Self::resolve), for a header that may have one key derivation only.
    pub(super) fn resolve_for(&self, fixed: Option<Kdf>, required_hash: Option<HashAlgorithm>) -> Result<Kdf> {
        match fixed {
            Some(_) if self.kdf.is_some_and(|kdf| Some(kdf) != fixed) => {
                Err(Error::InvalidOption("this format has one key derivation, of a fixed cost; leave it out".into()))
            }
            Some(kdf) => Ok(kdf),
            None => self.resolve(required_hash),
        }
    }

    pub(super) fn keyslot<'a>(&self, kdf: Kdf, (passphrase, by): (Passphrase<'a>, Means)) -> NewKeyslot<'a> {
        NewKeyslot { id: self.id, by, kdf, passphrase, priority: self.priority, of_tokens: false }
    }
}

/// The secret of a new keyslot.
pub(super) fn secret_of(protector: Protector<'_>) -> Result<(Passphrase<'_>, Means)> {
    match protector {
        Protector::Passphrase(passphrase) => Ok((Passphrase::given(passphrase)?.protecting()?, Means::Passphrase)),
        Protector::KeyFile(path) => Ok((Passphrase::read(path)?.protecting()?, Means::Passphrase)),
        #[cfg(feature = "bitlocker")]
        Protector::StartupKey(path) => Ok((Passphrase::File(read_startup_key(path)?), Means::StartupKey)),
        #[cfg(feature = "bitlocker")]
        Protector::StartupKeyBytes(file) => {
            StartupKey::parse(file)?;
            Ok((Passphrase::Given(file), Means::StartupKey))
        }
        #[cfg(feature = "bitlocker")]
        Protector::RecoveryPassword(text) => Ok((Passphrase::given(text.as_bytes())?, Means::RecoveryPassword)),
        Protector::Vault(..) => {
            Err(Error::InvalidOption("a keyslot takes a passphrase or a key file; add the vault instead".into()))
        }
    }
}

impl<D: BlockDevice> Volume<D> {
    /// Adds another way into the volume.
    ///
    /// A vault gets a token, and `options` have no effect; the token takes the context and encryption type of the
    /// existing tokens. A passphrase or key file gets a keyslot. If this is killed at any instant, the volume has the
    /// new way or not, and always keeps the earlier ones.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::NoRoom`] if all keyslots or tokens are taken; [`Error::InvalidOption`];
    /// [`Error::UnsupportedHeader`] for a vault on LUKS1; [`Error::Busy`] if another program has changed the header
    /// since the volume was opened; the vault's errors; [`Error::Io`].
    pub fn add_protector(&self, protector: Protector<'_>, options: &KeyslotOptions) -> Result<ProtectorId> {
        on_wiped_stack(|| {
            self.check_writable()?;
            if let Protector::Vault(vault, key) = protector {
                return self.add_token(vault, key).map(ProtectorId::Token);
            }
            let secret = secret_of(protector)?;
            // Measure the cost without the lock, so that others can use the header meanwhile.
            let header = self.locked_header();
            header.check_means(secret.1)?;
            let (fixed, required_hash) = (header.fixed_kdf(), header.required_hash());
            drop(header);
            let new = options.keyslot(options.resolve_for(fixed, required_hash)?, secret);
            let mut header = self.locked_header();
            let id = header.add_keyslot(self.header_device(), self.dek().secret(), &new)?;
            Ok(ProtectorId::Keyslot(id))
        })
    }

    fn add_token(&self, vault: &dyn KeyVault, key: &str) -> Result<u32> {
        self.locked_header().check_takes_tokens()?;
        // No lock is held while a vault answers.
        let wrapped = WrappedDek::wrap(vault, key, &self.dek())?;
        let mut header = self.locked_header();
        let like = header.genuine_tokens(&self.dek()).into_iter().map(|(_, token)| token).next();
        let (kind, context, reencrypt) =
            like.map_or_else(Default::default, |token| (token.encryption_type, token.context, token.reencrypt));
        let token = Token::new(kind, &self.dek(), wrapped, context, self.size()).reencrypt(reencrypt);
        header.add_token(self.header_device(), &self.dek(), token, &[])
    }

    /// Replaces a keyslot by one with a new passphrase or key file, and returns the new keyslot's number.
    ///
    /// The new keyslot is made before the old one is destroyed, so a free keyslot is needed. It inherits the priority
    /// unless `options` set another. If this is killed at any instant, or fails, the volume opens with the old or the
    /// new passphrase, or both.
    ///
    /// # Errors
    /// [`Error::NoSuchProtector`]; the errors of [`add_protector`](Self::add_protector).
    pub fn change_keyslot(&self, id: u32, protector: Protector<'_>, options: &KeyslotOptions) -> Result<u32> {
        on_wiped_stack(|| {
            self.check_writable()?;
            let secret = secret_of(protector)?;
            let mut options = options.clone();
            let header = self.locked_header();
            header.check_means(secret.1)?;
            header.priority(id)?;
            let (fixed, required_hash) = (header.fixed_kdf(), header.required_hash());
            drop(header);
            let kdf = options.resolve_for(fixed, required_hash)?;
            // Hold one lock throughout, so that the removed keyslot is the one asked for, and not a newer one with its
            // number.
            let mut header = self.locked_header();
            let priority = header.priority(id)?;
            if options.priority == Priority::Normal {
                options.priority = priority;
            }
            let new = options.keyslot(kdf, secret);
            let new = header.add_keyslot(self.header_device(), self.dek().secret(), &new)?;
            header.remove_keyslot(self.header_device(), id)?;
            Ok(header.number_after(new, id))
        })
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        // Check before any lock: in a child of the process that opened the volume, a lock may be held for ever.
        self.live.get().keys.check()?;
        if self.read_only { Err(Error::ReadOnly) } else { Ok(()) }
    }

    pub(super) fn header_device(&self) -> &dyn BlockDevice {
        match self.header_device.get() {
            Some(device) => device,
            None => &self.device,
        }
    }

    pub(super) fn is_detached(&self) -> bool {
        self.header_device.get().is_some()
    }

    pub(super) fn locked_header(&self) -> MutexGuard<'_, Box<dyn StoredHeader>> {
        self.header.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
