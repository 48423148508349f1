//! The library of a token: loaded once, initialised once per process, with a safe function for each of its functions.

use std::cell::Cell;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use atrest::{Error, VaultFailure, process_generation};
use cryptoki_sys::*;

use crate::fault::Answer;

/// Takes a lock. What it guards is whole at every instant, so that a panic of another thread doesn't matter.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One library. It stays loaded until the process ends: a call that never returns may still run in it.
pub(crate) struct Module {
    path: PathBuf,
    functions: CK_FUNCTION_LIST,
    /// What NSS wants in `C_Initialize`.
    parameters: Option<CString>,
    /// The process, by its generation, in which it is initialised: a child has to initialise it again (PKCS#11, 2.5.3).
    initialised: Mutex<Option<u32>>,
    /// Increased whenever it is initialised: sessions of before are gone, and their handles may be others' by now.
    era: AtomicU64,
    /// Read by all calls; written by [`start_again`](Self::start_again), since no call may run during `C_Finalize`.
    gate: RwLock<()>,
}

// The pointers in the list are to functions, which don't change, and PKCS#11 functions may be called by several threads
// once `C_Initialize` has accepted CKF_OS_LOCKING_OK.
// SAFETY: `initialise` passes that flag, and no other function is called before.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

/// All libraries of this process. They are never unloaded.
static MODULES: Mutex<Vec<Arc<Module>>> = Mutex::new(Vec::new());

/// `CK_C_INITIALIZE_ARGS` as NSS has it: its parameters come before `pReserved`. Other libraries see a null `pReserved`
/// where there are no parameters, since that lies in their place.
#[cfg_attr(windows, repr(C, packed))] // as all structures of PKCS#11 are there
#[cfg_attr(not(windows), repr(C))]
struct InitializeArguments {
    functions: [*mut core::ffi::c_void; 4],
    flags: CK_FLAGS,
    parameters: *mut core::ffi::c_void,
    reserved: *mut core::ffi::c_void,
}

