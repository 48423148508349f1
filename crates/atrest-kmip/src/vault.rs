//! [`KmipVault`]: the trait of vaults on a server.

use std::fmt;
use std::sync::Arc;

use atrest::key::{KeyDescription, KeyId, MAX_WRAPPED, WrapAlgorithm, WrappedDek, wrap};
use atrest::{Error, KeyRefusal, KeyVault, Result, Secret, VaultFailure};

use crate::answers;
use crate::client::Client;
use crate::connection::{Deadline, config};
use crate::message::{Operation, payload, request};
use crate::object::{Object, Use, latest, to_describe};
use crate::options::KmipOptions;
use crate::proofs::{Proof, Proofs};
use crate::sealed::{NONCE, Sealed, TAG};
use crate::tag;
use crate::trouble::{Refused, Trouble};
use crate::ttlv::{Malformed, Structure, Writer};

/// The most versions of a key.
const MOST_VERSIONS: usize = 256;

/// A vault on a key manager that speaks KMIP. Clones are the same vault.
///
/// A key is named by the attribute Name. Its versions are the objects of that name, named by their unique identifiers. The latest is
/// the one with the newest Activation Date, or else Initial Date, that may encrypt now.
///
/// ```no_run
/// use atrest::{Dek, DekAlgorithm, Envelope};
/// use atrest_kmip::{KmipOptions, KmipVault};
///
/// let options = KmipOptions::new("kmip.example", "/etc/disks/ca.pem", "/etc/disks/cert.pem", "/etc/disks/key.pem");
/// let vault = KmipVault::new(options)?;
/// let dek = Dek::generate(DekAlgorithm::Aes256Xts)?;
/// let envelope = Envelope::seal(&dek, &vault, "disks", b"disk-17")?;
/// assert_eq!(envelope.unseal(&vault, b"disk-17")?, dek);
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Clone)]
pub struct KmipVault(Arc<Inner>);

struct Inner {
    client: Client,
    identity: String,
    /// For each version, bytes to try it on: see [`verdict`](Inner::verdict).
    proofs: Proofs,
}

impl fmt::Debug for KmipVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = &self.0.client;
        f.debug_struct("KmipVault").field("id", &client.id).field("options", &client.options).finish()
    }
}

impl KmipVault {
    /// Checks the options and the files. The first call contacts the server.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a file that can't be used for TLS; [`Error::InvalidName`] for an invalid vault name.
    pub fn new(options: KmipOptions) -> Result<Self> {
        config(&options)?;
        let identity = options.who();
        let client = Client::new(options);
        // The vault's name is checked with those of its keys.
        KeyId::new(&client.id, "key", "version")?;
        Ok(KmipVault(Arc::new(Inner { client, identity, proofs: Proofs::default() })))
    }

    fn call<T>(&self, key: &str, operation: &str, f: impl FnOnce(&Inner, Deadline) -> Result<T, Trouble>) -> Result<T> {
        let inner = &*self.0;
        let result = f(inner, Deadline::after(inner.client.options.deadline));
        result.map_err(|trouble| trouble.into_error(&inner.client.id, &inner.identity, key, operation))
    }
}

