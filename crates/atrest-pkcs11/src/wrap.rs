//! DEKs wrapped and unwrapped under one version of a key, in the ways that its token allows.

use atrest::key::{KeyKind, WrapAlgorithm, wrap};
use atrest::{Error, Secret};
use cryptoki_sys::*;

use crate::fault::{Answer, Fault, outage};
use crate::keys::Version;
use crate::session::{Mechanism, Session, Value};
use crate::token::{Call, WrapKind};
use crate::wrapped::{BY_GCM, BY_WRAP, MARK};

/// The mechanisms that may be RFC 3394 or RFC 5649. The last is RFC 5649 in SoftHSM and padding by PKCS #7 in NSS.
const WRAPS: [CK_MECHANISM_TYPE; 3] = [CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_KWP, CKM_AES_KEY_WRAP_PAD];

/// The additional data of AES-GCM, so that the output of another use of the key doesn't unwrap here.
const AAD: &[u8] = b"atrest-pkcs11 DEK 1";

/// The longest DEK, wrapped or not.
const MOST: usize = atrest::key::MAX_WRAPPED;

/// An object of the session, destroyed when it is dropped. A session that ends destroys it too.
struct Temporary<'a> {
    session: &'a Session,
    object: CK_OBJECT_HANDLE,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Err(answer) = self.session.destroy(self.object) {
            log::warn!("a session object that holds a DEK stays in the token until its session ends: {answer}");
        }
    }
}

/// Runs ways one after the other until one is not unsupported.
fn first<T>(ways: &mut dyn Iterator<Item = Result<T, Fault>>) -> Result<T, Fault> {
    let mut last = None;
    for way in ways {
        match way {
            Err(Fault::Answer(answer)) if answer.is_unsupported() => last = Some(telling(last, answer)),
            other => return other,
        }
    }
    Err(last.unwrap_or(NO_WAY).into())
}

/// The answer if there is no mechanism to try.
const NO_WAY: Answer = Answer { function: "C_GetMechanismList", rv: CKR_MECHANISM_INVALID };

/// The more telling answer: an owner's refusal goes before a missing mechanism.
fn telling(last: Option<Answer>, next: Answer) -> Answer {
    last.filter(|answer| answer.is_refusal()).unwrap_or(next)
}

