//! Passphrases, and the wrapping of passphrases and startup keys in the values of secrets.

use atrest::key::MAX_WRAPPED;
use atrest::{Error, Result, Secret};
use atrest_http::{base64, base64url};
use zeroize::Zeroizing;

use crate::base64::decode;
use crate::store::KeyEncryptionKeys;
use crate::tags::Kek;

/// How many random bytes a passphrase has.
const LEN: usize = 127;

/// A new passphrase of LUKS: 127 random bytes in base64, 172 characters.
///
/// # Errors
/// [`Error::Random`] or another of [`Secret::random`].
pub fn generate_passphrase() -> Result<Secret> {
    let text = Zeroizing::new(base64(Secret::random(LEN)?.expose()));
    Ok(Secret::copy_from(text.as_bytes()))
}

/// The value of a secret for a passphrase, or for the bytes of a file with a startup key (`.BEK`): in base64, or wrapped under a KEK and
/// in base64url.
///
/// # Errors
/// Errors of the KEK's vault; [`Error::NotThisVault`] if none of `keks` has the key.
pub fn seal(secret: &Secret, kek: Option<&Kek>, keks: &[&dyn KeyEncryptionKeys]) -> Result<Secret> {
    let text = match kek {
        None => base64(secret.expose()),
        Some(kek) => base64url(&wrap(secret, kek, keks)?),
    };
    Ok(Secret::copy_from(Zeroizing::new(text).as_bytes()))
}

pub(crate) fn wrap(secret: &Secret, kek: &Kek, keks: &[&dyn KeyEncryptionKeys]) -> Result<Vec<u8>> {
    kek.algorithm.approval().require()?;
    vault_of(kek, keks)?.wrap(&kek.id, kek.algorithm, secret)
}

/// The possible meanings of a secret's value, the likely one first: at most two.
pub(crate) fn of_value(value: &Secret, kek: Option<&Kek>, keks: &[&dyn KeyEncryptionKeys]) -> Result<Vec<Secret>> {
    let Some(kek) = kek else {
        let decoded = decode(value.expose()).map(|bytes| Secret::copy_from(&bytes));
        return Ok([decoded, Some(Secret::copy_from(value.expose()))].into_iter().flatten().collect());
    };
    let wrapped = decode(value.expose()).ok_or(Error::UnwrapFailed)?;
    unwrap(&wrapped, kek, keks)
}

/// The possible meanings of wrapped bytes. Some programs wrap the passphrase in base64 once more.
pub(crate) fn unwrap(wrapped: &[u8], kek: &Kek, keks: &[&dyn KeyEncryptionKeys]) -> Result<Vec<Secret>> {
    if wrapped.len() > MAX_WRAPPED {
        return Err(Error::UnwrapFailed);
    }
    kek.algorithm.approval().require()?;
    let plain = vault_of(kek, keks)?.unwrap(&kek.id, kek.algorithm, wrapped)?;
    let decoded = decode(plain.expose()).map(|bytes| Secret::copy_from(&bytes));
    Ok([Some(plain), decoded].into_iter().flatten().collect())
}

/// The caller alone chooses the vaults: a tag or a token names a key, and can't send a request to another host.
fn vault_of<'k>(kek: &Kek, keks: &[&'k dyn KeyEncryptionKeys]) -> Result<&'k dyn KeyEncryptionKeys> {
    let found = keks.iter().find(|vault| vault.id() == kek.id.vault()).copied();
    found.ok_or_else(|| Error::NotThisVault { wanted: kek.id.to_string() })
}