impl Module {
    /// The library at `path`, loaded now or before.
    pub(crate) fn load(path: &Path, parameters: Option<&str>) -> Result<Arc<Module>, Error> {
        let mut modules = lock(&MODULES);
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if let Some(module) = modules.iter().find(|module| module.path == real) {
            return Ok(module.clone());
        }
        let failed = |text: &str| Error::Vault(VaultFailure::new(format!("{}: {text}", path.display())));
        let parameters = parameters
            .map(CString::new)
            .transpose()
            .map_err(|_| failed("the parameters of a module hold no zero bytes"))?;
        // SAFETY: loading runs the initialisers of a library that the caller names as a PKCS#11 module. They are trusted
        // like this process itself: the library is handed every DEK.
        let library = unsafe { Pkcs11::new(&real) }.map_err(|error| {
            let what = format!("loading {} (is the path right, and is it for this architecture?)", path.display());
            Error::Vault(VaultFailure::new(what).caused_by(error))
        })?;
        let mut list = ptr::null_mut();
        if library.C_GetFunctionList.is_err() {
            return Err(failed("this is no PKCS#11 module: it has no C_GetFunctionList"));
        }
        // SAFETY: the symbol is there, as just checked, and `list` is a place for one pointer.
        let rv = unsafe { library.C_GetFunctionList(&mut list) };
        if rv != CKR_OK || list.is_null() {
            return Err(failed("C_GetFunctionList gives no functions"));
        }
        // SAFETY: not null, as just checked; C_GetFunctionList gives a list that lives as long as the library, which is
        // never unloaded. The list of any version starts with this one of 2.40.
        let functions = unsafe { ptr::read_unaligned(list) };
        std::mem::forget(library);
        let module = Arc::new(Module {
            path: real,
            functions,
            parameters,
            initialised: Mutex::new(None),
            era: AtomicU64::new(0),
            gate: RwLock::new(()),
        });
        modules.push(module.clone());
        Ok(module)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Calls `C_Initialize` if this process hasn't yet. Others in this process may have: that is no error.
    pub(crate) fn initialise(&self) -> Result<(), Answer> {
        let mut initialised = lock(&self.initialised);
        let now = process_generation();
        if *initialised == Some(now) {
            return Ok(());
        }
        let mut arguments = InitializeArguments {
            functions: [ptr::null_mut(); 4],
            flags: CKF_OS_LOCKING_OK,
            parameters: self.parameters.as_ref().map_or(ptr::null_mut(), |text| text.as_ptr().cast_mut().cast()),
            reserved: ptr::null_mut(),
        };
        let f = self.functions.C_Initialize.ok_or(missing("C_Initialize"))?;
        // SAFETY: `arguments` has the layout of CK_C_INITIALIZE_ARGS and lives during the call.
        let rv = unsafe { f(ptr::from_mut(&mut arguments).cast()) };
        if rv != CKR_CRYPTOKI_ALREADY_INITIALIZED {
            answer("C_Initialize", rv)?;
        }
        *initialised = Some(now);
        self.era.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn era(&self) -> u64 {
        self.era.load(Ordering::Relaxed)
    }

    /// Keeps the library from being started again until the guard is dropped.
    pub(crate) fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finalises the library, so that the next call initialises it: many libraries look for tokens only then. `false`: a
    /// call of another thread is inside.
    pub(crate) fn start_again(&self) -> bool {
        let Ok(_alone) = self.gate.try_write() else { return false };
        if let Some(f) = self.functions.C_Finalize {
            // SAFETY: the argument is null, as it must be; no other call runs, since `_alone` shuts them out.
            let _ = unsafe { f(ptr::null_mut()) };
        }
        self.forget_initialised();
        true
    }

    /// Has [`initialise`](Self::initialise) call the library again: someone finalised it.
    pub(crate) fn forget_initialised(&self) {
        *lock(&self.initialised) = None;
    }

    /// The slots that hold a token.
    pub(crate) fn slots(&self) -> Result<Vec<CK_SLOT_ID>, Answer> {
        const MOST: usize = 4096;
        let f = self.functions.C_GetSlotList.ok_or(missing("C_GetSlotList"))?;
        for _ in 0..5 {
            let mut count = 0;
            // SAFETY: a null list asks for the count alone.
            answer("C_GetSlotList", unsafe { f(CK_TRUE, ptr::null_mut(), &mut count) })?;
            let mut slots = vec![0; (count as usize).min(MOST)];
            let mut got = slots.len() as CK_ULONG;
            // SAFETY: `slots` has room for `got` ids.
            let rv = unsafe { f(CK_TRUE, slots.as_mut_ptr(), &mut got) };
            if rv == CKR_BUFFER_TOO_SMALL {
                continue; // a token was put in meanwhile
            }
            answer("C_GetSlotList", rv)?;
            slots.truncate(got as usize);
            return Ok(slots);
        }
        Err(Answer { function: "C_GetSlotList", rv: CKR_BUFFER_TOO_SMALL })
    }

    pub(crate) fn token(&self, slot: CK_SLOT_ID) -> Result<CK_TOKEN_INFO, Answer> {
        let f = self.functions.C_GetTokenInfo.ok_or(missing("C_GetTokenInfo"))?;
        let mut info = CK_TOKEN_INFO::default();
        // SAFETY: `info` is a place for one CK_TOKEN_INFO.
        answer("C_GetTokenInfo", unsafe { f(slot, &mut info) })?;
        Ok(info)
    }

    /// Opens a read-only session. It makes session objects, and can't change the token.
    pub(crate) fn open(self: &Arc<Self>, slot: CK_SLOT_ID) -> Result<Session, Answer> {
        let f = self.functions.C_OpenSession.ok_or(missing("C_OpenSession"))?;
        let mut handle = 0;
        // SAFETY: no callback is given, and `handle` is a place for one handle.
        let rv = unsafe { f(slot, CKF_SERIAL_SESSION, ptr::null_mut(), None, &mut handle) };
        answer("C_OpenSession", rv)?;
        Ok(Session { module: self.clone(), handle, spoilt: Cell::new(false) })
    }
}

fn missing(function: &'static str) -> Answer {
    Answer { function, rv: CKR_FUNCTION_NOT_SUPPORTED }
}

fn answer(function: &'static str, rv: CK_RV) -> Result<(), Answer> {
    if rv == CKR_OK { Ok(()) } else { Err(Answer { function, rv }) }
}

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
    module: Arc<Module>,
    handle: CK_SESSION_HANDLE,
    /// Whether an operation may be left in it, so that no other can start.
    spoilt: Cell<bool>,
}

impl Session {
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
        if let Some(f) = self.module.functions.C_CloseSession {
            // SAFETY: no pointers.
            let _ = unsafe { f(self.handle) };
        }
    }

    /// Logs the user in. `None`: the token asks for its PIN itself, on a pad.
    pub(crate) fn login(&self, pin: Option<&[u8]>) -> Result<(), Answer> {
        let f = self.module.functions.C_Login.ok_or(missing("C_Login"))?;
        let (at, len) = pin.map_or((ptr::null_mut(), 0), |pin| (pin.as_ptr().cast_mut(), pin.len()));
        // SAFETY: `at` and `len` are one slice, or none. The library only reads it (PKCS#11, 5.6.8).
        answer("C_Login", unsafe { f(self.handle, CKU_USER, at, len as CK_ULONG) })
    }