impl Call<'_> {
    /// Wraps `dek` by the best way there is. A trial, which is not stored, may be wrapped by SHA-1 too, unless approved algorithms only are taken.
    pub(crate) fn wrap(
        &self,
        version: &Version,
        dek: &Secret,
        is_trial: bool,
    ) -> Result<(WrapAlgorithm, Vec<u8>), Fault> {
        let wrapper = version.wrapper.ok_or_else(|| outage("the key has no half that wraps"))?;
        if version.kind != KeyKind::Aes256 {
            let algorithms = [WrapAlgorithm::RsaOaep256, WrapAlgorithm::RsaOaep].into_iter();
            let sha1 = self.token.options.sha1 || is_trial && WrapAlgorithm::RsaOaep.approval().require().is_ok();
            let may = |algorithm: &WrapAlgorithm| *algorithm == WrapAlgorithm::RsaOaep256 || sha1;
            return first(&mut algorithms.filter(may).map(|algorithm| {
                let encrypted = version.can_encrypt.then(|| self.encrypt(&mut || oaep(algorithm), wrapper, dek));
                let wrapped = || version.can_wrap.then(|| self.wrap_object(&mut || oaep(algorithm), wrapper, dek));
                let bytes = first(&mut encrypted.into_iter().chain(std::iter::once_with(wrapped).flatten()))?;
                Ok((algorithm, bytes))
            }));
        }
        let mut last = None;
        for (algorithm, kind) in [(WrapAlgorithm::Aes256Kw, WrapKind::Kw), (WrapAlgorithm::Aes256Kwp, WrapKind::Kwp)] {
            for mechanism in self.mechanisms(kind, false)? {
                let wrapped =
                    version.can_wrap.then(|| self.wrap_object(&mut || Mechanism::Plain(mechanism), wrapper, dek));
                let encrypted =
                    || version.can_encrypt.then(|| self.encrypt(&mut || Mechanism::Plain(mechanism), wrapper, dek));
                match first(&mut wrapped.into_iter().chain(std::iter::once_with(encrypted).flatten())) {
                    Ok(bytes) => return Ok((algorithm, bytes)),
                    Err(Fault::Answer(answer)) if answer.is_unsupported() => last = Some(telling(last, answer)),
                    Err(fault) => return Err(fault),
                }
            }
        }
        let gcm = version.can_encrypt.then(|| self.encrypt_gcm(wrapper, dek));
        let unknown = || version.can_wrap.then(|| self.wrap_unknown(wrapper, dek));
        match first(&mut gcm.into_iter().chain(std::iter::once_with(unknown).flatten())) {
            Ok(bytes) => Ok((WrapAlgorithm::Opaque, bytes)),
            Err(Fault::Answer(answer)) if answer.is_unsupported() => Err(telling(last, answer).into()),
            Err(fault) => Err(fault),
        }
    }

    /// Unwraps the output of [`wrap`](Self::wrap). Other bytes are [`Error::UnwrapFailed`], without a call to the token.
    pub(crate) fn unwrap(&self, version: &Version, algorithm: WrapAlgorithm, bytes: &[u8]) -> Result<Secret, Fault> {
        let fits = match (version.kind, algorithm) {
            (KeyKind::Aes256, WrapAlgorithm::Aes256Kw) => bytes.len() >= 24 && bytes.len().is_multiple_of(8),
            (KeyKind::Aes256, WrapAlgorithm::Aes256Kwp) => bytes.len() >= 16 && bytes.len().is_multiple_of(8),
            (KeyKind::Aes256, WrapAlgorithm::Opaque) => bytes.starts_with(&MARK),
            (KeyKind::Rsa2048, WrapAlgorithm::RsaOaep256 | WrapAlgorithm::RsaOaep) => bytes.len() == 256,
            (KeyKind::Rsa3072, WrapAlgorithm::RsaOaep256 | WrapAlgorithm::RsaOaep) => bytes.len() == 384,
            (KeyKind::Rsa4096, WrapAlgorithm::RsaOaep256 | WrapAlgorithm::RsaOaep) => bytes.len() == 512,
            _ => false,
        };
        if !fits || bytes.len() > MOST {
            return Err(Error::UnwrapFailed.into());
        }
        match algorithm {
            WrapAlgorithm::Aes256Kw => self.unwrap_by(version, &self.mechanisms(WrapKind::Kw, true)?, bytes),
            WrapAlgorithm::Aes256Kwp => self.unwrap_by(version, &self.mechanisms(WrapKind::Kwp, true)?, bytes),
            WrapAlgorithm::Opaque => self.unwrap_opaque(version, &bytes[MARK.len()..]),
            algorithm => {
                let decrypted =
                    version.can_decrypt.then(|| self.decrypt(&mut || oaep(algorithm), version.unwrapper, bytes));
                let unwrapped = || {
                    let mut mechanism = || oaep(algorithm);
                    version.can_unwrap.then(|| self.unwrap_object(&mut mechanism, version.unwrapper, bytes))
                };
                first(&mut decrypted.into_iter().chain(std::iter::once_with(unwrapped).flatten()))
            }
        }
    }

    /// The mechanisms of a kind; if the token can't be tried, those that have its number in the standard.
    fn mechanisms(&self, kind: WrapKind, unknown_too: bool) -> Result<Vec<CK_MECHANISM_TYPE>, Fault> {
        let mut found = Vec::new();
        for mechanism in WRAPS {
            let is = self.identify(mechanism)?;
            let is_standard = (kind == WrapKind::Kw) == (mechanism == CKM_AES_KEY_WRAP);
            if is == kind || unknown_too && is == WrapKind::Unknown && is_standard {
                found.push(mechanism);
            }
        }
        Ok(found)
    }

    /// Identifies a mechanism: a key of known bytes wraps known bytes in the token, and here.
    fn identify(&self, mechanism: CK_MECHANISM_TYPE) -> Result<WrapKind, Fault> {
        if let Some(kind) = self.kind(mechanism) {
            return Ok(kind);
        }
        let (kek, key): ([u8; 32], [u8; 64]) = (std::array::from_fn(|i| i as u8), std::array::from_fn(|i| !i as u8));
        let kind = match self.wrap_known(mechanism, &kek, &key) {
            Ok(None) => WrapKind::Unknown,
            Ok(Some(bytes)) => {
                let mut room = [0; 72];
                if wrap::aes_kw_wrap(&kek, &key, &mut room)? == bytes {
                    WrapKind::Kw
                } else if wrap::aes_kwp_wrap(&kek, &key, &mut room)? == bytes {
                    WrapKind::Kwp
                } else {
                    WrapKind::Other
                }
            }
            Err(answer) if answer.is_lost() || answer.is_stale() => return Err(answer.into()),
            Err(answer) => {
                log::debug!("{}: mechanism {mechanism:#x} is not used: {answer}", self.token.id);
                if !answer.is_unsupported() {
                    return Ok(WrapKind::Other); // a device that fails now may not fail later: it is tried again then
                }
                WrapKind::Other
            }
        };
        self.set_kind(mechanism, kind);
        Ok(kind)
    }

    /// `None`: the token doesn't take a key from outside.
    fn wrap_known(&self, mechanism: CK_MECHANISM_TYPE, kek: &[u8], key: &[u8]) -> Result<Option<Vec<u8>>, Answer> {
        let template = [
            (CKA_CLASS, Value::Number(CKO_SECRET_KEY)),
            (CKA_KEY_TYPE, Value::Number(CKK_AES)),
            (CKA_TOKEN, Value::Bool(CK_FALSE)),
            (CKA_WRAP, Value::Bool(CK_TRUE)),
            (CKA_VALUE, Value::Bytes(kek)),
        ];
        let create = |template: &_| match self.session.create(template) {
            Ok(object) => Ok(Some(Temporary { session: self.session, object })),
            Err(answer) if answer.is_unsupported() => Ok(None),
            Err(answer) => Err(answer),
        };
        let Some(kek) = create(&template)? else { return Ok(None) };
        let Some(key) = create(&secret(key, CK_FALSE))? else { return Ok(None) };
        let mut out = vec![0; MOST];
        let len = self.session.wrap(Mechanism::Plain(mechanism), kek.object, key.object, &mut out)?;
        out.truncate(len);
        Ok(Some(out))
    }

    /// Wraps by `C_WrapKey`: the DEK becomes an object of the session, and is destroyed after it.
    fn wrap_object(
        &self,
        mechanism: &mut dyn FnMut() -> Mechanism<'static>,
        kek: CK_OBJECT_HANDLE,
        dek: &Secret,
    ) -> Result<Vec<u8>, Fault> {
        // Sensitive where the token allows it: no one then reads its value, but by wrapping it.
        let create = |sensitive| self.session.create(&secret(dek.expose(), sensitive)).map_err(Fault::from);
        let object = first(&mut [CK_TRUE, CK_FALSE].into_iter().map(create))?;
        let dek = Temporary { session: self.session, object };
        let mut out = vec![0; MOST];
        let len = self.session.wrap(mechanism(), kek, dek.object, &mut out)?;
        out.truncate(len);
        Ok(out)
    }

    fn wrap_unknown(&self, kek: CK_OBJECT_HANDLE, dek: &Secret) -> Result<Vec<u8>, Fault> {
        let bytes = self.wrap_object(&mut || Mechanism::Plain(CKM_AES_KEY_WRAP), kek, dek)?;
        let number = u32::try_from(CKM_AES_KEY_WRAP).unwrap_or_default().to_be_bytes();
        Ok([&MARK[..], &[BY_WRAP], &number, &bytes].concat())
    }

    fn encrypt(
        &self,
        mechanism: &mut dyn FnMut() -> Mechanism<'static>,
        key: CK_OBJECT_HANDLE,
        dek: &Secret,
    ) -> Result<Vec<u8>, Fault> {
        let mut out = vec![0; MOST];
        let len = self.session.encrypt(mechanism(), key, dek.expose(), &mut out)?;
        out.truncate(len);
        Ok(out)
    }

    fn encrypt_gcm(&self, key: CK_OBJECT_HANDLE, dek: &Secret) -> Result<Vec<u8>, Fault> {
        let random = Secret::random(12)?;
        let mut nonce: [u8; 12] = std::array::from_fn(|i| random.expose()[i]);
        let mut out = vec![0; MOST];
        // A token that chooses nonces itself writes its own.
        let len = self.session.encrypt(Mechanism::Gcm { nonce: &mut nonce, aad: AAD }, key, dek.expose(), &mut out)?;
        Ok([&MARK[..], &[BY_GCM], &nonce, &out[..len]].concat())
    }

    fn unwrap_by(&self, version: &Version, mechanisms: &[CK_MECHANISM_TYPE], bytes: &[u8]) -> Result<Secret, Fault> {
        let kek = version.unwrapper;
        let result = first(&mut mechanisms.iter().flat_map(|&mechanism| {
            let unwrapped = std::iter::once_with(move || {
                version.can_unwrap.then(|| self.unwrap_object(&mut || Mechanism::Plain(mechanism), kek, bytes))
            });
            let decrypted = std::iter::once_with(move || {
                version.can_decrypt.then(|| self.decrypt(&mut || Mechanism::Plain(mechanism), kek, bytes))
            });
            unwrapped.chain(decrypted).flatten()
        }));
        self.or_disabled(version.can_unwrap, result)
    }

    /// An unwrapping that failed because the key may not be used in the one way that the token has, is `Disabled`.
    fn or_disabled(&self, may: bool, result: Result<Secret, Fault>) -> Result<Secret, Fault> {
        match result {
            Err(Fault::Answer(answer)) if !may && answer.is_unsupported() => {
                Err(Answer { rv: CKR_KEY_FUNCTION_NOT_PERMITTED, ..answer }.into())
            }
            result => result,
        }
    }

    fn unwrap_opaque(&self, version: &Version, bytes: &[u8]) -> Result<Secret, Fault> {
        let (kind, bytes) = bytes.split_first().ok_or(Error::UnwrapFailed)?;
        match *kind {
            BY_GCM => {
                let (nonce, text) = bytes.split_first_chunk::<12>().ok_or(Error::UnwrapFailed)?;
                if text.len() <= 16 {
                    return Err(Error::UnwrapFailed.into());
                }
                if !version.can_decrypt {
                    return Err(Answer { function: "C_Decrypt", rv: CKR_KEY_FUNCTION_NOT_PERMITTED }.into());
                }
                let mut nonce = *nonce;
                let mut out = Secret::zeroed(text.len());
                let mechanism = Mechanism::Gcm { nonce: &mut nonce, aad: AAD };
                let len = self.session.decrypt(mechanism, version.unwrapper, text, out.expose_mut())?;
                Ok(shorter(&out, len))
            }
            BY_WRAP => {
                let (number, bytes) = bytes.split_first_chunk::<4>().ok_or(Error::UnwrapFailed)?;
                let mechanism = CK_MECHANISM_TYPE::from(u32::from_be_bytes(*number));
                if mechanism != CKM_AES_KEY_WRAP || bytes.is_empty() {
                    return Err(Error::UnwrapFailed.into());
                }
                self.unwrap_by(version, &[mechanism], bytes)
            }
            _ => Err(Error::UnwrapFailed.into()),
        }
    }

    /// Unwraps by `C_UnwrapKey` into an object of the session, reads its value, and destroys it.
    fn unwrap_object(
        &self,
        mechanism: &mut dyn FnMut() -> Mechanism<'static>,
        kek: CK_OBJECT_HANDLE,
        bytes: &[u8],
    ) -> Result<Secret, Fault> {
        let template = [
            (CKA_CLASS, Value::Number(CKO_SECRET_KEY)),
            (CKA_KEY_TYPE, Value::Number(CKK_GENERIC_SECRET)),
            (CKA_TOKEN, Value::Bool(CK_FALSE)),
            (CKA_SENSITIVE, Value::Bool(CK_FALSE)),
            (CKA_EXTRACTABLE, Value::Bool(CK_TRUE)),
        ];
        let object = self.session.unwrap(mechanism(), kek, bytes, &template)?;
        let dek = Temporary { session: self.session, object };
        let mut out = Secret::zeroed(MOST);
        let len = self.session.attribute(dek.object, CKA_VALUE, out.expose_mut())?;
        let hidden = Answer { function: "C_GetAttributeValue", rv: CKR_ATTRIBUTE_SENSITIVE };
        Ok(shorter(&out, len.ok_or(hidden)?))
    }

    fn decrypt(
        &self,
        mechanism: &mut dyn FnMut() -> Mechanism<'static>,
        key: CK_OBJECT_HANDLE,
        bytes: &[u8],
    ) -> Result<Secret, Fault> {
        let mut out = Secret::zeroed(MOST);
        let len = self.session.decrypt(mechanism(), key, bytes, out.expose_mut())?;
        Ok(shorter(&out, len))
    }
}

