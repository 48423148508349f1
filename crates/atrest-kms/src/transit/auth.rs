//! Ways for a caller to log in.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use atrest_http::{Environment, Hidden, invalid, read_secret};

/// The file in which Kubernetes puts the token of a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The login of a [`TransitVault`](crate::TransitVault).
#[derive(Clone)]
pub struct TransitAuth(pub(crate) Way, Option<String>);

#[derive(Clone)]
pub(crate) enum Way {
    Token(Hidden),
    TokenFile(PathBuf),
    AppRole { role_id: String, secret_id: Secret },
    Kubernetes { role: String, file: PathBuf },
    Certificate { role: Option<String> },
}

/// A secret, or the file that has it.
#[derive(Clone)]
pub(crate) enum Secret {
    Text(Hidden),
    File(PathBuf),
}

impl TransitAuth {
    /// A token. A renewable token is renewed after two thirds of its life, by the first call after that. So there has to be a
    /// call in its last third: the leases of managed disks make one.
    pub fn token(token: impl Into<String>) -> Self {
        TransitAuth(Way::Token(Hidden::new(token)), None)
    }

    /// A token in a file, such as the sink of Vault's agent. The file is read again when the token is refused.
    pub fn token_file(path: impl Into<PathBuf>) -> Self {
        TransitAuth(Way::TokenFile(path.into()), None)
    }

    /// An AppRole, by the auth method `approle`. Its secret id has to be good for any number of logins: there is one when a token
    /// ends, and when the vault denies a call.
    pub fn app_role(role_id: impl Into<String>, secret_id: impl Into<String>) -> Self {
        let secret_id = Secret::Text(Hidden::new(secret_id));
        TransitAuth(Way::AppRole { role_id: role_id.into(), secret_id }, None)
    }

    /// As [`app_role`](Self::app_role), with the secret id in a file, which is read for each login.
    pub fn app_role_file(role_id: impl Into<String>, secret_id: impl Into<PathBuf>) -> Self {
        let secret_id = Secret::File(secret_id.into());
        TransitAuth(Way::AppRole { role_id: role_id.into(), secret_id }, None)
    }

    /// A role of the auth method `kubernetes`, with the token of the pod's service account.
    pub fn kubernetes(role: impl Into<String>) -> Self {
        Self::kubernetes_file(role, SERVICE_ACCOUNT)
    }

    /// As [`kubernetes`](Self::kubernetes), with the service account's token in another file, which is read for each login.
    pub fn kubernetes_file(role: impl Into<String>, token: impl Into<PathBuf>) -> Self {
        TransitAuth(Way::Kubernetes { role: role.into(), file: token.into() }, None)
    }

    /// The auth method `cert`: the TLS certificate of [`HttpOptions::client_certificate`](atrest_http::HttpOptions). Without a role
    /// the server takes any that fits.
    pub fn certificate(role: Option<&str>) -> Self {
        TransitAuth(Way::Certificate { role: role.map(str::to_owned) }, None)
    }

    /// Sets the mount of the auth method, if it isn't its own name.
    pub fn mount(mut self, path: impl Into<String>) -> Self {
        self.1 = Some(path.into());
        self
    }

    /// The token of `VAULT_TOKEN` or `BAO_TOKEN`, or that in the file `~/.vault-token`, which the commands `vault login` and
    /// `bao login` write.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if there is none of these.
    pub fn from_environment() -> io::Result<Self> {
        Self::from_variables(&Environment::process())
    }

    /// As [`from_environment`](Self::from_environment), with variables that the caller gives.
    ///
    /// # Errors
    /// As there; errors of the caller's function.
    pub fn from_variables(of: &Environment) -> io::Result<Self> {
        for name in ["VAULT_TOKEN", "BAO_TOKEN"] {
            if let Some(token) = of.secret(name)? {
                return Ok(TransitAuth(Way::Token(token), None));
            }
        }
        let file = of.get("HOME")?.map(|home| Path::new(&home).join(".vault-token"));
        match file.filter(|file| file.is_file()) {
            Some(file) => Ok(Self::token_file(file)),
            None => {
                Err(invalid("set VAULT_TOKEN, log in by `vault login`, or give another way to log in by the options"))
            }
        }
    }

    /// The path of the login; `None` for tokens.
    pub(crate) fn login_path(&self) -> Option<String> {
        let own = match self.0 {
            Way::Token(_) | Way::TokenFile(_) => return None,
            Way::AppRole { .. } => "approle",
            Way::Kubernetes { .. } => "kubernetes",
            Way::Certificate { .. } => "cert",
        };
        Some(format!("auth/{}/login", self.1.as_deref().unwrap_or(own).trim_matches('/')))
    }

    /// The caller's identity, for errors.
    pub(crate) fn identity(&self) -> String {
        match &self.0 {
            Way::Token(_) => "the holder of the token".into(),
            Way::TokenFile(path) => format!("the holder of the token in {}", path.display()),
            Way::AppRole { role_id, .. } => format!("AppRole {role_id}"),
            Way::Kubernetes { role, .. } => format!("Kubernetes role {role}"),
            Way::Certificate { role } => format!("TLS certificate, role {}", role.as_deref().unwrap_or("any")),
        }
    }
}

impl Secret {
    pub(crate) fn read(&self) -> io::Result<Hidden> {
        match self {
            Secret::Text(text) => Ok(text.clone()),
            Secret::File(path) => read_secret(path),
        }
    }
}

impl fmt::Debug for TransitAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransitAuth({})", self.identity())
    }
}
