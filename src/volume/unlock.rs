//! Unlocks the DEK with a credential, and verifies it.

use core::cell::Cell;
use std::time::Duration;

use super::BlockDevice;
use super::headers::{Attempt, Means, StoredHeader};
#[cfg(feature = "bitlocker")]
use super::startup_key::{StartupKey, read_startup_key};
use crate::cipher::CipherSpec;
use crate::key::{Credential, DekAlgorithm, KdfLimits, KeyVault, Passphrase, too_long};
use crate::log::tell;
#[cfg(feature = "bitlocker")]
use crate::ondisk::bitlocker::RecoveryPassword;
use crate::ondisk::luks::Token;
use crate::{Dek, Error, Result};

/// A locked volume: its header, and the parts that matter here.
pub(super) struct Locked<'a> {
    pub(super) header: &'a dyn StoredHeader,
    /// The device of the header.
    pub(super) device: &'a dyn BlockDevice,
    /// The cipher of the key.
    pub(super) cipher: CipherSpec,
    /// The keyslot to try; `None` for all.
    pub(super) keyslot: Option<u32>,
    /// The limits of all that is tried, for a re-encryption the keyslots of both keys.
    pub(super) budget: &'a Budget,
    /// The name of the key that must wrap the DEK.
    pub(super) key: Option<&'a str>,
    /// Whether the header needs no MAC of a token of ours.
    pub(super) ignore_tokens: bool,
}

