//! Vaults by URL.

use std::sync::Arc;

use atrest::{Error, KeyVault, Result};

/// Opens a vault that a URL names, for programs whose configuration does. Nothing is asked yet.
///
/// | URL | feature | vault |
/// |---|---|---|
/// | `vault+https://HOST[:PORT]/MOUNT[?namespace=N&ca=FILE&auth=A&role=R]` | `transit` | [`TransitVault`](crate::TransitVault) |
/// | `awskms://REGION[/ACCOUNT][?endpoint=URL]` | `aws` | [`AwsKms`](crate::AwsKms) |
///
/// `auth` is `token` (the default: [`TransitAuth::from_environment`](crate::TransitAuth::from_environment)), `kubernetes` with
/// `role`, or `approle` with the role id as `role` and the secret id in `VAULT_SECRET_ID`. No secret stands in a URL.
/// Credentials of AWS are those of [`AwsCredentials::from_environment`](crate::AwsCredentials::from_environment).
///
/// # Errors
/// [`Error::InvalidOption`] for a URL that isn't one of these, or not in this build, and for a token or credential that is missing.
pub fn open(url: &str) -> Result<Arc<dyn KeyVault>> {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    match scheme {
        #[cfg(feature = "transit")]
        "vault+https" | "vault+http" => Ok(Arc::new(crate::TransitVault::from_url(url)?)),
        #[cfg(feature = "aws")]
        "awskms" => Ok(Arc::new(crate::AwsKms::from_url(url)?)),
        _ => Err(Error::InvalidOption(format!("a vault is a URL that begins with {}", schemes()))),
    }
}

fn schemes() -> &'static str {
    match (cfg!(feature = "transit"), cfg!(feature = "aws")) {
        (true, true) => "vault+https:// or awskms://",
        (true, false) => "vault+https://; this build has no awskms://, which is the feature aws",
        (false, true) => "awskms://; this build has no vault+https://, which is the feature transit",
        (false, false) => "vault+https:// or awskms://; this build has neither: turn on the feature transit or aws",
    }
}

/// The parts of a URL: what stands before the query, and the values of its names, each at most once and all known.
#[cfg(any(feature = "transit", feature = "aws"))]
pub(crate) fn split<'u, const N: usize>(url: &'u str, names: [&str; N]) -> Result<(&'u str, [Option<&'u str>; N])> {
    let (start, query) = url.split_once('?').unwrap_or((url, ""));
    let mut values = [None; N];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let known = names.iter().position(|known| *known == name);
        match known.map(|at| &mut values[at]) {
            Some(place @ None) if !value.is_empty() => *place = Some(value),
            // Not the value: somebody may have put a secret into it.
            _ => {
                let text = format!("a vault's URL has each of these once, with a value: {}", names.join(", "));
                return Err(Error::InvalidOption(text));
            }
        }
    }
    Ok((start, values))
}
