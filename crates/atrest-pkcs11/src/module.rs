//! The library of a token: loaded once, initialised once per process.

use std::collections::HashMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use atrest::{Error, OwningProcess, Secret, VaultFailure};
use cryptoki_sys::*;

use crate::fault::Answer;
use crate::functions::{Functions, answer, missing};
use crate::session::Session;

/// Takes a lock. The guarded data is consistent at every instant, so that a panic of another thread doesn't matter.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One library. It stays loaded until the process ends: a call that never returns may still run in it.
pub(crate) struct Module {
    path: PathBuf,
    functions: Arc<Functions>,
    /// The parameters that NSS needs in `C_Initialize`.
    parameters: Option<CString>,
    /// The process in which it is initialised: a child has to initialise it again (PKCS#11, 2.5.3).
    initialised: Mutex<Option<OwningProcess>>,
    /// The PIN that a token has refused, by the token's label and serial number, and why. It is never tried again by
    /// anyone in this process, nor by a child that fork makes: another try could lock it.
    refused: Mutex<HashMap<TokenName, Refused>>,
    /// Increased whenever it is initialised: sessions of before are gone, and their handles may be others' by now.
    era: AtomicU64,
    /// Read by all calls; written by [`start_again`](Self::start_again), since no call may run during `C_Finalize`.
    gate: RwLock<()>,
}

/// A token's label and serial number.
pub(crate) type TokenName = ([CK_UTF8CHAR; 32], [CK_CHAR; 16]);

/// A PIN, if the token didn't ask for it itself, and why it was refused.
type Refused = (Option<Secret>, &'static str);

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
        let functions = Arc::new(Functions(unsafe { ptr::read_unaligned(list) }));
        std::mem::forget(library);
        let module = Arc::new(Module {
            path: real,
            functions,
            parameters,
            initialised: Mutex::new(None),
            refused: Mutex::default(),
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
        let now = OwningProcess::current();
        if *initialised == Some(now) {
            return Ok(());
        }
        let mut arguments = InitializeArguments {
            functions: [ptr::null_mut(); 4],
            flags: CKF_OS_LOCKING_OK,
            parameters: self.parameters.as_ref().map_or(ptr::null_mut(), |text| text.as_ptr().cast_mut().cast()),
            reserved: ptr::null_mut(),
        };
        let f = self.functions.0.C_Initialize.ok_or(missing("C_Initialize"))?;
        // SAFETY: `arguments` has the layout of CK_C_INITIALIZE_ARGS and lives during the call.
        let rv = unsafe { f(ptr::from_mut(&mut arguments).cast()) };
        if rv != CKR_CRYPTOKI_ALREADY_INITIALIZED {
            answer("C_Initialize", rv)?;
        }
        *initialised = Some(now);
        self.era.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Why the token has refused this PIN, if it has.
    pub(crate) fn refusal(&self, token: &TokenName, pin: Option<&Secret>) -> Option<&'static str> {
        let refused = lock(&self.refused);
        let (of, why) = refused.get(token)?;
        (of.as_ref() == pin).then_some(*why)
    }

    pub(crate) fn refuse(&self, token: TokenName, pin: Option<Secret>, why: &'static str) {
        lock(&self.refused).insert(token, (pin, why));
    }

    pub(crate) fn forget_refusal(&self, token: &TokenName) {
        lock(&self.refused).remove(token);
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
        if let Some(f) = self.functions.0.C_Finalize {
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
        let f = self.functions.0.C_GetSlotList.ok_or(missing("C_GetSlotList"))?;
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
        let f = self.functions.0.C_GetTokenInfo.ok_or(missing("C_GetTokenInfo"))?;
        let mut info = CK_TOKEN_INFO::default();
        // SAFETY: `info` is a place for one CK_TOKEN_INFO.
        answer("C_GetTokenInfo", unsafe { f(slot, &mut info) })?;
        Ok(info)
    }

    /// Opens a read-only session. It makes session objects, and can't change the token.
    pub(crate) fn open(&self, slot: CK_SLOT_ID) -> Result<Session, Answer> {
        let f = self.functions.0.C_OpenSession.ok_or(missing("C_OpenSession"))?;
        let mut handle = 0;
        // SAFETY: no callback is given, and `handle` is a place for one handle.
        let rv = unsafe { f(slot, CKF_SERIAL_SESSION, ptr::null_mut(), None, &mut handle) };
        answer("C_OpenSession", rv)?;
        Ok(Session::new(self.functions.clone(), handle))
    }
}
