//! A caller's options for a token.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use atrest::{Clock, SystemClock};

use crate::pin::Pin;

/// The library and its token, and how to use it.
///
/// ```
/// use atrest_pkcs11::{Pin, Pkcs11Options};
///
/// let options = Pkcs11Options::new("/usr/lib/softhsm/libsofthsm2.so")
///     .token("disks-prod")
///     .pin(Pin::File("/run/secrets/pin".into()));
/// assert!(format!("{options:?}").contains("disks-prod"));
/// ```
#[derive(Clone)]
pub struct Pkcs11Options {
    pub(crate) module: PathBuf,
    pub(crate) parameters: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) identity: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) serial: Option<String>,
    pub(crate) manufacturer: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) pin: Pin,
    pub(crate) sessions: usize,
    pub(crate) deadline: Duration,
    pub(crate) sha1: bool,
    pub(crate) encrypt: bool,
    pub(crate) start_again: bool,
    pub(crate) clock: Arc<dyn Clock>,
}

impl core::fmt::Debug for Pkcs11Options {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Pkcs11Options")
            .field("module", &self.module)
            .field("id", &self.id)
            .field("token", &self.token)
            .field("serial", &self.serial)
            .field("manufacturer", &self.manufacturer)
            .field("model", &self.model)
            .field("pin", &self.pin)
            .field("sessions", &self.sessions)
            .field("deadline", &self.deadline)
            .field("sha1", &self.sha1)
            .field("encrypt", &self.encrypt)
            .field("start_again", &self.start_again)
            .finish_non_exhaustive()
    }
}

impl Pkcs11Options {
    /// The library at `module`, an absolute path. Name a token next: without a name, the library must have exactly one.
    pub fn new(module: impl AsRef<Path>) -> Self {
        Pkcs11Options {
            module: module.as_ref().to_owned(),
            parameters: None,
            id: None,
            identity: None,
            token: None,
            serial: None,
            manufacturer: None,
            model: None,
            pin: Pin::None,
            sessions: 4,
            deadline: Duration::from_secs(30),
            sha1: false,
            encrypt: false,
            start_again: false,
            clock: Arc::new(SystemClock),
        }
    }

    /// The vault's name in key URLs. By default it is the URI of the token, such as `pkcs11:token=disks-prod`. It must
    /// stay the same as long as anything is wrapped, so set it if the token may get another label or serial number.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The name that refusals give the user of the token. The default is `user of` and the vault's name.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// The token's label.
    pub fn token(mut self, label: impl Into<String>) -> Self {
        self.token = Some(label.into());
        self
    }

    /// The token's serial number.
    pub fn serial(mut self, serial: impl Into<String>) -> Self {
        self.serial = Some(serial.into());
        self
    }

    /// The token's manufacturer, if the label alone doesn't identify the token.
    pub fn manufacturer(mut self, manufacturer: impl Into<String>) -> Self {
        self.manufacturer = Some(manufacturer.into());
        self
    }

    /// The token's model, if the label alone doesn't identify the token.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Sets the source of the PIN. The default is [`Pin::None`].
    pub fn pin(mut self, pin: Pin) -> Self {
        self.pin = pin;
        self
    }

    /// Sets the parameters that NSS needs in `C_Initialize`, such as `configdir='sql:/etc/pki/nssdb' flags=readOnly`. Other
    /// libraries need none.
    pub fn module_parameters(mut self, parameters: impl Into<String>) -> Self {
        self.parameters = Some(parameters.into());
        self
    }

    /// The most sessions at a time, 1 or more. The default is 4. Calls beyond it wait, within their deadline.
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.sessions = sessions.max(1);
        self
    }

    /// How long a call may take, in all. The default is 30 seconds.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Wraps by RSA-OAEP with SHA-1 if a token has no SHA-256. The default is to refuse. DEKs wrapped with SHA-1 are unwrapped in any case.
    pub fn allow_sha1(mut self, allow: bool) -> Self {
        self.sha1 = allow;
        self
    }

    /// Uses AES keys by `C_Encrypt` and `C_Decrypt` too, for tokens that can't wrap, or keys that may not: by AES key
    /// wrap, or else by AES-GCM. Then a key is disabled only if it may neither unwrap nor decrypt. The default is no: the
    /// owner of a key disables it by `CKA_WRAP` and `CKA_UNWRAP` alone.
    pub fn encrypt_mechanisms(mut self, allow: bool) -> Self {
        self.encrypt = allow;
        self
    }

    /// Calls `C_Finalize` and `C_Initialize` if the token isn't there: many libraries, SoftHSM included, see a token that was
    /// inserted or came back only then. The default is no, since it ends the sessions of all users of the library in this
    /// process. Those of this crate recover; others may crash. So allow it only if this crate is the library's only user.
    pub fn start_again(mut self, allow: bool) -> Self {
        self.start_again = allow;
        self
    }

    /// The clock that decides whether a key is valid. The default is the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The vault's name.
    pub(crate) fn vault_id(&self) -> String {
        let attributes = [
            ("token", &self.token),
            ("serial", &self.serial),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
        ];
        let named = attributes.iter().filter_map(|(name, value)| {
            let value = value.as_ref()?;
            Some(format!("{name}={}", escape(value)))
        });
        let uri = format!("pkcs11:{}", named.collect::<Vec<_>>().join(";"));
        self.id.clone().unwrap_or(uri)
    }
}

/// A value in a URI (RFC 7512, 2.3): everything but unreserved characters by `%` and two digits.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
