//! Signed assertions (RFC 7515, RFC 7523).

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use atrest_http::{Hidden, base64url, invalid};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use serde::Serialize;
use zeroize::{Zeroize, Zeroizing};

/// An RSA key that signs assertions, by the cryptographic library that TLS uses anyway.
#[derive(Clone)]
pub(crate) struct Signer {
    key: Arc<dyn SigningKey>,
    scheme: SignatureScheme,
}

impl Signer {
    /// The first private key of a text in PEM.
    pub fn new(pem: &str, scheme: SignatureScheme) -> io::Result<Self> {
        let why = || invalid("the private key isn't an RSA key in PEM");
        let mut der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| why())?;
        let key = any_supported_type(&der);
        der.zeroize();
        let key = key.map_err(|_| why())?;
        key.choose_scheme(&[scheme]).ok_or_else(why)?;
        Ok(Signer { key, scheme })
    }

    /// Signs a header and claims.
    pub fn sign(&self, header: &impl Serialize, claims: &impl Serialize) -> io::Result<Hidden> {
        let part =
            |json: Result<Vec<u8>, serde_json::Error>| json.map(|json| base64url(&json)).map_err(io::Error::from);
        let header = part(serde_json::to_vec(header))?;
        let text = Zeroizing::new(format!("{header}.{}", part(serde_json::to_vec(claims))?));
        let failed = || io::Error::other("an assertion couldn't be signed");
        let signer = self.key.choose_scheme(&[self.scheme]).ok_or_else(failed)?;
        let signature = signer.sign(text.as_bytes()).map_err(|_| failed())?;
        Ok(Hidden::new(format!("{}.{}", *text, base64url(&signature))))
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The time from now until this many seconds after 1970.
pub(crate) fn until(seconds: u64) -> Duration {
    Duration::from_secs(seconds.saturating_sub(now()))
}
