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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        match open(url).map(|vault| vault.id().to_owned()) {
            Err(Error::InvalidOption(text)) => text,
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn urls_that_name_no_vault_are_refused_without_being_repeated() {
        for url in
            ["", "file:///x", "vault://h/transit", "https://user:secret@h/transit", "awskms:eu", "VAULT+HTTPS://h/m"]
        {
            let text = refused(url);
            assert!(text.contains("begins with") && !text.contains("secret"), "{text}");
        }
    }

    #[cfg(feature = "transit")]
    #[test]
    fn urls_of_transit_engines_are_whole_and_safe() {
        let vault = open("vault+https://vault.example:8200/a/b?auth=kubernetes&role=disks&namespace=team").unwrap();
        assert_eq!(vault.id(), "vault+https://vault.example:8200/team/a/b");
        for bad in [
            "vault+https://h?auth=kubernetes&role=r",
            "vault+https://h/?auth=kubernetes&role=r",
            "vault+http://h.example/transit?auth=kubernetes&role=r",
            "vault+https://user@h/transit?auth=kubernetes&role=r",
            "vault+https://h/../transit?auth=kubernetes&role=r",
            "vault+https://h/transit?auth=kubernetes",
            "vault+https://h/transit?auth=none&role=r",
            "vault+https://h/transit?auth=kubernetes&role=r&role=s",
            "vault+https://h/transit?token=secret",
            "vault+https://h/transit?auth=kubernetes&role=r&ca=/nonexistent",
            "vault+https://h/transit?auth=kubernetes&role=r&namespace=a%20b",
        ] {
            assert!(!refused(bad).contains("secret"), "{bad}");
        }
    }

    #[cfg(feature = "aws")]
    #[test]
    fn regions_and_accounts_are_checked() {
        use crate::{AccessKey, AwsCredentials, AwsKms, AwsOptions, Hidden};
        let options =
            |region| AwsOptions::new(region, AwsCredentials::access_key(AccessKey::new("AKID", Hidden::new("secret"))));
        assert_eq!(AwsKms::new(&options("eu-central-1")).unwrap().id(), "awskms://eu-central-1");
        for region in ["", "EU", "a.example/", "eu-central-1.evil.example"] {
            assert!(matches!(AwsKms::new(&options(region)), Err(Error::InvalidOption(_))), "{region}");
        }
        for account in ["", "12345678901", "12345678901x"] {
            assert!(AwsKms::new(&options("eu-central-1").account(account)).is_err(), "{account}");
        }
        for endpoint in ["http://a.example", "https://", "https://a.example/path", "https://a@b"] {
            assert!(AwsKms::new(&options("eu-central-1").endpoint(endpoint)).is_err(), "{endpoint}");
        }
    }
}
