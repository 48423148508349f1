//! [`Quorum`].

use std::fmt;
use std::sync::Arc;
use std::thread;

use atrest::key::{AnyVault, KeyDescription, KeyId, KeyKind, MAX_WRAPPED, WrapAlgorithm, WrappedDek, wrap};
use atrest::{Error, KeyVault, Result, Secret};

use crate::bundle::{Bundle, MAX_MEMBERS, Part, SALT};
use crate::{self_test, split, version};

/// Each member's description of its key.
type Said = Vec<Result<Option<KeyDescription>>>;

/// The length of the secret that is split.
const SECRET: usize = 32;

/// A vault of a [`Quorum`], with the name of its key.
#[derive(Clone)]
pub struct Member {
    vault: Arc<dyn KeyVault>,
    key: Option<String>,
}

impl Member {
    /// A vault whose key has the same name as the quorum's.
    pub fn new(vault: Arc<dyn KeyVault>) -> Self {
        Member { vault, key: None }
    }

    /// Sets the name of its key, whatever the name of the quorum's key.
    ///
    /// Keep it for as long as anything is wrapped under that key. A bundle names the keys of its parts, and anyone who writes to a disk
    /// chooses those names, so a vault's refusal of a key of another name counts as an altered bundle ([`Error::UnwrapFailed`]) and
    /// not as a refusal.
    pub fn key(mut self, name: impl Into<String>) -> Self {
        self.key = Some(name.into());
        self
    }

    fn key_for<'n>(&'n self, name: &'n str) -> &'n str {
        self.key.as_deref().unwrap_or(name)
    }
}

/// Several vaults as one, of which a threshold is needed to unwrap.
///
/// A version of its key stands for one version of each member's key. Describing a version takes as many vaults as unwrapping;
/// finding the latest version, and wrapping, take all.
pub struct Quorum {
    id: String,
    threshold: usize,
    least: usize,
    members: Vec<Member>,
    /// The same vaults. It doesn't ask those again that have just failed.
    vaults: AnyVault,
}

impl Quorum {
    /// Combines vaults, of which `threshold` are needed. `id` is the quorum's own name, such as `quorum:board`, by which it
    /// recognises DEKs that it has wrapped. The order of the members counts in the names of versions.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] unless `threshold` is at least 2 and at most the number of members, which are at most 16 and
    /// all different; [`Error::InvalidName`] for an invalid vault id.
    pub fn new(id: impl Into<String>, threshold: usize, members: impl IntoIterator<Item = Member>) -> Result<Self> {
        let (id, members): (String, Vec<_>) = (id.into(), members.into_iter().collect());
        KeyId::new(&id, "key", "version")?;
        if !(2..=members.len()).contains(&threshold) || members.len() > MAX_MEMBERS {
            let text = format!(
                "a quorum needs at least 2 of at most {MAX_MEMBERS} vaults, not {threshold} of {}; for any one of several \
                 there is AnyVault",
                members.len()
            );
            return Err(Error::InvalidOption(text));
        }
        let vaults = AnyVault::new(members.iter().map(|member| member.vault.clone()))?;
        Ok(Quorum { id, threshold, least: threshold, members, vaults })
    }

    /// Also opens DEKs that need only `least` vaults, at least 2: those wrapped before the threshold was raised. Wrap them
    /// again, and then leave this off: anyone who may wrap in that many vaults could prepare a volume of their own.
    pub fn opens_from(mut self, least: usize) -> Self {
        self.least = least.clamp(2, self.threshold);
        self
    }