impl Locked<'_> {
    /// Finds the DEK and proves it. A DEK that a vault unwraps is proven by the MAC of its token, which proves the header too; any
    /// other DEK is proven by the digest. If there are tokens of ours, the MAC of one must then prove the header. A header without
    /// them has no MAC, and opens as it does with other tools.
    pub(super) fn unlock(&self, credential: Credential<'_>) -> Result<(Dek, Option<Token>)> {
        let tokens = self.expected(self.header.tokens()?)?;
        let dek = match credential {
            Credential::Vault(vault) => return self.by_vault(vault, tokens),
            Credential::Passphrase(passphrase) => self.by_passphrase(Passphrase::given(passphrase)?.bytes())?,
            Credential::KeyFile(path) => self.by_passphrase(Passphrase::read(path)?.bytes())?,
            #[cfg(feature = "bitlocker")]
            Credential::RecoveryPassword(text) => {
                RecoveryPassword::parse(text.as_bytes())?;
                self.by_secret(text.as_bytes(), Means::RecoveryPassword)?
            }
            #[cfg(feature = "bitlocker")]
            Credential::StartupKey(path) => {
                let file = read_startup_key(path)?;
                self.by_secret(file.expose(), Means::StartupKey)?
            }
            #[cfg(feature = "bitlocker")]
            Credential::StartupKeyBytes(file) => {
                StartupKey::parse(file)?;
                self.by_secret(file, Means::StartupKey)?
            }
            #[cfg(feature = "bitlocker")]
            Credential::ClearKey => self.by_secret(&[], Means::ClearKey)?,
            Credential::Dek(dek) => {
                self.header.verify(dek.secret())?;
                // The caller may have given the same bytes as a key of another algorithm of that length.
                match DekAlgorithm::for_cipher(self.cipher, dek.algorithm().key_len()) {
                    Some(algorithm) => Dek::from_secret(algorithm, dek.secret().clone())?,
                    None => dek.clone(),
                }
            }
        };
        let refuse = !tokens.is_empty() && !self.ignore_tokens;
        let token = tokens.into_iter().map(|(_, token)| token).find(|token| self.header.proves(token, &dek).is_ok());
        if token.is_none() && refuse {
            return Err(Error::TamperedHeader);
        }
        if !self.cipher.takes_key(dek.algorithm().key_len()) {
            let (cipher, bits) = (self.cipher.name(), dek.algorithm().key_len() * 8);
            return Err(Error::UnsupportedHeader(format!("its cipher, {cipher:?}, takes no key of {bits} bits")));
        }
        Ok((dek, token))
    }

    /// The old key of a re-encryption. The header has it wrapped under the new one if this library began the re-encryption;
    /// otherwise the same passphrase must open both. `self` is of the old key.
    pub(super) fn unlock_previous(&self, new: &Dek, credential: Credential<'_>) -> Result<Dek> {
        let key = match (self.header.previous_key(new)?, credential) {
            (Some(key), _) => key,
            (None, Credential::Passphrase(passphrase)) => {
                return self.by_passphrase(Passphrase::given(passphrase)?.bytes()).map_err(no_previous);
            }
            (None, Credential::KeyFile(path)) => {
                return self.by_passphrase(Passphrase::read(path)?.bytes()).map_err(no_previous);
            }
            (None, _) => return Err(no_previous(Error::WrongPassphrase)),
        };
        // An owner of the new key put it there, beside the digest that proves it.
        self.header.verify(&key).map_err(|e| if let Error::WrongKey = e { Error::TamperedHeader } else { e })?;
        let algorithm = DekAlgorithm::for_cipher(self.cipher, key.len()).ok_or(Error::TamperedHeader)?;
        Dek::from_secret(algorithm, key)
    }

    /// The tokens that name the expected key.
    fn expected(&self, tokens: Vec<(u32, Token)>) -> Result<Vec<(u32, Token)>> {
        let Some(key) = self.key else { return Ok(tokens) };
        let (expected, others): (Vec<_>, Vec<_>) =
            tokens.into_iter().partition(|(_, token)| token.wrapped.kek.key() == key);
        if expected.is_empty() {
            return Err(Error::OtherKey { expected: key.into(), found: ways_in(&others) });
        }
        Ok(expected)
    }

    /// As [`unlock`](Self::unlock) by a vault, by these tokens only.
    pub(super) fn by_tokens(&self, vault: &dyn KeyVault, tokens: Vec<(u32, Token)>) -> Result<Dek> {
        let tokens = self.expected(tokens)?;
        self.by_vault(vault, tokens).map(|(dek, _)| dek)
    }

    fn by_vault(&self, vault: &dyn KeyVault, mut tokens: Vec<(u32, Token)>) -> Result<(Dek, Option<Token>)> {
        let mut failures = Vec::new();
        for at in 0..tokens.len() {
            match self.by_token(vault, &tokens[at].1) {
                Ok(None) => {}
                Ok(Some(dek)) => {
                    for failure in failures {
                        tell!(warn, "a token of the volume {} was passed over: {failure:#}", self.header.uuid());
                    }
                    return Ok((dek, Some(tokens.swap_remove(at).1)));
                }
                // Another token may name another key or vault, or be the one that is right.
                Err(e) => failures.push(e),
            }
        }
        // A vault that is only unavailable may open it later. Report that rather than the other failures.
        let is_outage = |e: &Error| matches!(e, Error::Vault(_) | Error::Io { .. } | Error::Busy { .. });
        if failures.len() > 1 && failures.iter().any(is_outage) {
            let all: Vec<_> = failures.iter().map(|e| format!("{e:#}")).collect();
            return Err(Error::Vault(format!("none of its tokens opens it now: {}", all.join("; ")).into()));
        }
        Err(failures.into_iter().next().unwrap_or_else(|| Error::NotThisVault { wanted: ways_in(&tokens) }))
    }

    /// `None` if the token is another vault's.
    fn by_token(&self, vault: &dyn KeyVault, token: &Token) -> Result<Option<Dek>> {
        let algorithm = DekAlgorithm::for_cipher(self.cipher, token.key_size as usize);
        let algorithm = algorithm.ok_or(Error::TamperedHeader)?;
        let Some(dek) = token.wrapped.unwrap(vault, algorithm, |_| Error::TamperedHeader)? else { return Ok(None) };
        // The MAC proves the DEK, and more than the header's digest would. Its key is derived from the DEK, and two DEKs with
        // the same MAC would be a collision of SHA-256. The MAC covers the digest too, so its maker had this DEK and put this
        // digest beside it. So the thousand iterations of the digest would prove nothing new. If the digest is of another DEK,
        // beside a right MAC, an owner of this DEK wanted it so. Then no new keyslot can be made, and the attempt fails there.
        self.header.proves(token, &dek)?;
        Ok(Some(dek))
    }

    fn by_passphrase(&self, passphrase: &[u8]) -> Result<Dek> {
        self.by_secret(passphrase, Means::Passphrase)
    }

    fn by_secret(&self, secret: &[u8], by: Means) -> Result<Dek> {
        let attempts = self.header.attempts(self.keyslot, by);
        if attempts.is_empty() {
            return Err(Error::NoSuchProtector(self.header.no_attempts(self.keyslot, by)));
        }
        let digest = self.header.digest_cost();
        let mut unusable = Vec::new();
        let (mut tried, mut refused) = (false, None);
        for (id, attempt) in attempts {
            let affordable = attempt.and_then(|attempt| {
                let checked = self.check_key(attempt.key_len()).and_then(|()| attempt.check(&self.budget.limits));
                let is_named = self.keyslot.is_some();
                let spent = checked.and_then(|()| self.budget.spend(&*attempt, digest, is_named));
                spent.map(|()| attempt).map_err(|what| format!("keyslot {id}: {what}"))
            });
            match affordable {
                Ok(attempt) => match self.by_keyslot(&*attempt, secret) {
                    Ok(Some(dek)) => return Ok(dek),
                    Ok(None) => tried = true,
                    // Its area can't be read, or there is no memory for it. The next keyslot may work.
                    Err(e @ (Error::Io { .. } | Error::InvalidOption(_))) => {
                        unusable.push(format!("keyslot {id}: {e:#}"))
                    }
                    // Another keyslot may have an approved KDF.
                    Err(e @ Error::NotApproved { .. }) => refused = refused.or(Some(e)),
                    Err(e) => return Err(e),
                },
                Err(what) => unusable.push(what),
            }
        }
        if let Some(refused) = refused {
            return Err(refused);
        }
        // If a keyslot was skipped, the passphrase may still be right for it.
        if !unusable.is_empty() {
            let tried = if tried { "the passphrase opens none of the other keyslots, and " } else { "" };
            return Err(Error::UnsupportedHeader(format!("{tried}{}", unusable.join("; "))));
        }
        Err(self.header.not_opened(secret, by))
    }

    /// Refuses a keyslot with a key that the cipher doesn't take, before its passphrase is tried.
    fn check_key(&self, len: usize) -> Result<(), String> {
        if DekAlgorithm::for_cipher(self.cipher, len).is_some() {
            return Ok(());
        }
        let is_rare = len == 48 && self.cipher.name().starts_with("aes-xts") && !cfg!(feature = "legacy");
        let hint = if is_rare { "; the feature `legacy` opens it" } else { "" };
        Err(format!("its key has {} bits, which {} doesn't take here{hint}", 8 * len, self.cipher.name()))
    }

    /// `None` if the secret isn't this keyslot's.
    fn by_keyslot(&self, attempt: &dyn Attempt, secret: &[u8]) -> Result<Option<Dek>> {
        let Some(algorithm) = DekAlgorithm::for_cipher(self.cipher, attempt.key_len()) else { return Ok(None) };
        let key = attempt.open(self.device, secret, &|key| self.header.verify(key))?;
        key.map(|key| Dek::from_secret(algorithm, key)).transpose()
    }
}