impl KeyVault for KmipVault {
    fn id(&self) -> &str {
        &self.0.client.id
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.0.client.owner.check()?;
        self.call(key, "wrapKey", |inner, deadline| {
            let object = latest(inner.versions(key, deadline)?, inner.mask(), inner.now())?;
            inner.wrap(inner.kek(key, &object)?, &object, dek, deadline)
        })
    }

    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        self.0.client.owner.check()?;
        if kek.vault() != self.id() {
            return Err(Error::Vault(format!("{kek} is a key of another vault than {}", self.id()).into()));
        }
        self.call(&format!("{}/{}", kek.key(), kek.version()), "wrapKey", |inner, deadline| {
            let object = inner.allowed(kek, Use::Wrap, inner.mask(), deadline)?;
            inner.wrap(kek.clone(), &object, dek, deadline)
        })
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.0.client.owner.check()?;
        let kek = &wrapped.kek;
        if kek.vault() != self.id() {
            return Ok(None);
        }
        self.call(&format!("{}/{}", kek.key(), kek.version()), "unwrapKey", |inner, deadline| {
            let fetch = inner.client.options.fetch;
            match wrapped.algorithm {
                WrapAlgorithm::Opaque => {
                    let sealed = Sealed::read(&wrapped.bytes).ok_or(Trouble::Altered)?;
                    let object = inner.allowed(kek, Use::Unwrap, tag::MAY_DECRYPT, deadline)?;
                    inner.decrypt(kek, &object, sealed, deadline)
                }
                // The writer of a header can't make the KEK leave the server: only its owner allows that.
                WrapAlgorithm::Aes256Kw if fetch => {
                    let len = wrapped.bytes.len().checked_sub(8).filter(|len| *len <= MAX_WRAPPED);
                    let len = len.ok_or(Trouble::Altered)?;
                    let object = inner.allowed(kek, Use::Unwrap, tag::MAY_DECRYPT, deadline)?;
                    let fetched = inner.fetch(&object, deadline)?;
                    let mut dek = Secret::zeroed(len);
                    wrap::aes_kw_unwrap(fetched.expose(), &wrapped.bytes, dek.expose_mut())
                        .map_err(|e| Trouble::computed(e, |_| Trouble::Altered))?;
                    Ok(dek)
                }
                _ => Err(Trouble::Altered),
            }
        })
        .map(Some)
    }

    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        self.0.client.owner.check()?;
        let object = self.call(key, "get", |inner, deadline| match version {
            None => to_describe(inner.versions(key, deadline)?, inner.mask(), inner.now()),
            Some(version) => inner.version(key, version, deadline),
        })?;
        object.describe(self.id(), key, self.0.mask()).map(Some)
    }
}

impl Inner {
    fn now(&self) -> u64 {
        self.client.options.clock.now()
    }

    /// The bits that a key needs for both directions. Every wrap is checked by an unwrap.
    fn mask(&self) -> u32 {
        tag::MAY_ENCRYPT | tag::MAY_DECRYPT
    }

    fn kek(&self, key: &str, object: &Object) -> Result<KeyId, Trouble> {
        KeyId::new(&self.client.id, key, &object.uid).map_err(|_| {
            Trouble::failed(
                "the unique identifier of the key has other characters than letters, digits, '-', '_' and '.'",
            )
        })
    }

