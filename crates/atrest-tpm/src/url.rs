//! URLs of vaults.

use std::path::PathBuf;
use std::sync::Arc;

use atrest::{Error, KeyVault, Result};

use crate::options::{TpmAuth, TpmOptions};
use crate::transport::TpmAddress;
use crate::vault::TpmVault;

/// Opens the vault that a URL names, for programs that take it from their configuration. The TPM isn't contacted yet.
///
/// ```text
/// tpm:NAME?keys=FOLDER[&tpm=/dev/tpmrm0][&auth=FILE][&parent=0x81000001]
/// ```
///
/// `tpm` is the path of a device, the default being `/dev/tpmrm0`, or `unix:PATH` or `tcp:ADDRESS:PORT` for swtpm. `auth` is a file with the
/// authorisation value: no secret stands in a URL. The vault's name is `tpm:NAME`.
///
/// # Errors
/// [`Error::InvalidOption`] for a URL that isn't one of these; otherwise as [`TpmVault::new`].
pub fn open(url: &str) -> Result<Arc<dyn KeyVault>> {
    Ok(Arc::new(TpmVault::new(parse(url)?)?))
}

impl TpmOptions {
    /// The options that a URL holds: see [`open`].
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a URL that isn't of that form.
    pub fn from_url(url: &str) -> Result<Self> {
        parse(url)
    }
}

fn parse(url: &str) -> Result<TpmOptions> {
    let (id, query) = url.split_once('?').unwrap_or((url, ""));
    let sound = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !id.strip_prefix("tpm:").is_some_and(sound) {
        return Err(bad("NAME is of letters, digits, '-', '_' and '.'"));
    }
    let [mut keys, mut tpm, mut auth, mut parent] = [None; 4];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match name {
            "keys" => &mut keys,
            "tpm" => &mut tpm,
            "auth" => &mut auth,
            "parent" => &mut parent,
            // Not the name: it may be a secret.
            _ => return Err(bad("its parts are keys, tpm, auth and parent")),
        };
        if value.is_empty() || place.replace(value).is_some() {
            return Err(bad(&format!("{name} comes once, with a value")));
        }
    }
    let path = |name: &str, value: &str| {
        let path = Some(PathBuf::from(value)).filter(|path| path.is_absolute() && !value.contains('%'));
        path.ok_or_else(|| bad(&format!("{name} has an absolute path without '%'")))
    };
    let folder = path("keys", keys.ok_or_else(|| bad("keys names the folder of the sealed keys"))?)?;
    let tpm = tpm.unwrap_or("/dev/tpmrm0");
    let address = if let Some(socket) = tpm.strip_prefix("unix:") {
        TpmAddress::unix(path("tpm", socket)?)
    } else if let Some(address) = tpm.strip_prefix("tcp:") {
        TpmAddress::tcp(address.parse().map_err(|_| bad("tpm=tcp: has an address and a port"))?)
    } else {
        TpmAddress::device(path("tpm", tpm)?)
    };
    let mut options = TpmOptions::new(id, address, folder);
    if let Some(file) = auth {
        options = options.auth(TpmAuth::File(path("auth", file)?));
    }
    if let Some(handle) = parent {
        let digits = handle.strip_prefix("0x").filter(|digits| digits.len() == 8 && !digits.starts_with('+'));
        // Persistent handles (TPM 2.0 Library, Part 2, 7.2).
        let handle =
            digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).filter(|handle| handle >> 24 == 0x81);
        options = options.parent(handle.ok_or_else(|| bad("parent is a persistent handle, such as 0x81000001"))?);
    }
    Ok(options)
}

fn bad(text: &str) -> Error {
    let form = "tpm:NAME?keys=FOLDER[&tpm=/dev/tpmrm0][&auth=FILE][&parent=0x81000001]";
    Error::InvalidOption(format!("a vault's URL is {form}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_says() {
        let options = parse("tpm:host-17?keys=/etc/keys").unwrap();
        assert_eq!((&*options.id, options.folder.to_str()), ("tpm:host-17", Some("/etc/keys")));
        assert_eq!(options.tpm, TpmAddress::device("/dev/tpmrm0"));
        let options = parse("tpm:h?keys=/k&tpm=tcp:127.0.0.1:2321&auth=/a&parent=0x81000001").unwrap();
        assert_eq!(options.tpm.to_string(), "tcp:127.0.0.1:2321");
        assert_eq!(options.parent, Some(0x8100_0001));
        assert!(matches!(&options.auth, TpmAuth::File(path) if path.to_str() == Some("/a")));
        assert_eq!(parse("tpm:h?keys=/k&tpm=unix:/run/s").unwrap().tpm, TpmAddress::unix("/run/s"));
    }

    #[test]
    fn what_no_url_says() {
        for bad in [
            "",
            "tpm:",
            "tpm:h",
            "tpm:a/b?keys=/k",
            "tpm:h?keys=k",
            "tpm:h?keys=/%41",
            "tpm:h?keys=/k&keys=/l",
            "tpm:h?keys=/k&tpm=device",
            "tpm:h?keys=/k&tpm=tcp:localhost:1",
            "tpm:h?keys=/k&auth=hunter2",
            "tpm:h?keys=/k&hunter2",
            "tpm:h?keys=/k&parent=0x40000001",
            "tpm:h?keys=/k&parent=81000001",
            "tpm:h?keys=/k&parent=0x+1000001",
        ] {
            let error = parse(bad).map(|_| ()).unwrap_err();
            assert!(matches!(error, Error::InvalidOption(_)), "{bad}: {error:?}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