    /// Whether the user is logged in.
    pub(crate) fn is_logged_in(&self) -> Result<bool, Answer> {
        let f = self.module.functions.C_GetSessionInfo.ok_or(missing("C_GetSessionInfo"))?;
        let mut info = CK_SESSION_INFO::default();
        // SAFETY: `info` is a place for one CK_SESSION_INFO.
        answer("C_GetSessionInfo", unsafe { f(self.handle, &mut info) })?;
        Ok([CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS].contains(&info.state))
    }

    /// The objects that match, at most `most`.
    pub(crate) fn find(&self, template: &Template<'_>, most: usize) -> Result<Vec<CK_OBJECT_HANDLE>, Answer> {
        let functions = &self.module.functions;
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
        let f = self.module.functions.C_GetAttributeValue.ok_or(missing("C_GetAttributeValue"))?;
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
        // These three tell of single attributes; the library has filled in the others (PKCS#11, 5.7.5).
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
        let f = self.module.functions.C_GetAttributeValue.ok_or(missing("C_GetAttributeValue"))?;
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
        let f = self.module.functions.C_CreateObject.ok_or(missing("C_CreateObject"))?;
        let mut template = attributes(template);
        let mut object = 0;
        // SAFETY: `template` has as many attributes as it says; each points to a value that outlives the call.
        let rv = unsafe { f(self.handle, template.as_mut_ptr(), template.len() as CK_ULONG, &mut object) };
        answer("C_CreateObject", rv)?;
        Ok(object)
    }

    pub(crate) fn destroy(&self, object: CK_OBJECT_HANDLE) -> Result<(), Answer> {
        let f = self.module.functions.C_DestroyObject.ok_or(missing("C_DestroyObject"))?;
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
        let f = self.module.functions.C_WrapKey.ok_or(missing("C_WrapKey"))?;
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
        let f = self.module.functions.C_UnwrapKey.ok_or(missing("C_UnwrapKey"))?;
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
        mut mechanism: Mechanism<'_>,
        key: CK_OBJECT_HANDLE,
        text: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Answer> {
        let init = self.module.functions.C_EncryptInit.ok_or(missing("C_EncryptInit"))?;
        let f = self.module.functions.C_Encrypt.ok_or(missing("C_Encrypt"))?;
        // One scope for both calls: a token that chooses the nonce writes it in either.
        let result = mechanism.with(|at| {
            // SAFETY: the mechanism and its parameters live during the call.
            answer("C_EncryptInit", unsafe { init(self.handle, at, key) })?;
            let mut len = out.len() as CK_ULONG;
            let (from, from_len) = (text.as_ptr().cast_mut(), text.len() as CK_ULONG);
            // SAFETY: the library only reads `text`; `out` has room for `len` bytes.
            answer("C_Encrypt", unsafe { f(self.handle, from, from_len, out.as_mut_ptr(), &mut len) })?;
            within(len, out.len(), "C_Encrypt")
        });
        self.note(result)
    }

    /// Decrypts `text` into `out` and returns the length.
    pub(crate) fn decrypt(
        &self,
        mut mechanism: Mechanism<'_>,
        key: CK_OBJECT_HANDLE,
        text: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Answer> {
        let init = self.module.functions.C_DecryptInit.ok_or(missing("C_DecryptInit"))?;
        let f = self.module.functions.C_Decrypt.ok_or(missing("C_Decrypt"))?;
        let result = mechanism.with(|at| {
            // SAFETY: the mechanism and its parameters live during the call.
            answer("C_DecryptInit", unsafe { init(self.handle, at, key) })?;
            let mut len = out.len() as CK_ULONG;
            let (from, from_len) = (text.as_ptr().cast_mut(), text.len() as CK_ULONG);
            // SAFETY: the library only reads `text`; `out` has room for `len` bytes.
            answer("C_Decrypt", unsafe { f(self.handle, from, from_len, out.as_mut_ptr(), &mut len) })?;
            within(len, out.len(), "C_Decrypt")
        });
        self.note(result)
    }
}

/// A length that the library gave, unless it is past the room it had.
fn within(len: CK_ULONG, room: usize, function: &'static str) -> Result<usize, Answer> {
    let len = usize::try_from(len).ok().filter(|&len| len <= room);
    len.ok_or(Answer { function, rv: CKR_BUFFER_TOO_SMALL })
}
