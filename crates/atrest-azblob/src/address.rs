//! The address of blobs: the URL of a container and a prefix in it.

use std::io;

use atrest_http::{encode_path, encode_query, is_loopback};

use crate::failure::invalid;

/// A container and a prefix of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// `https://account.blob.core.windows.net`
    pub origin: String,
    pub account: String,
    /// `/container`, or `/account/container` where the account is part of the path.
    pub container: String,
    /// Empty, or ends with a slash.
    pub prefix: String,
}

impl Address {
    /// Reads `azblob:https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]`. Where the host is this machine, as with an
    /// emulator, the path begins with the account.
    pub fn parse(url: &str) -> io::Result<Self> {
        let form = "azblob:https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]";
        let rest = url.strip_prefix("azblob:").ok_or_else(|| invalid(format!("the URL isn't {form}")))?;
        if url.contains(['?', '#', '@']) {
            return Err(invalid(
                "a URL must hold no credentials and no query; give them by options or the environment",
            ));
        }
        let (scheme, rest) = rest.split_once("://").ok_or_else(|| invalid(format!("the URL isn't {form}")))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        match scheme {
            "https" => {}
            "http" if is_loopback(host) => {}
            "http" => return Err(invalid("http: is for this machine only; use https:")),
            _ => return Err(invalid(format!("the URL isn't {form}"))),
        }
        if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte)) {
            return Err(invalid(format!("{host:?} isn't a host")));
        }
        let (account, path) = match is_loopback(host) {
            true => path.split_once('/').ok_or_else(|| invalid("the path isn't ACCOUNT/CONTAINER"))?,
            false => (host.split('.').next().unwrap_or_default(), path),
        };
        let (container, prefix) = path.split_once('/').unwrap_or((path, ""));
        // "Naming and referencing containers" in the REST reference.
        let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'$';
        if !(3..=63).contains(&container.len()) || !container.bytes().all(named) {
            return Err(invalid(format!("{container:?} isn't a container's name")));
        }
        if account.is_empty() || !account.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
            return Err(invalid(format!("{account:?} isn't an account's name")));
        }
        let prefix = prefix.trim_matches('/');
        check_name(prefix)?;
        Ok(Address {
            origin: format!("{scheme}://{host}"),
            account: account.into(),
            container: if is_loopback(host) { format!("/{account}/{container}") } else { format!("/{container}") },
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
        })
    }

    /// The path of a blob, or of the container, as it is sent and signed.
    pub fn path(&self, blob: Option<&str>) -> String {
        match blob {
            Some(blob) => format!("{}/{}", self.container, encode_path(blob)),
            None => self.container.clone(),
        }
    }

    /// The URL of a path with a query, which may be followed by a SAS.
    pub fn url(&self, path: &str, query: &[(&str, &str)], sas: Option<&str>) -> String {
        let mut url = format!("{}{path}", self.origin);
        let pairs = query.iter().map(|(name, value)| format!("{}={}", encode_query(name), encode_query(value)));
        for (index, part) in pairs.chain(sas.map(str::to_owned)).enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(&part);
        }
        url
    }
}

/// Refuses names of blobs that a URL would change.
pub(crate) fn check_name(name: &str) -> io::Result<()> {
    let dots = name.split('/').any(|part| part == "." || part == "..");
    if name.len() > 900 || dots || name.chars().any(char::is_control) {
        return Err(invalid(format!("{:?} can't be a blob's name", name.chars().take(80).collect::<String>())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_an_account_a_container_and_a_prefix() {
        let real = Address::parse("azblob:https://myaccount.blob.core.windows.net/disks/a/b/").unwrap();
        assert_eq!((real.account.as_str(), real.prefix.as_str()), ("myaccount", "a/b/"));
        assert_eq!(real.path(Some("a/b/x y")), "/disks/a/b/x%20y");
        let emulated = Address::parse("azblob:http://127.0.0.1:10000/devstoreaccount1/disks").unwrap();
        assert_eq!(emulated.path(None), "/devstoreaccount1/disks");
        assert_eq!(
            emulated.url(&emulated.path(None), &[("comp", "list"), ("marker", "a=b")], Some("sig=x")),
            "http://127.0.0.1:10000/devstoreaccount1/disks?comp=list&marker=a%3Db&sig=x"
        );
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "https://myaccount.blob.core.windows.net/disks",
            "azblob:http://myaccount.blob.core.windows.net/disks",
            "azblob:https://myaccount.blob.core.windows.net/disks?sig=abc",
            "azblob:https://user:key@myaccount.blob.core.windows.net/disks",
            "azblob:https://myaccount.blob.core.windows.net/",
            "azblob:https://myaccount.blob.core.windows.net/Disks",
            "azblob:https://myaccount.blob.core.windows.net/disks/../x",
            "azblob:https:///disks",
            "azblob:http://127.0.0.1:10000/disks",
            "azblob:ftp://127.0.0.1/a/disks",
            "azblob:",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }
}