/// The limit for all keyslots of a header together. Thirty-two keyslots at the limit of one would take long enough to
/// be an attack.
pub(super) struct Budget {
    limits: KdfLimits,
    spent: Cell<Duration>,
}

impl Budget {
    pub(super) fn new(limits: KdfLimits) -> Self {
        Budget { limits, spent: Cell::new(Duration::ZERO) }
    }

    /// Subtracts the costs of a keyslot and of the digest that verifies its key. A keyslot that the caller named has a limit of its
    /// own only.
    fn spend(
        &self,
        attempt: &dyn Attempt,
        (iterations, digest): (u32, Duration),
        is_named: bool,
    ) -> Result<(), String> {
        let most = self.limits.max_pbkdf2_iterations;
        if iterations > most {
            return Err(format!(
                "it was not tried: the header's digest, which proves a key, asks for {iterations} iterations of PBKDF2, where at \
                 most {most} are allowed; raise `KdfLimits::max_pbkdf2_iterations`"
            ));
        }
        if is_named {
            return Ok(());
        }
        let (before, whole) = (self.spent.get(), self.limits.max_total);
        let spent = before.saturating_add(attempt.cost().saturating_add(digest));
        if spent > whole {
            let others = if before.is_zero() { "" } else { "with the keyslots before it, " };
            let text = too_long(spent, whole);
            return Err(format!("it was not tried: {others}{text}, or name it (`keyslot`) to try it alone"));
        }
        self.spent.set(spent);
        Ok(())
    }
}

/// A re-encryption that another program began needs one passphrase for both keys.
fn no_previous(e: Error) -> Error {
    match e {
        Error::WrongPassphrase | Error::NoSuchProtector(_) => Error::UnsupportedHeader(
            "a re-encryption of it is not finished, and the credential opens the new key only; use a passphrase that opens              the old key too, with which it was begun"
                .into(),
        ),
        other => other,
    }
}

/// The keys that tokens name, for an error's text.
pub(super) fn ways_in(tokens: &[(u32, Token)]) -> String {
    let keys: Vec<String> = tokens.iter().map(|(_, token)| token.wrapped.kek.to_string()).collect();
    if keys.is_empty() { "another credential: it names no vault at all".into() } else { keys.join(" or ") }
}

#[cfg(test)]
mod tests;
