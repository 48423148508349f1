//! PKCS#11 URIs, RFC 7512.

use std::path::PathBuf;
use std::sync::Arc;

use atrest::{Error, KeyVault};

use crate::options::Pkcs11Options;
use crate::pin::Pin;
use crate::vault::Pkcs11Vault;

/// A PKCS#11 URI (RFC 7512), as far as it names a token, its library, a key and a source of the PIN.
///
/// ```
/// use atrest_pkcs11::Pkcs11Uri;
///
/// let uri: Pkcs11Uri = "pkcs11:token=Disks%20of%20A;object=disks?module-path=/usr/lib/softhsm/libsofthsm2.so\
///                       &pin-source=file:/run/secrets/pin"
///     .parse()?;
/// assert_eq!(uri.object.as_deref(), Some("disks"));
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Pkcs11Uri {
    /// The URI's description of the token.
    pub options: Pkcs11Options,
    /// The label of a key, if it has one: the name by which the vault knows the key.
    pub object: Option<String>,
}

impl core::str::FromStr for Pkcs11Uri {
    type Err = Error;

    /// # Errors
    /// [`Error::InvalidOption`] for anything but `token`, `serial`, `manufacturer`, `model`, `object`, `type`,
    /// `module-path` and `pin-source`. A URI with `pin-value` is refused: URIs get into logs.
    fn from_str(text: &str) -> Result<Self, Error> {
        let rest = text.strip_prefix("pkcs11:").ok_or_else(|| bad("it starts with pkcs11:"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut options = Pkcs11Options::new("");
        let (mut module, mut object) = (None, None);
        let mut seen: Vec<&str> = Vec::new();
        let parts = |text: &'static str| move |part: &&str| !part.is_empty() || text.is_empty();
        let path = path.split(';').filter(parts("path")).map(|part| (part, true));
        for (part, in_path) in path.chain(query.split('&').filter(parts("query")).map(|part| (part, false))) {
            let (name, value) = part.split_once('=').ok_or_else(|| bad("each part is NAME=VALUE"))?;
            if seen.contains(&name) {
                return Err(bad("no part comes twice"));
            }
            seen.push(name);
            if name == "pin-value" {
                return Err(bad("the PIN is in a file, which pin-source names, since URIs get into logs"));
            }
            let value = unescape(value).ok_or_else(|| bad("values are UTF-8, with % and two hexadecimal digits"))?;
            match (in_path, name) {
                (true, "token") => options = options.token(value),
                (true, "serial") => options = options.serial(value),
                (true, "manufacturer") => options = options.manufacturer(value),
                (true, "model") => options = options.model(value),
                (true, "object") => object = Some(value),
                // A vault finds out the type of a key itself.
                (true, "type") if ["secret-key", "private"].contains(&&*value) => {}
                (false, "module-path") => module = Some(value),
                (false, "pin-source") => options = options.pin(Pin::File(source(&value)?)),
                _ => {
                    let known = "token, serial, manufacturer, model, object, type, module-path and pin-source";
                    return Err(bad(&format!("its parts are {known}, not {name:?}")));
                }
            }
        }
        options.module = module.ok_or_else(|| bad("module-path names the library"))?.into();
        Ok(Pkcs11Uri { options, object })
    }
}

/// Opens the vault that a PKCS#11 URI names, for programs that take it from their configuration. The token isn't contacted yet.
///
/// ```text
/// pkcs11:token=disks-prod?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/secrets/pin
/// ```
///
/// # Errors
/// [`Error::InvalidOption`] as by [`Pkcs11Uri`]; otherwise as [`Pkcs11Vault::new`].
pub fn open(uri: &str) -> Result<Arc<dyn KeyVault>, Error> {
    Ok(Arc::new(Pkcs11Vault::new(uri.parse::<Pkcs11Uri>()?.options)?))
}

/// The file that `pin-source` names: a path, or a URL of a file (RFC 7512, 2.4).
fn source(text: &str) -> Result<PathBuf, Error> {
    let path = text.strip_prefix("file://").or_else(|| text.strip_prefix("file:")).unwrap_or(text);
    let path = PathBuf::from(path);
    path.is_absolute().then_some(path).ok_or_else(|| bad("pin-source is the absolute path of a file"))
}

fn bad(text: &str) -> Error {
    Error::InvalidOption(format!("a PKCS#11 URI (RFC 7512): {text}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_uri_says() {
        // RFC 7512, 3, with the parts that name a key here.
        let uri: Pkcs11Uri = "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;\
                              model=1.0;object=my-certificate;type=private?pin-source=file:/etc/token_pin\
                              &module-path=/lib/p11.so"
            .parse()
            .unwrap();
        let options = &uri.options;
        assert_eq!(options.token.as_deref(), Some("The Software PKCS#11 Softtoken"));
        assert_eq!(options.manufacturer.as_deref(), Some("Snake Oil, Inc."));
        assert_eq!((options.model.as_deref(), options.serial.as_deref()), (Some("1.0"), None));
        assert_eq!(uri.object.as_deref(), Some("my-certificate"));
        assert_eq!(options.module.to_str(), Some("/lib/p11.so"));
        assert!(matches!(&options.pin, Pin::File(path) if path.to_str() == Some("/etc/token_pin")));
        let id = "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil%2C%20Inc.;model=1.0";
        assert_eq!(options.vault_id(), id);
    }

    #[test]
    fn what_no_uri_says() {
        for bad in [
            "",
            "http://x",
            "pkcs11:",
            "pkcs11:token=t",
            "pkcs11:token?module-path=/m",
            "pkcs11:token=a;token=b?module-path=/m",
            "pkcs11:token=%4?module-path=/m",
            "pkcs11:token=%+1?module-path=/m",
            "pkcs11:token=%FF?module-path=/m",
            "pkcs11:x-vendor=1?module-path=/m",
            "pkcs11:module-path=/m",
            "pkcs11:?token=t&module-path=/m",
            "pkcs11:type=cert?module-path=/m",
            "pkcs11:token=t?module-path=/m&pin-source=|program",
            "pkcs11:token=t?module-path=/m&pin-source=pin.txt",
            "pkcs11:token=t?module-path=/m&pin-value=48151623",
        ] {
            let error = bad.parse::<Pkcs11Uri>().unwrap_err();
            assert!(matches!(error, Error::InvalidOption(_)), "{bad}: {error:?}");
            assert!(!error.to_string().contains("48151623"), "{error}");
        }
    }
}
