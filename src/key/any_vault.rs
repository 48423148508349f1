//! [`AnyVault`]: several vaults as one, each for the volumes that it protects.

use core::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::description::KeyDescription;
use super::key_id::KeyId;
use super::key_vault::{KeyVault, WrappedDek};
use crate::{Error, OwningProcess, Result, Secret, VaultFailure};

/// Several vaults as one: it unwraps a DEK that any of them has wrapped, so that a volume with a token for each opens while one
/// of them can be reached.
///
/// A vault that fails to answer isn't asked again for a while, 1 s at first and at most 60 s: until then it costs no time.
/// A vault's refusal of a key is an answer, not such a failure. The first vault wraps new DEKs; add the others to a volume with
/// [`Volume::add_protector`](crate::Volume::add_protector). If several vaults together should open a volume, and none of them
/// alone, use the crate `atrest-quorum`.
///
/// ```
/// use std::sync::Arc;
/// use atrest::key::AnyVault;
/// use atrest::vault::{FileVault, Unlock};
/// use atrest::volume::KeyslotOptions;
/// use atrest::{Credential, FormatOptions, KeyVault, MemoryDevice, OpenOptions, Protector, Volume};
/// # let folder = tempfile::tempdir()?;
/// # let make = |name: &str| -> atrest::Result<Arc<FileVault>> {
/// #     let key_file = folder.path().join(format!("{name}.key"));
/// #     FileVault::generate_key_file(&key_file)?;
/// #     let vault = FileVault::create(folder.path().join(name), Unlock::KeyFile(&key_file))?;
/// #     vault.create_key("disks")?;
/// #     Ok(Arc::new(vault))
/// # };
/// # let (here, there) = (make("a.vault")?, make("b.vault")?);
///
/// let volume = Volume::format(MemoryDevice::new(20 << 20), Protector::Vault(&*here, "disks"), &FormatOptions::new())?;
/// volume.add_protector(Protector::Vault(&*there, "disks"), &KeyslotOptions::new())?;
///
/// let any = AnyVault::new([here as Arc<dyn KeyVault>, there])?;
/// let volume = Volume::open(volume.into_device(), Credential::Vault(&any), &OpenOptions::new())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AnyVault(Vec<Member>);

struct Member {
    vault: Arc<dyn KeyVault>,
    owner: OwningProcess,
    failed: Mutex<Option<Failed>>,
}

/// The last failures of a vault, with no answer in between.
struct Failed {
    count: u32,
    until: Instant,
    why: VaultFailure,
}

/// The longest time for which a vault isn't asked.
const LONGEST: Duration = Duration::from_secs(60);

impl AnyVault {
    /// Puts vaults together, the one that wraps new DEKs first.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if there are none, or two with one id.
    pub fn new(vaults: impl IntoIterator<Item = Arc<dyn KeyVault>>) -> Result<Self> {
        let members: Vec<_> = vaults.into_iter().map(Member::new).collect();
        if members.is_empty() {
            return Err(Error::InvalidOption("several vaults as one are at least one vault".into()));
        }
        for (at, member) in members.iter().enumerate() {
            if members[..at].iter().any(|other| other.vault.id() == member.vault.id()) {
                let text = format!("the vault {} is there twice; name each once", member.vault.id());
                return Err(Error::InvalidOption(text));
            }
        }
        Ok(AnyVault(members))
    }

    /// The vaults, in the order in which they were given.
    pub fn vaults(&self) -> impl Iterator<Item = &Arc<dyn KeyVault>> {
        self.0.iter().map(|member| &member.vault)
    }
}

impl Member {
    fn new(vault: Arc<dyn KeyVault>) -> Self {
        Member { vault, owner: OwningProcess::current(), failed: Mutex::default() }
    }

    /// Asks the vault, unless it failed a moment ago.
    fn ask<T>(&self, now: Instant, ask: impl FnOnce(&dyn KeyVault) -> Result<T>) -> Result<T> {
        // A thread of the parent may have held the lock when this process was forked. The vault itself knows whether a child may use it.
        if !self.owner.is_current() {
            return ask(&*self.vault);
        }
        self.pass(now)?;
        let answer = ask(&*self.vault);
        let failed = |count: u32, why| Failed { count, until: now.max(Instant::now()) + wait(count), why };
        let mut before = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = before.as_ref().map_or(0, |failed| failed.count).saturating_add(1);
        *before = match &answer {
            Err(Error::Vault(why)) => Some(failed(count, why.clone())),
            Err(e @ (Error::Io { .. } | Error::Busy { .. })) => Some(failed(count, format!("{e:#}").into())),
            _ => None,
        };
        answer
    }

    /// Lets one call pass once the time after a failure is over, and refuses others for another while, so that they don't all wait
    /// for a vault that is still down.
    fn pass(&self, now: Instant) -> Result<()> {
        let mut before = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(failed) = &mut *before else { return Ok(()) };
        if failed.until <= now {
            failed.until = now + wait(failed.count);
            return Ok(());
        }
        let text = format!("the vault {} isn't asked now, since it has just failed ({})", self.vault.id(), failed.why);
        Err(Error::Vault(text.into()))
    }
}

fn wait(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(LONGEST)
}

