//! The address of a server and its export, from a URL of the NBD project (`doc/uri.md` of the protocol's repository).

use std::fmt;
use std::path::PathBuf;

use atrest::{Error, Result};

use crate::wire::{MAX_STRING, PORT};

/// The address of an export.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) export: String,
    pub(crate) tls: Option<TlsTarget>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
}

/// The TLS settings of a URL.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct TlsTarget {
    /// The folder of the files `ca-cert.pem`, `client-cert.pem` and `client-key.pem`.
    pub(crate) certificates: Option<PathBuf>,
    /// Whom the server's certificate has to name, if that isn't the host.
    pub(crate) hostname: Option<String>,
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| unfit(url, "it has no scheme"))?;
        let (unix, tls) = match scheme {
            "nbd" => (false, false),
            "nbds" => (false, true),
            "nbd+unix" => (true, false),
            "nbds+unix" => (true, true),
            _ => return Err(unfit(url, "its scheme isn't nbd, nbds, nbd+unix or nbds+unix")),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if rest.contains('#') || query.contains('#') {
            return Err(unfit(url, "it has a fragment"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(unfit(url, "it names a user, and NBD has none"));
        }
        let export = decode(path).ok_or_else(|| unfit(url, "its export can't be decoded"))?;
        if export.len() > MAX_STRING {
            return Err(unfit(url, "the name of its export is longer than 4096 bytes"));
        }
        let mut socket = None;
        let mut of_tls = TlsTarget::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| unfit(url, "a parameter has no value"))?;
            let value = decode(value).ok_or_else(|| unfit(url, "a parameter can't be decoded"))?;
            match key {
                "socket" => socket = Some(value),
                "tls-certificates" if tls => of_tls.certificates = Some(value.into()),
                "tls-hostname" if tls => of_tls.hostname = Some(value),
                // An unknown parameter may be one that security depends on.
                _ => return Err(unfit(url, &format!("it has a parameter {key:?}, which isn't known here"))),
            }
        }
        let address = match (unix, socket) {
            (true, Some(path)) if authority.is_empty() && !path.is_empty() => Address::Unix(path.into()),
            (true, _) => return Err(unfit(url, "one of a Unix socket is nbd+unix:///EXPORT?socket=PATH")),
            (false, Some(_)) => return Err(unfit(url, "a socket goes with nbd+unix or nbds+unix")),
            (false, None) => tcp(authority).ok_or_else(|| unfit(url, "its host or port can't be read"))?,
        };
        Ok(Target { address, export, tls: tls.then_some(of_tls) })
    }

    /// Whom the certificate of the server has to name.
    #[cfg(feature = "tls")]
    pub(crate) fn server_name(&self) -> &str {
        let of_url = self.tls.as_ref().and_then(|tls| tls.hostname.as_deref());
        of_url.unwrap_or(match &self.address {
            Address::Unix(_) => "localhost",
            Address::Tcp { host, .. } => host,
        })
    }
}

/// The readable form, for logs and errors.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.tls.is_some() { "s" } else { "" };
        match &self.address {
            Address::Unix(path) => write!(f, "nbd{s}+unix:///{}?socket={}", self.export, path.display()),
            Address::Tcp { host, port } if host.contains(':') => write!(f, "nbd{s}://[{host}]:{port}/{}", self.export),
            Address::Tcp { host, port } => write!(f, "nbd{s}://{host}:{port}/{}", self.export),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn tcp(authority: &str) -> Option<Address> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None | Some("") => PORT,
        Some(port) => port.parse().ok()?,
    };
    let host = decode(host).filter(|host| !host.is_empty())?;
    Some(Address::Tcp { host, port })
}

/// Undoes the percent encoding (RFC 3986, 2.1).
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        let digits =
            std::str::from_utf8(&digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

fn unfit(url: &str, why: &str) -> Error {
    Error::InvalidOption(format!("{url:?} can't be used as the URL of an NBD export: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_the_specification() {
        let tcp = |host: &str, port| Address::Tcp { host: host.into(), port };
        for (url, address, export) in [
            ("nbd://example.com", tcp("example.com", 10809), ""),
            ("nbd://example.com/", tcp("example.com", 10809), ""),
            ("nbd://localhost:10/a/b", tcp("localhost", 10), "a/b"),
            ("nbd://[::1]:7/x", tcp("::1", 7), "x"),
            ("nbd://[::1]", tcp("::1", 10809), ""),
            ("nbd+unix:///?socket=/tmp/s", Address::Unix("/tmp/s".into()), ""),
            ("nbd+unix:///a%20b%2f?socket=/tmp/a%3fs", Address::Unix("/tmp/a?s".into()), "a b/"),
        ] {
            assert_eq!(Target::parse(url).unwrap(), Target { address, export: export.into(), tls: None }, "{url}");
        }
        let target = Target::parse("nbds://h/x?tls-certificates=/c&tls-hostname=other").unwrap();
        let tls = TlsTarget { certificates: Some("/c".into()), hostname: Some("other".into()) };
        assert_eq!(target, Target { address: tcp("h", 10809), export: "x".into(), tls: Some(tls) });
    }

    #[test]
    fn what_is_no_url_of_an_export() {
        let long = format!("nbd://h/{}", "x".repeat(5000));
        for url in [
            "",
            "nbd",
            "http://h/x",
            "nbd://",
            "nbd:///x",
            "nbd://user@h/x",
            "nbd://h:x/",
            "nbd://h:99999/",
            "nbd://[::1/x",
            "nbd://h/%zz",
            "nbd://h/%+1",
            "nbd://h/%00",
            "nbd://h/%ff",
            "nbd://h/x?socket=/s",
            "nbd+unix:///x",
            "nbd+unix://h/x?socket=/s",
            "nbd+unix:///x?socket=",
            "nbd://h/x?tls-certificates=/c",
            "nbd://h/x?a",
            "nbd://h/x?a=b",
            "nbd://h/x#y",
            &long,
        ] {
            assert!(matches!(Target::parse(url), Err(Error::InvalidOption(_))), "{url}");
        }
    }
}
