//! URLs of servers.

use std::sync::Arc;

use atrest::{Error, KeyVault, Result};

use crate::options::{KmipOptions, KmipVersion};
use crate::vault::KmipVault;

/// Opens the vault that a URL names, for programs that take it from their configuration. No request is sent yet.
///
/// ```text
/// kmip://HOST[:PORT]?ca=FILE&cert=FILE&key=FILE[&version=2.1][&fetch=yes]
/// ```
///
/// The files are those of [`KmipOptions::new`], by absolute paths. `version` is 1.4, 2.0 or 2.1; `fetch` is
/// [`KmipOptions::fetch_keys`]. No secret stands in a URL.
///
/// # Errors
/// [`Error::InvalidOption`] for a URL that isn't one of these; otherwise as [`KmipVault::new`].
pub fn open(url: &str) -> Result<Arc<dyn KeyVault>> {
    Ok(Arc::new(KmipVault::new(parse(url)?)?))
}

impl KmipOptions {
    /// The options that a URL holds: see [`open`].
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a URL that isn't of that form.
    pub fn from_url(url: &str) -> Result<Self> {
        parse(url)
    }
}

fn parse(url: &str) -> Result<KmipOptions> {
    let rest = url.strip_prefix("kmip://").ok_or_else(|| bad("it begins with kmip://"))?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, port) = host_and_port(place).ok_or_else(|| bad("after kmip:// stands HOST or HOST:PORT"))?;
    let [mut ca, mut cert, mut key, mut version, mut fetch] = [None; 5];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match name {
            "ca" => &mut ca,
            "cert" => &mut cert,
            "key" => &mut key,
            "version" => &mut version,
            "fetch" => &mut fetch,
            // Not the name: it may be a secret.
            _ => return Err(bad("its parts are ca, cert, key, version and fetch")),
        };
        if value.is_empty() || place.replace(value).is_some() {
            return Err(bad(&format!("{name} comes once, with a value")));
        }
    }
    let file = |name: &str, value: Option<&str>| {
        let path = value.and_then(unescape).filter(|path| path.starts_with('/'));
        path.ok_or_else(|| bad(&format!("{name} is the absolute path of a file")))
    };
    let mut options = KmipOptions::new(host, file("ca", ca)?, file("cert", cert)?, file("key", key)?).port(port);
    if let Some(version) = version {
        let version = KmipVersion::from_name(version);
        options = options.version(version.ok_or_else(|| bad("version is 1.4, 2.0 or 2.1"))?);
    }
    match fetch {
        None | Some("no") => Ok(options),
        Some("yes") => Ok(options.fetch_keys(true)),
        Some(_) => Err(bad("fetch is yes or no")),
    }
}

/// A name, an IPv4 address, or an IPv6 address in brackets; and a port.
fn host_and_port(place: &str) -> Option<(&str, u16)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let sound = |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    let port = match port {
        None => 5696,
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => port.parse().ok().filter(|&port| port != 0)?,
        Some(_) => return None,
    };
    (!host.is_empty() && sound(host)).then_some((host, port))
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        rest = after;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        bytes.push(u8::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

fn bad(text: &str) -> Error {
    let form = "kmip://HOST[:PORT]?ca=FILE&cert=FILE&key=FILE[&version=V][&fetch=yes]";
    Error::InvalidOption(format!("a vault's URL is {form}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &str = "ca=/ca&cert=/etc/a%20b.pem&key=/key";

    #[test]
    fn what_a_url_says() {
        for (place, id) in [
            ("kmip.example", "kmip://kmip.example:5696"),
            ("10.0.0.1:9999", "kmip://10.0.0.1:9999"),
            ("[::1]", "kmip://[::1]:5696"),
            ("[2001:db8::7]:6000", "kmip://[2001:db8::7]:6000"),
        ] {
            let options = parse(&format!("kmip://{place}?{FILES}&version=2.1&fetch=yes")).unwrap();
            assert_eq!(options.vault_id(), id);
            assert_eq!((options.version, options.fetch), (KmipVersion::V2_1, true));
            assert_eq!(options.certificate.to_str(), Some("/etc/a b.pem"));
        }
        let options = parse(&format!("kmip://h?{FILES}")).unwrap();
        assert_eq!((options.version, options.fetch), (KmipVersion::V1_4, false));
    }

    #[test]
    fn what_no_url_says() {
        for bad in [
            "",
            "https://h",
            "kmip://h",
            "kmip://?ca=/a&cert=/b&key=/c",
            "kmip://user:hunter2@h?ca=/a&cert=/b&key=/c",
            "kmip://h:0?ca=/a&cert=/b&key=/c",
            "kmip://h:+1?ca=/a&cert=/b&key=/c",
            "kmip://h:70000?ca=/a&cert=/b&key=/c",
            "kmip://[::1?ca=/a&cert=/b&key=/c",
            "kmip://[::1]x?ca=/a&cert=/b&key=/c",
            "kmip://h?ca=/a&cert=/b",
            "kmip://h?ca=/a&cert=/b&key=c",
            "kmip://h?ca=/a&cert=/b&key=/c&key=/d",
            "kmip://h?ca=/a&cert=/b&key=/%4",
            "kmip://h?ca=/a&cert=/b&key=/%FF",
            "kmip://h?ca=/a&cert=/b&key=/c&version=1.2",
            "kmip://h?ca=/a&cert=/b&key=/c&fetch=1",
            "kmip://h?ca=/a&cert=/b&key=/c&password=hunter2",
            "kmip://h?ca=/a&cert=/b&key=/c&hunter2",
        ] {
            let error = parse(bad).map(|_| ()).unwrap_err();
            assert!(matches!(error, Error::InvalidOption(_)), "{bad}: {error:?}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