    /// How many vaults are needed.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// Wraps under a version of each member's key, or its latest.
    fn wrap_under(&self, key: &str, versions: Option<&[&str]>, dek: &Secret) -> Result<WrappedDek> {
        self_test::check()?;
        let secret = Secret::random(SECRET)?;
        let parts = split::split(&secret, self.threshold, self.members.len())?;
        let mut salt = [0; SALT];
        salt.copy_from_slice(Secret::random(SALT)?.expose());
        let wrap = |at: usize| {
            let (member, part) = (&self.members[at], &parts[at]);
            let (vault, key) = (&*member.vault, member.key_for(key));
            let wrapped = match versions {
                Some(versions) => vault.wrap_version(&KeyId::new(vault.id(), key, versions[at])?, part)?,
                None => vault.wrap(key, part)?,
            };
            let kek = &wrapped.kek;
            if kek.vault() != vault.id() || kek.key() != key {
                return Err(failure(format!("asked to wrap under {}/keys/{key}, it answered with {kek}", vault.id())));
            }
            // A part that can't be unwrapped would otherwise be noticed only when it is needed.
            match vault.unwrap(&wrapped)? {
                Some(again) if again == *part => Part::new(wrapped, &salt, at, part),
                _ => Err(failure(format!("the vault {} does not unwrap what it has just wrapped", vault.id()))),
            }
        };
        let made = at_once((0..self.members.len()).collect(), wrap);
        let parts = made.into_iter().map(|(_, part)| part).collect::<Result<Vec<_>>>()?;
        parts.iter().try_for_each(|part| part.wrapped.algorithm.approval().require())?;
        let keys: Vec<_> = parts.iter().map(|part| part.wrapped.kek.clone()).collect();
        let kek = KeyId::new(&self.id, key, &version::name(&keys)?)?;
        let bundle = Bundle { threshold: self.threshold, salt, parts };
        let mut bytes = bundle.to_bytes();
        let mut wrapped = vec![0; dek.len().next_multiple_of(8) + 8];
        let key = bundle.key(&secret, &kek)?;
        bytes.extend(wrap::aes_kwp_wrap(key.expose(), dek.expose(), &mut wrapped)?);
        if bytes.len() > MAX_WRAPPED {
            let (len, n) = (bytes.len(), self.members.len());
            let text = format!(
                "what {n} vaults wrap has {len} bytes, and at most {MAX_WRAPPED} can be stored; take fewer vaults, or keys that \
                 wrap shorter, such as AES"
            );
            return Err(Error::InvalidOption(text));
        }
        Ok(WrappedDek::new(kek, WrapAlgorithm::Opaque, bytes))
    }

    /// The parts of a bundle of this key, from as many vaults as needed.
    fn gather(&self, bundle: &Bundle, key: &str) -> Result<Vec<(usize, Secret)>> {
        // The writer of a header chooses the names of the parts' keys. A refusal of another key says nothing of this one.
        let is_of_key = |kek: &KeyId| {
            let member = self.members.iter().find(|member| member.vault.id() == kek.vault());
            member.is_some_and(|member| member.key_for(key) == kek.key())
        };
        let (mut got, mut failed, mut next) = (Vec::new(), Failed::default(), 0);
        while got.len() < bundle.threshold {
            let end = (next + bundle.threshold - got.len()).min(bundle.parts.len());
            if next == end {
                return Err(failed.verdict(bundle.threshold - got.len()));
            }
            let ask = |at: usize| {
                let part = &bundle.parts[at];
                match self.vaults.unwrap(&part.wrapped)? {
                    Some(secret) if part.is(&bundle.salt, at, &secret)? => Ok(Some(secret)),
                    _ => Ok(None),
                }
            };
            let mut asked = Vec::with_capacity(end - next);
            for at in next..end {
                // Here, since an indicator observes one thread.
                match bundle.parts[at].wrapped.algorithm.approval().require() {
                    Ok(()) => asked.push(at),
                    Err(e) => failed.count(bundle.parts[at].wrapped.kek.vault(), e),
                }
            }
            for (at, answer) in at_once(asked, ask) {
                let kek = &bundle.parts[at].wrapped.kek;
                let vault = kek.vault();
                match answer {
                    Ok(Some(part)) => got.push((at, part)),
                    Ok(None) => failed.count(vault, Error::UnwrapFailed),
                    Err(Error::KeyRefused { .. }) if !is_of_key(kek) => failed.count(vault, Error::UnwrapFailed),
                    Err(e) => failed.count(vault, e),
                }
            }
            next = end;
        }
        Ok(got)
    }