impl KeyVault for AnyVault {
    /// The id of the first vault.
    fn id(&self) -> &str {
        self.0[0].vault.id()
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.0[0].ask(Instant::now(), |vault| vault.wrap(key, dek))
    }

    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        self.0[0].ask(Instant::now(), |vault| vault.wrap_version(kek, dek))
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        match self.0.iter().find(|member| member.vault.id() == wrapped.kek.vault()) {
            Some(member) => member.ask(Instant::now(), |vault| vault.unwrap(wrapped)),
            None => Ok(None),
        }
    }

    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        self.0[0].ask(Instant::now(), |vault| vault.describe(key, version))
    }
}

impl fmt::Debug for AnyVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyVault").field(&self.vaults().map(|vault| vault.id()).collect::<Vec<_>>()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

    use super::*;
    use crate::KeyRefusal;
    use crate::key::WrapAlgorithm;

    #[derive(Default)]
    struct Vault {
        id: &'static str,
        is_down: AtomicBool,
        refuses: AtomicBool,
        asked: AtomicUsize,
    }

    impl KeyVault for Vault {
        fn id(&self) -> &str {
            self.id
        }

        fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
            let kek = KeyId::new(self.id, key, "1")?;
            Ok(WrappedDek { kek, algorithm: WrapAlgorithm::Opaque, bytes: dek.expose().to_vec() })
        }

        fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
            assert_eq!(wrapped.kek.vault(), self.id, "it was another's");
            self.asked.fetch_add(1, SeqCst);
            if self.is_down.load(SeqCst) {
                return Err(Error::Vault("no answer".into()));
            }
            if self.refuses.load(SeqCst) {
                return Err(Error::key_refused("disks", KeyRefusal::Disabled));
            }
            Ok(Some(Secret::copy_from(&wrapped.bytes)))
        }
    }

    fn two() -> ([Arc<Vault>; 2], AnyVault, [WrappedDek; 2]) {
        let vaults = ["one", "two"].map(|id| Arc::new(Vault { id, ..Vault::default() }));
        let wrapped = vaults.each_ref().map(|vault| vault.wrap("disks", &Secret::copy_from(&[7; 64])).unwrap());
        let any = AnyVault::new(vaults.iter().map(|vault| vault.clone() as _)).unwrap();
        (vaults, any, wrapped)
    }

    #[test]
    fn each_vault_unwraps_its_own_and_a_failure_of_one_is_not_the_others() {
        let ([one, two], any, wrapped) = two();
        assert!(wrapped.iter().all(|wrapped| any.unwrap(wrapped).unwrap().is_some()));
        assert_eq!(any.wrap("disks", &Secret::copy_from(&[1])).unwrap().kek.vault(), "one");
        one.is_down.store(true, SeqCst);
        for _ in 0..3 {
            assert!(matches!(any.unwrap(&wrapped[0]), Err(Error::Vault(_))));
            assert!(any.unwrap(&wrapped[1]).unwrap().is_some());
        }
        // Two of the three answers were ready.
        assert_eq!((one.asked.load(SeqCst), two.asked.load(SeqCst)), (2, 4));
        let other = WrappedDek { kek: KeyId::new("three", "disks", "1").unwrap(), ..wrapped[0].clone() };
        assert!(any.unwrap(&other).unwrap().is_none());
        assert!(any.wrap("disks", &Secret::copy_from(&[1])).is_err());
        assert_eq!(format!("{any:?}"), "AnyVault([\"one\", \"two\"])");
    }

    #[test]
    fn a_vault_is_asked_again_after_a_while_by_one_and_at_once_by_all_when_it_is_back() {
        let ([one, _], any, wrapped) = two();
        let asked = || one.asked.load(SeqCst);
        let ask = |now| any.0[0].ask(now, |vault| vault.unwrap(&wrapped[0]));
        one.is_down.store(true, SeqCst);
        let mut now = Instant::now();
        for failures in 1..=10 {
            assert!(ask(now).is_err());
            assert_eq!(asked(), failures);
            let later = now + wait(failures as u32);
            assert!(ask(later - Duration::from_millis(1)).is_err());
            assert_eq!(asked(), failures, "too early");
            now = later + Duration::from_secs(1);
        }
        assert_eq!(wait(10), LONGEST);
        // One asks, and meanwhile no other does.
        any.0[0].pass(now).unwrap();
        assert!(any.0[0].pass(now).is_err());
        one.is_down.store(false, SeqCst);
        now += Duration::from_secs(120);
        assert!(ask(now).is_ok() && ask(now).is_ok());
    }

    #[test]
    fn a_refusal_is_an_answer() {
        let ([one, _], any, wrapped) = two();
        one.refuses.store(true, SeqCst);
        for _ in 0..3 {
            assert!(any.unwrap(&wrapped[0]).unwrap_err().is_revocation());
        }
        assert_eq!(one.asked.load(SeqCst), 3);
    }

    #[test]
    fn no_vault_and_one_that_is_there_twice_are_refused() {
        let ([one, _], ..) = two();
        for vaults in [vec![], vec![one.clone(), one]] {
            let any = AnyVault::new(vaults.into_iter().map(|vault| vault as _));
            assert!(matches!(any, Err(Error::InvalidOption(_))), "{any:?}");
        }
    }
}
