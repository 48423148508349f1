//! The token of type `atrest-previous-key`: the old key of a re-encryption, wrapped under the new one. So a credential for the
//! new key gives the old one too, and no other vault or passphrase is needed for it.

use base64ct::{Base64, Encoding};
use serde_json::json;
use zeroize::Zeroizing;

use super::metadata::Metadata;
use super::metadata::json::{MAX_BINARY, binary, objects, root, string};
use crate::key::wrap::{aes_kw_unwrap, aes_kw_wrap};
use crate::{Dek, Error, Result, Secret};

const TYPE: &str = "atrest-previous-key";
const INFO: &str = "atrest luks2 previous key v1";

impl Metadata {
    /// The old key, unwrapped by the new one, if there is such a token. Anybody may have put the token there, so the caller must
    /// verify the key by its digest.
    ///
    /// # Errors
    /// [`Error::TamperedHeader`] if it is not under this key.
    pub(crate) fn previous_key(&self, new: &Dek) -> Result<Option<Secret>> {
        let tokens = objects(&root(self.text()), "tokens").map_err(Error::InvalidHeader)?;
        let Some((_, token)) = tokens.into_iter().find(|(_, t)| string(t, "type").is_ok_and(|kind| kind == TYPE))
        else {
            return Ok(None);
        };
        let wrapped = binary(&token, "wrapped", MAX_BINARY).map_err(|_| Error::TamperedHeader)?;
        let mut key = Zeroizing::new([0; MAX_BINARY]);
        let key = aes_kw_unwrap(new.derive(INFO).expose(), &wrapped, &mut key[..]);
        key.map(|key| Some(Secret::copy_from(key))).map_err(|_| Error::TamperedHeader)
    }

    /// Adds the token.
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub(crate) fn add_previous_key(&mut self, new: &Dek, old: &Secret) -> Result<()> {
        let mut wrapped = [0; 128];
        let wrapped = aes_kw_wrap(new.derive(INFO).expose(), old.expose(), &mut wrapped)?;
        let token = json!({"type": TYPE, "keyslots": [], "wrapped": Base64::encode_string(wrapped)});
        self.add_foreign_token(token.to_string()).map(drop)
    }

    /// Removes the token, and any that is left from a re-encryption that another program has finished.
    ///
    /// # Errors
    /// Only those of an invalid header.
    pub(crate) fn remove_previous_key(&mut self) -> Result<()> {
        let old = self.token_objects().into_iter().filter(|token| token.kind == TYPE);
        old.map(|token| token.id).try_for_each(|id| self.remove_token(id))
    }
}