    /// The vaults' descriptions of their keys: of their latest versions, or given ones.
    fn descriptions(&self, key: &str, versions: Option<&[&str]>) -> Said {
        let describe = |at: usize| {
            let member = &self.members[at];
            member.vault.describe(member.key_for(key), versions.map(|versions| versions[at]))
        };
        at_once((0..self.members.len()).collect(), describe).into_iter().map(|(_, said)| said).collect()
    }

    /// The description of a version as a whole.
    fn sum_up(&self, id: KeyId, all: Said) -> Result<Option<KeyDescription>> {
        let mut failed = Failed::default();
        let (mut said, mut silent) = (Vec::new(), 0);
        for (member, answer) in self.members.iter().zip(all) {
            match answer {
                Ok(Some(description)) => said.push(description),
                // This vault doesn't describe keys, so it doesn't count against this one.
                Ok(None) => silent += 1,
                Err(e) => failed.count(member.vault.id(), e),
            }
        }
        if said.is_empty() && silent > 0 && failed.is_empty() {
            return Ok(None);
        }
        let needed = self.threshold.saturating_sub(silent);
        if said.len() < needed {
            return Err(failed.verdict(needed - said.len()));
        }
        let mut sum = KeyDescription::new(id, KeyKind::Aes256);
        sum.enabled = said.iter().filter(|of| of.enabled).count() >= needed;
        sum.created = said.iter().filter_map(|of| of.created).max();
        // Anyone with public keys alone could prepare as many parts.
        sum.authenticated = said.iter().filter(|of| !of.authenticated).count() < self.threshold;
        if needed > 0 {
            // The instants from which too few members remain, and from which enough are valid.
            let mut expires: Vec<_> = said.iter().map(|of| of.expires.unwrap_or(u64::MAX)).collect();
            expires.sort_by(|a, b| b.cmp(a));
            sum.expires = expires.get(needed - 1).copied().filter(|&at| at != u64::MAX);
            let mut begins: Vec<_> = said.iter().map(|of| of.not_before.unwrap_or(0)).collect();
            begins.sort();
            sum.not_before = begins.get(needed - 1).copied().filter(|&at| at != 0);
        }
        Ok(Some(sum))
    }

    /// The latest version of each member's key, if all say it.
    fn latest(&self, key: &str) -> Result<Option<(KeyId, Said)>> {
        let all = self.descriptions(key, None);
        let mut keys = Vec::new();
        for said in &all {
            match said {
                Ok(Some(description)) => keys.push(description.id.clone()),
                Ok(None) => return Ok(None),
                Err(_) => {}
            }
        }
        if keys.len() < self.members.len() {
            // Without one of them the latest version is unknown: its failure is returned.
            let failure = all.into_iter().find_map(Result::err);
            return Err(failure.unwrap_or(Error::UnwrapFailed));
        }
        Ok(Some((KeyId::new(&self.id, key, &version::name(&keys)?)?, all)))
    }
}

impl KeyVault for Quorum {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.wrap_under(key, None, dek)
    }

    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        let versions = version::parts(kek.version(), self.members.len());
        let wrapped = self.wrap_under(kek.key(), versions.as_deref(), dek)?;
        if wrapped.kek != *kek {
            let got = &wrapped.kek;
            return Err(failure(format!(
                "asked to wrap under {kek}, the quorum wrapped under {got}, its latest version"
            )));
        }
        Ok(wrapped)
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        if wrapped.kek.vault() != self.id {
            return Ok(None);
        }
        if wrapped.algorithm != WrapAlgorithm::Opaque || wrapped.bytes.len() > MAX_WRAPPED {
            return Err(Error::UnwrapFailed);
        }
        let (bundle, dek) = Bundle::parse(&wrapped.bytes).ok_or(Error::UnwrapFailed)?;
        // Otherwise the writer of a header would choose how few vaults are needed.
        if bundle.threshold < self.least || dek.len() < 16 || !dek.len().is_multiple_of(8) {
            return Err(Error::UnwrapFailed);
        }
        self_test::check()?;
        let keys: Vec<_> = bundle.parts.iter().map(|part| part.wrapped.kek.clone()).collect();
        if version::name(&keys)? != wrapped.kek.version() {
            return Err(Error::UnwrapFailed);
        }
        let secret = split::combine(&self.gather(&bundle, wrapped.kek.key())?)?;
        let key = bundle.key(&secret, &wrapped.kek)?;
        let mut out = Secret::zeroed(dek.len() - 8);
        let unwrapped = wrap::aes_kwp_unwrap(key.expose(), dek, out.expose_mut()).map_err(|e| match e {
            Error::SelfTest { .. } => e,
            _ => Error::UnwrapFailed,
        });
        let len = unwrapped?.len();
        Ok(Some(Secret::copy_from(&out.expose()[..len])))
    }

    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        let Some(version) = version else {
            let Some((id, all)) = self.latest(key)? else { return Ok(None) };
            return self.sum_up(id, all);
        };
        if let Some(versions) = version::parts(version, self.members.len()) {
            return self.sum_up(KeyId::new(&self.id, key, version)?, self.descriptions(key, Some(&versions)));
        }
        // A digest of the latest versions, or of earlier ones, which can't be described.
        Ok(match self.latest(key)? {
            Some((id, all)) if id.version() == version => self.sum_up(id, all)?,
            _ => None,
        })
    }
}

