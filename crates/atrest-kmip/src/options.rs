//! A caller's options for a server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use atrest::{Clock, SystemClock};

/// The port of KMIP over TLS.
const PORT: u16 = 5696;

/// The version of KMIP that requests are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum KmipVersion {
    /// 1.4, the default: servers of the versions 2.x mostly know it too.
    #[default]
    V1_4,
    /// 2.0.
    V2_0,
    /// 2.1.
    V2_1,
}

impl KmipVersion {
    pub(crate) fn numbers(self) -> (u32, u32) {
        match self {
            KmipVersion::V1_4 => (1, 4),
            KmipVersion::V2_0 => (2, 0),
            KmipVersion::V2_1 => (2, 1),
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let all = [("1.4", KmipVersion::V1_4), ("2.0", KmipVersion::V2_0), ("2.1", KmipVersion::V2_1)];
        all.into_iter().find(|(known, _)| *known == name).map(|(_, version)| version)
    }
}

/// The server's address, and how to use it.
///
/// ```
/// use atrest_kmip::{KmipOptions, KmipVersion};
///
/// let options = KmipOptions::new("kmip.example", "/etc/disks/ca.pem", "/etc/disks/cert.pem", "/etc/disks/key.pem")
///     .version(KmipVersion::V2_1);
/// assert!(format!("{options:?}").contains("kmip.example"));
/// ```
#[derive(Clone)]
pub struct KmipOptions {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) roots: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) id: Option<String>,
    pub(crate) identity: Option<String>,
    pub(crate) version: KmipVersion,
    pub(crate) deadline: Duration,
    pub(crate) fetch: bool,
    pub(crate) clock: Arc<dyn Clock>,
}

impl fmt::Debug for KmipOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmipOptions")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("roots", &self.roots)
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .field("id", &self.id)
            .field("identity", &self.identity)
            .field("version", &self.version)
            .field("deadline", &self.deadline)
            .field("fetch", &self.fetch)
            .finish_non_exhaustive()
    }
}

impl KmipOptions {
    /// The server `host`, a name or an address, at port 5696.
    ///
    /// The files are in PEM: the certificates of the CAs that sign servers' certificates, the client's certificate chain, and
    /// its private key, without a passphrase. They are read at each new connection, so that renewed ones are used.
    pub fn new(
        host: impl Into<String>,
        roots: impl AsRef<Path>,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Self {
        KmipOptions {
            host: host.into(),
            port: PORT,
            roots: roots.as_ref().into(),
            certificate: certificate.as_ref().into(),
            key: key.as_ref().into(),
            id: None,
            identity: None,
            version: KmipVersion::default(),
            deadline: Duration::from_secs(30),
            fetch: false,
            clock: Arc::new(SystemClock),
        }
    }

    /// The port. The default is 5696.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The vault's name in key URLs. The default is `kmip://HOST:PORT`. It must stay the same as long as anything is wrapped, so
    /// set it if the server may move, or has several names.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The name that refusals give the caller. The default names the file of its certificate.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// The version of KMIP. The default is 1.4.
    pub fn version(mut self, version: KmipVersion) -> Self {
        self.version = version;
        self
    }

    /// How long a call may take, in all. The default is 30 seconds.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Gets the KEK from the server for each call, and wraps here by RFC 3394, for servers that don't encrypt. The default is no:
    /// the KEK then never leaves the server.
    ///
    /// With this, the KEK is in this process's memory during a call, and anyone who holds the client's certificate and key can
    /// get the KEK. DEKs that the server wrapped are unwrapped by it in any case.
    pub fn fetch_keys(mut self, fetch: bool) -> Self {
        self.fetch = fetch;
        self
    }

    /// The clock that decides whether a key is valid. The default is the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    pub(crate) fn vault_id(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        self.id.clone().unwrap_or_else(|| format!("kmip://{host}:{}", self.port))
    }

    pub(crate) fn who(&self) -> String {
        self.identity.clone().unwrap_or_else(|| format!("holder of {}", self.certificate.display()))
    }
}
