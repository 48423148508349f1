//! New protectors.

use crate::Result;
use crate::ondisk::bitlocker::{ExternalKey, NewProtector, RecoveryPassword, of_password};
use crate::volume::headers::Means;

/// The protector of a new secret.
pub(super) fn new_protector(by: Means, secret: &[u8]) -> Result<NewProtector> {
    Ok(match by {
        Means::Passphrase => NewProtector::Password(of_password(secret)?),
        Means::RecoveryPassword => NewProtector::RecoveryPassword(RecoveryPassword::parse(secret)?),
        Means::StartupKey => NewProtector::StartupKey(ExternalKey::parse(secret)?),
        Means::ClearKey => NewProtector::ClearKey,
    })
}