impl fmt::Debug for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vaults: Vec<_> = self.members.iter().map(|member| member.vault.id()).collect();
        f.debug_struct("Quorum")
            .field("id", &self.id)
            .field("threshold", &self.threshold)
            .field("vaults", &vaults)
            .finish()
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("vault", &self.vault.id()).field("key", &self.key).finish()
    }
}

/// The failures of vaults.
#[derive(Default)]
struct Failed {
    /// Those that may answer otherwise in a while.
    outages: Vec<String>,
    refusal: Option<Error>,
    wrong: bool,
    /// What no vault can help: this process computes wrongly, or is a forked child, which must open the vault anew.
    own: Option<Error>,
}

impl Failed {
    fn count(&mut self, vault: &str, error: Error) {
        log::warn!(target: "atrest", "the vault {vault} gave no part of a quorum's key: {error:#}");
        match error {
            Error::KeyRefused { .. } | Error::NotApproved { .. } => self.refusal = self.refusal.take().or(Some(error)),
            // Wrong bytes, a vault that isn't one of these, or one that gave another part.
            Error::UnwrapFailed | Error::UnsupportedAlgorithm(_) | Error::WrapLength { .. } => self.wrong = true,
            Error::SelfTest { .. } => self.own = Some(error),
            Error::Forked => self.own = self.own.take().or(Some(error)),
            e => self.outages.push(format!("{vault}: {e:#}")),
        }
    }

    fn is_empty(&self) -> bool {
        self.outages.is_empty() && self.refusal.is_none() && !self.wrong && self.own.is_none()
    }

    /// The error that follows if so many answers are missing.
    fn verdict(self, missing: usize) -> Error {
        if let Some(own) = self.own {
            return own;
        }
        if self.outages.len() >= missing && missing > 0 {
            return failure(format!("{missing} more vaults are needed: {}", self.outages.join("; ")));
        }
        self.refusal.unwrap_or(Error::UnwrapFailed)
    }
}

fn failure(text: String) -> Error {
    Error::Vault(text.into())
}

/// Runs `act` for all of these at once, each on a thread of its own but the first. The answers are in order.
fn at_once<T: Send>(all: Vec<usize>, act: impl Fn(usize) -> Result<T> + Sync) -> Vec<(usize, Result<T>)> {
    let act = &act;
    thread::scope(|scope| {
        let others = all.iter().skip(1).map(|&at| {
            let begun = thread::Builder::new().spawn_scoped(scope, move || act(at));
            (at, begun.ok())
        });
        let others: Vec<_> = others.collect();
        let mut answers: Vec<_> = all.first().map(|&at| (at, act(at))).into_iter().collect();
        for (at, begun) in others {
            let answer = match begun {
                Some(thread) => thread.join().unwrap_or_else(|_| Err(failure("a vault's code panicked".into()))),
                // No thread can be started: one after the other.
                None => act(at),
            };
            answers.push((at, answer));
        }
        answers
    })
}
