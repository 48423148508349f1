//! Vaults by URL.

use std::sync::Arc;

use atrest::{Error, KeyVault, Result};

use crate::url_options::UrlOptions;

/// Opens the vault that a URL names, for programs that take it from their configuration. No request is sent yet.
///
/// | URL | feature | vault |
/// |---|---|---|
/// | `vault+https://HOST[:PORT]/MOUNT[?namespace=N&ca=FILE&auth=A&role=R]` | `transit` | [`TransitVault`](crate::TransitVault) |
/// | `awskms://REGION[/ACCOUNT][?endpoint=URL]` | `aws` | [`AwsKms`](crate::AwsKms) |
/// | `azurekv://NAME.vault.azure.net[?auth=A&client=ID]` | `azure` | [`AzureKeyVault`](crate::AzureKeyVault) |
/// | `gcpkms://projects/P/locations/L/keyRings/R[?auth=A]` | `gcp` | [`GcpKms`](crate::GcpKms) |
///
/// `auth` of a transit engine is `token` (the default: [`TransitAuth::from_environment`](crate::TransitAuth::from_environment)), `kubernetes` with
/// `role`, or `approle` with the role id as `role` and the secret id in `VAULT_SECRET_ID`. No secret stands in a URL.
/// Credentials of AWS are those of [`AwsCredentials::from_environment`](crate::AwsCredentials::from_environment). `auth` of an Azure vault is `environment` (the default:
/// [`AzureIdentity::from_environment`](crate::AzureIdentity::from_environment)), or `managed`, with the client id of an identity that a
/// user assigned as `client`. Managed HSMs have `NAME.managedhsm.azure.net`. `auth` of a key ring at
/// Google is `environment` (the default: [`GoogleIdentity::from_environment`](crate::GoogleIdentity::from_environment)), or `machine`.
///
/// # Errors
/// [`Error::InvalidOption`] for a URL that isn't one of these, or whose feature isn't in this build, and for a missing token or credential.
pub fn open(url: &str) -> Result<Arc<dyn KeyVault>> {
    open_with(url, &UrlOptions::new())
}

/// As [`open`], with options that a URL doesn't hold.
///
/// # Errors
/// As [`open`].
pub fn open_with(url: &str, options: &UrlOptions) -> Result<Arc<dyn KeyVault>> {
    let _ = options; // of no use without any feature
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    match scheme {
        #[cfg(feature = "transit")]
        "vault+https" | "vault+http" => Ok(Arc::new(crate::TransitVault::from_url(url, options)?)),
        #[cfg(feature = "aws")]
        "awskms" => Ok(Arc::new(crate::AwsKms::from_url(url, options)?)),
        #[cfg(feature = "azure")]
        "azurekv" => Ok(Arc::new(crate::AzureKeyVault::from_url(url, options)?)),
        #[cfg(feature = "gcp")]
        "gcpkms" => Ok(Arc::new(crate::GcpKms::from_url(url, options)?)),
        _ => Err(Error::InvalidOption(format!("a vault is a URL that begins with {}", schemes()))),
    }
}

/// The schemes of this build, and those that it lacks.
fn schemes() -> String {
    let all = [
        ("vault+https://", "transit", cfg!(feature = "transit")),
        ("awskms://", "aws", cfg!(feature = "aws")),
        ("azurekv://", "azure", cfg!(feature = "azure")),
        ("gcpkms://", "gcp", cfg!(feature = "gcp")),
    ];
    let here: Vec<_> = all.iter().filter(|(.., here)| *here).map(|(scheme, ..)| *scheme).collect();
    let not: Vec<_> = all
        .iter()
        .filter(|(.., here)| !here)
        .map(|(scheme, feature, _)| format!("{scheme}, which is the feature {feature}"))
        .collect();
    match (here.is_empty(), not.is_empty()) {
        (false, true) => here.join(" or "),
        (false, false) => format!("{}; this build has no {}", here.join(" or "), not.join(", and no ")),
        (true, _) => format!("a scheme of a feature that this build hasn't: {}", not.join("; ")),
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

    #[cfg(feature = "azure")]
    #[test]
    fn vaults_at_azure_are_in_a_cloud_of_microsoft_or_below_their_resource() {
        use crate::{AzureIdentity, AzureKeyVault, AzureOptions};
        let vault = |name: &str| AzureOptions::new(name, AzureIdentity::managed(None));
        let id = |options| AzureKeyVault::new(&options).map(|vault| vault.id().to_owned());
        assert_eq!(
            open("azurekv://Contoso.vault.azure.net/?auth=managed").unwrap().id(),
            "https://contoso.vault.azure.net"
        );
        for name in
            ["https://contoso.managedhsm.azure.net", "https://c.vault.azure.cn", "https://c.vault.usgovcloudapi.net"]
        {
            assert_eq!(id(vault(name)).unwrap(), name);
        }
        let stack = || vault("https://c.vault.north.stack.example");
        assert!(id(stack()).is_err());
        assert!(id(stack().resource("https://vault.north.stack.example/guid")).is_ok());
        for resource in
            ["https://vault.azure.net", "https://", "https://h.stack.example", "http://vault.north.stack.example"]
        {
            assert!(id(stack().resource(resource)).is_err(), "{resource}");
        }
        for bad in [
            "http://contoso.vault.azure.net",
            "https://vault.azure.net",
            "https://contoso.vault.azure.net.evil.example",
            "https://evilvault.azure.net",
            "https://contoso.vault.azure.net:8443",
            "https://u@contoso.vault.azure.net",
            "https://contoso.vault.azure.net/keys",
            "https://127.0.0.1",
        ] {
            assert!(id(vault(bad)).is_err(), "{bad}");
        }
        assert!(id(vault("https://c.vault.azure.net").endpoint("http://a.example")).is_err());
        for bad in [
            "azurekv://contoso.vault.azure.net?auth=managed&client=a%20b",
            "azurekv://contoso.vault.azure.net?auth=secret",
            "azurekv://contoso.vault.azure.net?client=x",
            "azurekv://contoso.vault.azure.net?secret=secret",
            "azurekv://contoso.vault.azure.net/keys/disks?auth=managed",
            "azurekv://?auth=managed",
        ] {
            assert!(!refused(bad).contains("secret,"), "{bad}");
        }
    }

    #[cfg(feature = "gcp")]
    #[test]
    fn key_rings_at_google_are_named_whole() {
        let ring = "gcpkms://projects/example.com:fleet-1/locations/europe-west3/keyRings/Disks_1";
        assert_eq!(open(&format!("{ring}?auth=machine")).unwrap().id(), ring);
        for bad in [
            "gcpkms://",
            "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k?auth=machine",
            "gcpkms://projects/p/locations/l/keyRings?auth=machine",
            "gcpkms://projects/p/locations/../keyRings/r?auth=machine",
            "gcpkms://projects/p?x/locations/l/keyRings/r",
            "gcpkms://projects/p/locations/l/keyRings/r?auth=secret",
            "gcpkms://projects/p/locations/l/keyRings/a b?auth=machine",
        ] {
            assert!(!refused(bad).contains("secret,"), "{bad}");
        }
    }
}