/// The template of a DEK as an object of the session.
fn secret(value: &[u8], sensitive: CK_BBOOL) -> [(CK_ATTRIBUTE_TYPE, Value<'_>); 6] {
    [
        (CKA_CLASS, Value::Number(CKO_SECRET_KEY)),
        (CKA_KEY_TYPE, Value::Number(CKK_GENERIC_SECRET)),
        (CKA_TOKEN, Value::Bool(CK_FALSE)),
        (CKA_SENSITIVE, Value::Bool(sensitive)),
        (CKA_EXTRACTABLE, Value::Bool(CK_TRUE)),
        (CKA_VALUE, Value::Bytes(value)),
    ]
}

fn oaep(algorithm: WrapAlgorithm) -> Mechanism<'static> {
    if algorithm == WrapAlgorithm::RsaOaep {
        Mechanism::Oaep { hash: CKM_SHA_1, mgf: CKG_MGF1_SHA1 }
    } else {
        Mechanism::Oaep { hash: CKM_SHA256, mgf: CKG_MGF1_SHA256 }
    }
}

/// The first `len` bytes, in memory of their own. The rest is wiped when `whole` is dropped.
fn shorter(whole: &Secret, len: usize) -> Secret {
    Secret::copy_from(&whole.expose()[..len.min(whole.len())])
}