    /// Asks, and has `read` look at the payload of the answer.
    fn ask<T>(
        &self,
        operation: Operation,
        deadline: Deadline,
        fill: impl FnOnce(&mut Writer),
        read: impl FnOnce(Structure<'_>) -> Result<T, Malformed>,
    ) -> Result<T, Trouble> {
        let request = request(self.client.options.version, operation, fill)?;
        let answer = self.client.ask(&request, deadline)?;
        let result = payload(&answer, operation).and_then(|payload| Ok(read(payload)?));
        if let Err(Trouble::Malformed(_)) = result {
            self.client.end_kept();
        }
        result
    }

    /// All versions of a key that can be used at all: AES-256 keys with this name.
    fn versions(&self, key: &str, deadline: Deadline) -> Result<Vec<Object>, Trouble> {
        let is_2 = self.client.options.version.numbers().0 == 2;
        let name = |w: &mut Writer| {
            w.text(tag::NAME_VALUE, key);
            w.enumeration(tag::NAME_TYPE, tag::UNINTERPRETED_TEXT);
        };
        let fill = |w: &mut Writer| {
            w.integer(tag::MAXIMUM_ITEMS, MOST_VERSIONS as u32 + 1);
            if is_2 {
                w.structure(tag::ATTRIBUTES, |w| w.structure(tag::NAME, name));
            } else {
                w.structure(tag::ATTRIBUTE, |w| {
                    w.text(tag::ATTRIBUTE_NAME, "Name");
                    w.structure(tag::ATTRIBUTE_VALUE, name);
                });
            }
        };
        let uids =
            self.ask(Operation::Locate, deadline, fill, |payload| answers::located(payload, MOST_VERSIONS + 1))?;
        if uids.len() > MOST_VERSIONS {
            return Err(Trouble::failed(format!("more than {MOST_VERSIONS} objects are named {key:?}")));
        }
        let (mut versions, mut hidden) = (Vec::new(), None);
        for uid in uids {
            match self.object(&uid, deadline) {
                Ok(object) if object.is_aes_256 && object.names.iter().any(|name| name == key) => versions.push(object),
                Ok(_) => {
                    log::warn!("{}: the object {uid:?} isn't an AES-256 key {key:?}, and isn't used", self.client.id)
                }
                Err(Trouble::Refused(refused)) => match refused.of_key("", "") {
                    // It was destroyed since it was located.
                    Some(KeyRefusal::Missing) => {}
                    Some(_) => hidden = Some(refused),
                    None => return Err(refused.into()),
                },
                Err(trouble) => return Err(trouble),
            }
        }
        match hidden {
            Some(refused) if versions.is_empty() => Err(refused.into()),
            _ => Ok(versions),
        }
    }

    /// The server's description of an object.
    fn object(&self, uid: &str, deadline: Deadline) -> Result<Object, Trouble> {
        let fill = |w: &mut Writer| w.text(tag::UNIQUE_IDENTIFIER, uid);
        self.ask(Operation::GetAttributes, deadline, fill, |payload| Object::read(payload, uid))
    }

    /// One version of a key.
    fn version(&self, key: &str, uid: &str, deadline: Deadline) -> Result<Object, Trouble> {
        let object = self.object(uid, deadline)?;
        if !object.is_of(key) || !object.is_aes_256 {
            return Err(Trouble::Key(KeyRefusal::Missing));
        }
        Ok(object)
    }

    /// One version of a key, if it may be used so now.
    fn allowed(&self, kek: &KeyId, purpose: Use, mask: u32, deadline: Deadline) -> Result<Object, Trouble> {
        let object = self.version(kek.key(), kek.version(), deadline)?;
        match object.refusal(purpose, mask, self.now()) {
            None => Ok(object),
            Some(reason) => Err(Trouble::Key(reason)),
        }
    }

    fn wrap(&self, kek: KeyId, object: &Object, dek: &Secret, deadline: Deadline) -> Result<WrappedDek, Trouble> {
        if self.client.options.fetch {
            let fetched = self.fetch(object, deadline)?;
            let mut bytes = vec![0; dek.len() + 8];
            let failed = |e| Trouble::Failed(VaultFailure::new("wrapping under the fetched key").caused_by(e));
            wrap::aes_kw_wrap(fetched.expose(), dek.expose(), &mut bytes).map_err(|e| Trouble::computed(e, failed))?;
            return Ok(WrappedDek::new(kek, WrapAlgorithm::Aes256Kw, bytes));
        }
        let sealed = self.encrypt(&kek, object, dek.expose(), deadline)?;
        Ok(WrappedDek::new(kek, WrapAlgorithm::Opaque, sealed.bytes()))
    }

    /// AES-GCM at the server. The additional data is the key's URL, so that a DEK unwraps under no other name.
    fn encrypt(&self, kek: &KeyId, object: &Object, plain: &[u8], deadline: Deadline) -> Result<Sealed, Trouble> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|e| Trouble::failed(format!("the system gives no random bytes: {e}")))?;
        let fill = |w: &mut Writer| {
            parameters(w, &object.uid);
            w.bytes(tag::DATA, plain);
            w.bytes(tag::IV_COUNTER_NONCE, &nonce);
            w.bytes(tag::ADDITIONAL_DATA, kek.to_string().as_bytes());
        };
        let read = |payload: Structure<'_>| answers::encrypted(payload, &object.uid, &nonce, plain.len());
        self.ask(Operation::Encrypt, deadline, fill, read).map_err(|trouble| match trouble {
            Trouble::Refused(refused) => refused.without(plain).into(),
            trouble => trouble,
        })
    }

    fn decrypt(&self, kek: &KeyId, object: &Object, sealed: Sealed, deadline: Deadline) -> Result<Secret, Trouble> {
        match self.try_decrypt(kek, &object.uid, &sealed, deadline) {
            Ok(dek) => {
                self.proofs.keep(&object.uid, Proof { kek: kek.clone(), sealed });
                Ok(dek)
            }
            Err(Trouble::Refused(refused)) => Err(self.verdict(kek, object, refused, deadline)),
            Err(trouble) => Err(trouble),
        }
    }

    fn try_decrypt(&self, kek: &KeyId, uid: &str, sealed: &Sealed, deadline: Deadline) -> Result<Secret, Trouble> {
        let fill = |w: &mut Writer| {
            parameters(w, uid);
            w.bytes(tag::DATA, &sealed.data);
            w.bytes(tag::IV_COUNTER_NONCE, &sealed.nonce);
            w.bytes(tag::ADDITIONAL_DATA, kek.to_string().as_bytes());
            w.bytes(tag::AUTHENTICATION_TAG, &sealed.mac);
        };
        self.ask(Operation::Decrypt, deadline, fill, |payload| answers::decrypted(payload, uid, sealed.data.len()))
    }

    /// Whether the bytes or the server are at fault for an answer.
    ///
    /// The writer of a header chooses these bytes, and must not make the vault look unavailable, or its key disabled. But servers have no
    /// common answer for altered bytes: the specification says Cryptographic Failure, PyKMIP says General Failure as for any defect
    /// of its own. So the key is asked for what that writer hasn't chosen.
    fn verdict(&self, kek: &KeyId, object: &Object, refused: Refused, deadline: Deadline) -> Trouble {
        // A refusal of the key is the owner's, unless the vault has another way for which the owner allows the key.
        let of_key = refused.of_key("", "").is_some();
        let works = (!of_key || self.client.options.fetch) && self.works(kek, object, deadline);
        if works {
            log::debug!("{kek}: {refused} for bytes that are not its own");
            return Trouble::Altered;
        }
        Trouble::Refused(refused)
    }

    /// Whether the server still unwraps under this key.
    fn works(&self, kek: &KeyId, object: &Object, deadline: Deadline) -> bool {
        // Under the name that the bytes were encrypted under, which may be another name of this object.
        let decrypts = |proof: &Proof| self.try_decrypt(&proof.kek, &object.uid, &proof.sealed, deadline).is_ok();
        if let Some(proof) = self.proofs.of(&object.uid) {
            return decrypts(&proof);
        }
        // The way in which this vault wraps.
        if self.client.options.fetch {
            return self.fetch(object, deadline).is_ok();
        }
        if object.refusal(Use::Wrap, tag::MAY_ENCRYPT, self.now()).is_none() {
            match self.encrypt(kek, object, &[0; 64], deadline) {
                Ok(sealed) => {
                    let proof = Proof { kek: kek.clone(), sealed };
                    // Before it is tried: forged bytes are to cost one encryption in all, not one each while the server doesn't decrypt.
                    self.proofs.keep(&object.uid, proof.clone());
                    return decrypts(&proof);
                }
                // The key or this caller may not encrypt, which says nothing of decrypting.
                Err(Trouble::Refused(refused)) if refused.of_key("", "").is_some() => {}
                Err(_) => return false,
            }
        }
        // Nothing can be encrypted under it, so that its state has to do until it has decrypted something.
        let is_allowed = self.allowed(kek, Use::Unwrap, tag::MAY_DECRYPT, deadline).is_ok();
        if is_allowed {
            log::warn!(
                "{kek}: the server refuses to decrypt, and allows the key for it, so that the wrapped key is at fault"
            );
        }
        is_allowed
    }

    /// The KEK itself.
    fn fetch(&self, object: &Object, deadline: Deadline) -> Result<Secret, Trouble> {
        let fill = |w: &mut Writer| w.text(tag::UNIQUE_IDENTIFIER, &object.uid);
        self.ask(Operation::Get, deadline, fill, |payload| answers::key(payload, &object.uid))
    }
}

/// The object and its cipher: AES-GCM with a tag of 16 bytes.
fn parameters(w: &mut Writer, uid: &str) {
    w.text(tag::UNIQUE_IDENTIFIER, uid);
    w.structure(tag::CRYPTOGRAPHIC_PARAMETERS, |w| {
        w.enumeration(tag::BLOCK_CIPHER_MODE, tag::GCM);
        w.enumeration(tag::CRYPTOGRAPHIC_ALGORITHM, tag::AES);
        w.integer(tag::TAG_LENGTH, TAG as u32);
    });
}
