//! Sessions: a safe function for each function of the library.

use std::cell::Cell;
use std::ptr;
use std::sync::Arc;

use cryptoki_sys::*;

use crate::fault::Answer;
use crate::functions::{Functions, answer, missing, within};

/// `C_EncryptInit` or `C_DecryptInit`.
type Init = unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE) -> CK_RV;
/// `C_Encrypt` or `C_Decrypt`.
type Crypt = unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_BYTE, CK_ULONG, *mut CK_BYTE, *mut CK_ULONG) -> CK_RV;

/// The value of an attribute in a template. Numbers are kept aligned, as libraries read them through a pointer.
pub(crate) enum Value<'a> {
    Bool(CK_BBOOL),
    Number(CK_ULONG),
    Bytes(&'a [u8]),
}

pub(crate) type Template<'a> = [(CK_ATTRIBUTE_TYPE, Value<'a>)];

fn attributes(template: &Template<'_>) -> Vec<CK_ATTRIBUTE> {
    let one = |(kind, value): &(CK_ATTRIBUTE_TYPE, Value<'_>)| {
        let (at, len): (*const core::ffi::c_void, usize) = match value {
            Value::Bool(value) => (ptr::from_ref(value).cast(), size_of::<CK_BBOOL>()),
            Value::Number(value) => (ptr::from_ref(value).cast(), size_of::<CK_ULONG>()),
            Value::Bytes(value) => (value.as_ptr().cast(), value.len()),
        };
        CK_ATTRIBUTE { type_: *kind, pValue: at.cast_mut(), ulValueLen: len as CK_ULONG }
    };
    template.iter().map(one).collect()
}

/// A mechanism and its parameters.
pub(crate) enum Mechanism<'a> {
    Plain(CK_MECHANISM_TYPE),
    /// The nonce is written by tokens that choose it themselves.
    Gcm {
        nonce: &'a mut [u8; 12],
        aad: &'a [u8],
    },
    Oaep {
        hash: CK_MECHANISM_TYPE,
        mgf: CK_RSA_PKCS_MGF_TYPE,
    },
}

impl Mechanism<'_> {
    /// Calls `f` with the mechanism as the library takes it.
    fn with<T>(&mut self, f: impl FnOnce(*mut CK_MECHANISM) -> T) -> T {
        fn call<P, T>(
            kind: CK_MECHANISM_TYPE,
            parameters: Option<&mut P>,
            f: impl FnOnce(*mut CK_MECHANISM) -> T,
        ) -> T {
            let len = if parameters.is_some() { size_of::<P>() } else { 0 };
            let at = parameters.map_or(ptr::null_mut(), |parameters| ptr::from_mut(parameters).cast());
            let mut mechanism = CK_MECHANISM { mechanism: kind, pParameter: at, ulParameterLen: len as CK_ULONG };
            f(&mut mechanism)
        }
        match self {
            Mechanism::Plain(kind) => call::<u8, T>(*kind, None, f),
            Mechanism::Gcm { nonce, aad } => {
                let mut parameters = CK_GCM_PARAMS {
                    pIv: nonce.as_mut_ptr(),
                    ulIvLen: 12,
                    ulIvBits: 96,
                    pAAD: aad.as_ptr().cast_mut(),
                    ulAADLen: aad.len() as CK_ULONG,
                    ulTagBits: 128,
                };
                call(CKM_AES_GCM, Some(&mut parameters), f)
            }
            Mechanism::Oaep { hash, mgf } => {
                let mut parameters = CK_RSA_PKCS_OAEP_PARAMS {
                    hashAlg: *hash,
                    mgf: *mgf,
                    source: CKZ_DATA_SPECIFIED,
                    pSourceData: ptr::null_mut(),
                    ulSourceDataLen: 0,
                };
                call(CKM_RSA_PKCS_OAEP, Some(&mut parameters), f)
            }
        }
    }
}

/// A session. One thread at a time uses it. It is not closed when it is dropped: see [`close`](Self::close).
pub(crate) struct Session {
    functions: Arc<Functions>,
    handle: CK_SESSION_HANDLE,
    /// Whether an operation may be left in it, so that no other can start.
    spoilt: Cell<bool>,
}

impl Session {
    pub(crate) fn new(functions: Arc<Functions>, handle: CK_SESSION_HANDLE) -> Self {
        Session { functions, handle, spoilt: Cell::new(false) }
    }

    pub(crate) fn is_spoilt(&self) -> bool {
        self.spoilt.get()
    }

    /// Marks the session if an operation in it failed in a way that doesn't end it (PKCS#11, 5.2: too little room) or
    /// that shouldn't happen.
    fn note<T>(&self, result: Result<T, Answer>) -> Result<T, Answer> {
        let left = |answer: &Answer| matches!(answer.rv, CKR_BUFFER_TOO_SMALL | CKR_OPERATION_ACTIVE);
        if result.as_ref().is_err_and(left) {
            self.spoilt.set(true);
        }
        result
    }

    pub(crate) fn close(self) {
        if let Some(f) = self.functions.0.C_CloseSession {
            // SAFETY: no pointers.
            let _ = unsafe { f(self.handle) };
        }
    }

