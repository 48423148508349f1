//! Finds the passphrase of a token's keyslot by the vaults of the configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use atrest::volume::{TokenOptions, token_passphrase};
use atrest::{Error, Secret};
use atrest_vaults::VaultOptions;

use crate::config::Entry;

/// The secrets of vaults that a user knows: libcryptsetup's PIN stands for each.
const PINS: [&str; 3] = ["ATREST_PASSPHRASE", "PKCS11_PIN", "TPM_AUTH"];

/// The reason for a missing passphrase.
#[derive(Debug)]
pub enum Failure {
    /// No vault of the configuration is that of the token.
    NotOurs,
    /// The vault wants a PIN, or another one.
    Pin,
    /// Each vault that could have opened it said why it doesn't.
    Refused(Vec<String>),
}

/// The passphrase of token number `token`, of a header that libcryptsetup has read.
pub fn passphrase(
    entries: &[Entry],
    json: &[u8],
    uuid: &str,
    token: u32,
    pin: Option<&Secret>,
) -> Result<Secret, Failure> {
    let (mut refused, mut wants_pin) = (Vec::new(), false);
    for entry in entries {
        // The URL may hold a secret, by mistake, so only its scheme is shown.
        let scheme = entry.url.split(':').next().unwrap_or_default();
        let asked = Arc::new(AtomicBool::new(false));
        match by(entry, json, uuid, token, pin, &asked) {
            Ok(passphrase) => return Ok(passphrase),
            Err(Error::NotThisVault { .. }) => {}
            Err(Error::InvalidOption(_) | Error::WrongPassphrase) if asked.load(Ordering::Relaxed) => wants_pin = true,
            Err(e) => refused.push(format!("{scheme}: {e:#}")),
        }
    }
    match (wants_pin, refused.is_empty()) {
        (true, _) => Err(Failure::Pin),
        (false, true) => Err(Failure::NotOurs),
        (false, false) => Err(Failure::Refused(refused)),
    }
}

fn by(
    entry: &Entry,
    json: &[u8],
    uuid: &str,
    token: u32,
    pin: Option<&Secret>,
    asked: &Arc<AtomicBool>,
) -> atrest::Result<Secret> {
    let (given, asked) = (pin.cloned(), asked.clone());
    let secrets = move |name: &str| {
        if !PINS.contains(&name) {
            return Ok(None);
        }
        asked.store(true, Ordering::Relaxed);
        Ok(given.clone())
    };
    let vault = atrest_vaults::open_with(&entry.url, &VaultOptions::new().secrets(secrets).deadline(entry.deadline))?;
    let mut options = TokenOptions::new();
    if let Some(key) = &entry.key {
        options = options.expect_key(key);
    }
    token_passphrase(json, uuid, token, &*vault, &options)
}
