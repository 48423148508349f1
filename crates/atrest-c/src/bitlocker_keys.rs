//! Credentials and protectors of BitLocker volumes, in a library built with the feature `bitlocker` or without.

#[cfg(feature = "bitlocker")]
pub(crate) use here::*;
#[cfg(not(feature = "bitlocker"))]
pub(crate) use missing::*;

#[cfg(feature = "bitlocker")]
mod here {
    use std::path::Path;

    use atrest::{Credential, Protector};

    use crate::failure::Result;

    pub(crate) fn recovery_credential(text: &str) -> Result<Credential<'_>> {
        Ok(Credential::RecoveryPassword(text))
    }

    pub(crate) fn startup_key(path: &Path) -> Result<Credential<'_>> {
        Ok(Credential::StartupKey(path))
    }

    pub(crate) fn clear_key<'a>() -> Result<Credential<'a>> {
        Ok(Credential::ClearKey)
    }

    pub(crate) fn recovery_protector(text: &str) -> Result<Protector<'_>> {
        Ok(Protector::RecoveryPassword(text))
    }

    pub(crate) fn startup_protector(path: &Path) -> Result<Protector<'_>> {
        Ok(Protector::StartupKey(path))
    }
}

#[cfg(not(feature = "bitlocker"))]
mod missing {
    use std::path::Path;

    use atrest::{Credential, Protector};

    use crate::failure::{Failure, Result};
    use crate::status::ATREST_ERR_UNSUPPORTED;

    pub(crate) fn recovery_credential(_: &str) -> Result<Credential<'_>> {
        Err(without_bitlocker())
    }

    pub(crate) fn startup_key(_: &Path) -> Result<Credential<'_>> {
        Err(without_bitlocker())
    }

    pub(crate) fn clear_key<'a>() -> Result<Credential<'a>> {
        Err(without_bitlocker())
    }

    pub(crate) fn recovery_protector(_: &str) -> Result<Protector<'_>> {
        Err(without_bitlocker())
    }

    pub(crate) fn startup_protector(_: &Path) -> Result<Protector<'_>> {
        Err(without_bitlocker())
    }

    pub(crate) fn without_bitlocker() -> Failure {
        let text = "this library was built without BitLocker; build it with the feature `bitlocker`";
        Failure::new(ATREST_ERR_UNSUPPORTED, text)
    }
}