    /// Logs the user in. `None`: the token asks for its PIN itself, on a pad.
    pub(crate) fn login(&self, pin: Option<&[u8]>) -> Result<(), Answer> {
        let f = self.functions.0.C_Login.ok_or(missing("C_Login"))?;
        let (at, len) = pin.map_or((ptr::null_mut(), 0), |pin| (pin.as_ptr().cast_mut(), pin.len()));
        // SAFETY: `at` and `len` are one slice, or null and 0. The library only reads it (PKCS#11, 5.6.8).
        answer("C_Login", unsafe { f(self.handle, CKU_USER, at, len as CK_ULONG) })
    }

    /// Whether the user is logged in.
    pub(crate) fn is_logged_in(&self) -> Result<bool, Answer> {
        let f = self.functions.0.C_GetSessionInfo.ok_or(missing("C_GetSessionInfo"))?;
        let mut info = CK_SESSION_INFO::default();
        // SAFETY: `info` is a place for one CK_SESSION_INFO.
        answer("C_GetSessionInfo", unsafe { f(self.handle, &mut info) })?;
        let state = info.state; // the structure is packed on Windows
        Ok([CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS].contains(&state))
    }

    /// The objects that match, at most `most`.
    pub(crate) fn find(&self, template: &Template<'_>, most: usize) -> Result<Vec<CK_OBJECT_HANDLE>, Answer> {
        let functions = &self.functions.0;
        let init = functions.C_FindObjectsInit.ok_or(missing("C_FindObjectsInit"))?;
        let next = functions.C_FindObjects.ok_or(missing("C_FindObjects"))?;
        let end = functions.C_FindObjectsFinal.ok_or(missing("C_FindObjectsFinal"))?;
        let mut template = attributes(template);
        // SAFETY: `template` has as many attributes as it says; each points to a value that outlives the call.
        let rv = unsafe { init(self.handle, template.as_mut_ptr(), template.len() as CK_ULONG) };
        self.note(answer("C_FindObjectsInit", rv))?;
        let mut found = vec![0; most];
        let mut len = 0;
        let result = loop {
            let mut got = 0;
            let room = &mut found[len..];
            // SAFETY: `room` has room for as many handles as it says.
            let rv = unsafe { next(self.handle, room.as_mut_ptr(), room.len() as CK_ULONG, &mut got) };
            if let Err(wrong) = answer("C_FindObjects", rv) {
                break Err(wrong);
            }
            len += (got as usize).min(room.len());
            if got == 0 || len == most {
                break Ok(());
            }
        };
        // SAFETY: no pointers.
        let ended = answer("C_FindObjectsFinal", unsafe { end(self.handle) });
        if ended.is_err() {
            self.spoilt.set(true);
        }
        result.and(ended)?;
        found.truncate(len);
        Ok(found)
    }

    /// The values of attributes, each of at most 256 bytes; `None` for those that the object lacks or hides.
    pub(crate) fn attributes<const N: usize>(
        &self,
        object: CK_OBJECT_HANDLE,
        kinds: [CK_ATTRIBUTE_TYPE; N],
    ) -> Result<[Option<Vec<u8>>; N], Answer> {
        const ROOM: usize = 256;
        let f = self.functions.0.C_GetAttributeValue.ok_or(missing("C_GetAttributeValue"))?;
        let mut values = [[0u64; ROOM / 8]; N]; // aligned for numbers
        let mut template: Vec<CK_ATTRIBUTE> = kinds
            .iter()
            .zip(&mut values)
            .map(|(kind, room)| CK_ATTRIBUTE {
                type_: *kind,
                pValue: room.as_mut_ptr().cast(),
                ulValueLen: ROOM as CK_ULONG,
            })
            .collect();
        // SAFETY: each attribute points to ROOM bytes of its own.
        let rv = unsafe { f(self.handle, object, template.as_mut_ptr(), N as CK_ULONG) };
        // These three errors concern single attributes; the library has filled in the others (PKCS#11, 5.7.5).
        if ![CKR_ATTRIBUTE_SENSITIVE, CKR_ATTRIBUTE_TYPE_INVALID, CKR_BUFFER_TOO_SMALL].contains(&rv) {
            answer("C_GetAttributeValue", rv)?;
        }
        Ok(std::array::from_fn(|i| {
            let len = usize::try_from(template[i].ulValueLen).ok().filter(|&len| len <= ROOM)?;
            Some(values[i].iter().flat_map(|word| word.to_ne_bytes()).take(len).collect())
        }))
    }

    /// Reads one attribute into `out` and returns its length; `None` if the object has none.
    pub(crate) fn attribute(
        &self,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
        out: &mut [u8],
    ) -> Result<Option<usize>, Answer> {
        let f = self.functions.0.C_GetAttributeValue.ok_or(missing("C_GetAttributeValue"))?;
        let mut attribute =
            CK_ATTRIBUTE { type_: kind, pValue: out.as_mut_ptr().cast(), ulValueLen: out.len() as CK_ULONG };
        // SAFETY: the attribute points to `out`, and says how long it is.
        let rv = unsafe { f(self.handle, object, &mut attribute, 1) };
        if rv == CKR_ATTRIBUTE_TYPE_INVALID {
            return Ok(None);
        }
        answer("C_GetAttributeValue", rv)?;
        within(attribute.ulValueLen, out.len(), "C_GetAttributeValue").map(Some)
    }

    pub(crate) fn create(&self, template: &Template<'_>) -> Result<CK_OBJECT_HANDLE, Answer> {
        let f = self.functions.0.C_CreateObject.ok_or(missing("C_CreateObject"))?;
        let mut template = attributes(template);
        let mut object = 0;
        // SAFETY: `template` has as many attributes as it says; each points to a value that outlives the call.
        let rv = unsafe { f(self.handle, template.as_mut_ptr(), template.len() as CK_ULONG, &mut object) };
        answer("C_CreateObject", rv)?;
        Ok(object)
    }

    pub(crate) fn destroy(&self, object: CK_OBJECT_HANDLE) -> Result<(), Answer> {
        let f = self.functions.0.C_DestroyObject.ok_or(missing("C_DestroyObject"))?;
        // SAFETY: no pointers.
        answer("C_DestroyObject", unsafe { f(self.handle, object) })
    }

    /// Wraps `key` under `kek` into `out` and returns the length.
    pub(crate) fn wrap(
        &self,
        mut mechanism: Mechanism<'_>,
        kek: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
        out: &mut [u8],
    ) -> Result<usize, Answer> {
        let f = self.functions.0.C_WrapKey.ok_or(missing("C_WrapKey"))?;
        let mut len = out.len() as CK_ULONG;
        // SAFETY: the mechanism and its parameters live during the call; `out` has room for `len` bytes.
        let rv = mechanism.with(|at| unsafe { f(self.handle, at, kek, key, out.as_mut_ptr(), &mut len) });
        answer("C_WrapKey", rv)?;
        within(len, out.len(), "C_WrapKey")
    }

    pub(crate) fn unwrap(
        &self,
        mut mechanism: Mechanism<'_>,
        kek: CK_OBJECT_HANDLE,
        wrapped: &[u8],
        template: &Template<'_>,
    ) -> Result<CK_OBJECT_HANDLE, Answer> {
        let f = self.functions.0.C_UnwrapKey.ok_or(missing("C_UnwrapKey"))?;
        let mut template = attributes(template);
        let (bytes, bytes_len) = (wrapped.as_ptr().cast_mut(), wrapped.len() as CK_ULONG);
        let (at, count) = (template.as_mut_ptr(), template.len() as CK_ULONG);
        let mut object = 0;
        // SAFETY: as in `wrap`; the library only reads `wrapped` (PKCS#11, 5.18.4) and the template.
        let rv = mechanism.with(|m| unsafe { f(self.handle, m, kek, bytes, bytes_len, at, count, &mut object) });
        answer("C_UnwrapKey", rv)?;
        Ok(object)
    }

    /// Encrypts `text` into `out` and returns the length.
    pub(crate) fn encrypt(
        &self,
        mechanism: Mechanism<'_>,
        key: CK_OBJECT_HANDLE,
        text: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Answer> {
        let init = self.functions.0.C_EncryptInit.ok_or(missing("C_EncryptInit"))?;
        let f = self.functions.0.C_Encrypt.ok_or(missing("C_Encrypt"))?;
        self.crypt(mechanism, key, (init, "C_EncryptInit"), (f, "C_Encrypt"), text, out)
    }

    /// Decrypts `text` into `out` and returns the length.
    pub(crate) fn decrypt(
        &self,
        mechanism: Mechanism<'_>,
        key: CK_OBJECT_HANDLE,
        text: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Answer> {
        let init = self.functions.0.C_DecryptInit.ok_or(missing("C_DecryptInit"))?;
        let f = self.functions.0.C_Decrypt.ok_or(missing("C_Decrypt"))?;
        self.crypt(mechanism, key, (init, "C_DecryptInit"), (f, "C_Decrypt"), text, out)
    }

    /// Begins an operation and does it, by the two functions of a kind with their names.
    fn crypt(
        &self,
        mut mechanism: Mechanism<'_>,
        key: CK_OBJECT_HANDLE,
        (init, init_name): (Init, &'static str),
        (f, name): (Crypt, &'static str),
        text: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Answer> {
        // One scope for both calls: a token that chooses the nonce writes it in either.
        let result = mechanism.with(|at| {
            // SAFETY: the mechanism and its parameters live during the call.
            answer(init_name, unsafe { init(self.handle, at, key) })?;
            let mut len = out.len() as CK_ULONG;
            let (from, from_len) = (text.as_ptr().cast_mut(), text.len() as CK_ULONG);
            // SAFETY: the library only reads `text`; `out` has room for `len` bytes.
            answer(name, unsafe { f(self.handle, from, from_len, out.as_mut_ptr(), &mut len) })?;
            within(len, out.len(), name)
        });
        self.note(result)
    }
}
