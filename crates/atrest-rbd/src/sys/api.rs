//! The functions of librados and librbd that are used, loaded when first needed.

#![allow(unsafe_code)] // the boundary to C

use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

use libloading::{Library, Symbol};

/// The names of the files, by the versions of the interfaces that the libraries have kept since 2012 and 2010.
const RADOS: &str = "librados.so.2";
const RBD: &str = "librbd.so.1";

/// The versions of the interfaces in Ceph 14. The functions that are newer are looked for one by one.
const OLDEST_RBD: (c_int, c_int) = (1, 12);
const OLDEST_RADOS: (c_int, c_int) = (3, 0);

pub(super) type Callback = unsafe extern "C" fn(completion: *mut c_void, argument: *mut c_void);
pub(super) type Progress = unsafe extern "C" fn(offset: u64, total: u64, argument: *mut c_void) -> c_int;

/// `rbd_image_info_t`.
#[repr(C)]
#[derive(Default)]
pub(super) struct ImageInfo {
    pub(super) size: u64,
    pub(super) object_size: u64,
    objects: u64,
    order: c_int,
    prefix: [u8; 24],
    parent_pool: i64,
    // 96 bytes; `Default` exists for arrays of up to 32.
    parent_name: [[u8; 32]; 3],
}

/// `rbd_image_spec_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct ImageSpec {
    pub(super) id: *mut c_char,
    pub(super) name: *mut c_char,
}

/// `rbd_image_watcher_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Watcher {
    pub(super) address: *mut c_char,
    pub(super) id: i64,
    pub(super) cookie: u64,
}

/// `rbd_config_option_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct ConfigOption {
    pub(super) name: *mut c_char,
    pub(super) value: *mut c_char,
    pub(super) source: c_int,
}

macro_rules! functions {
    ($($library:ident { $($(#[$optional:ident])? fn $name:ident($($argument:ty),*) $(-> $result:ty)?;)* })*) => {
        /// The functions by their names in C. One that is marked as an option may be missing.
        pub(super) struct Api {
            $($(pub(super) $name: functions!(@type $($optional)? unsafe extern "C" fn($($argument),*) $(-> $result)?),)*)*
        }

        impl Api {
            fn of(rados: &Library, rbd: &Library) -> Result<Self, String> {
                let libraries = Libraries { rados, rbd };
                Ok(Api {
                    $($($name: {
                        // SAFETY: the type is the one that the header of this library declares for the name.
                        let found = unsafe { libraries.$library.get(concat!(stringify!($name), "\0").as_bytes()) };
                        functions!(@take $($optional)? found, $name)
                    },)*)*
                })
            }
        }
    };
    (@type option $type:ty) => { Option<$type> };
    (@type $type:ty) => { $type };
    (@take option $found:ident, $name:ident) => { $found.ok().map(|symbol: Symbol<'_, _>| *symbol) };
    (@take $found:ident, $name:ident) => {
        $found.map(|symbol: Symbol<'_, _>| *symbol).map_err(|_| missing(stringify!($name)))?
    };
}

struct Libraries<'l> {
    rados: &'l Library,
    rbd: &'l Library,
}

fn missing(name: &str) -> String {
    format!(
        "the installed libraries of Ceph have no function {name}; install librbd1 and librados2 of Ceph 14 or newer"
    )
}

functions! {
    rados {
        fn rados_version(*mut c_int, *mut c_int, *mut c_int);
        fn rados_create(*mut *mut c_void, *const c_char) -> c_int;
        fn rados_conf_read_file(*mut c_void, *const c_char) -> c_int;
        fn rados_conf_set(*mut c_void, *const c_char, *const c_char) -> c_int;
        fn rados_connect(*mut c_void) -> c_int;
        fn rados_shutdown(*mut c_void);
        fn rados_ioctx_create(*mut c_void, *const c_char, *mut *mut c_void) -> c_int;
        fn rados_ioctx_destroy(*mut c_void);
        fn rados_ioctx_set_namespace(*mut c_void, *const c_char);
        #[option] fn rados_set_pool_full_try(*mut c_void);
        fn rados_getaddrs(*mut c_void, *mut *mut c_char) -> c_int;
        fn rados_buffer_free(*mut c_char);
        #[option] fn rados_blocklist_add(*mut c_void, *mut c_char, u32) -> c_int;
        #[option] fn rados_blacklist_add(*mut c_void, *mut c_char, u32) -> c_int;
    }
    rbd {
        fn rbd_version(*mut c_int, *mut c_int, *mut c_int);
        fn rbd_list2(*mut c_void, *mut ImageSpec, *mut usize) -> c_int;
        fn rbd_image_spec_list_cleanup(*mut ImageSpec, usize);
        fn rbd_image_options_create(*mut *mut c_void);
        fn rbd_image_options_destroy(*mut c_void);
        fn rbd_image_options_set_uint64(*mut c_void, c_int, u64) -> c_int;
        fn rbd_create4(*mut c_void, *const c_char, u64, *mut c_void) -> c_int;
        fn rbd_remove(*mut c_void, *const c_char) -> c_int;
        fn rbd_rename(*mut c_void, *const c_char, *const c_char) -> c_int;
        fn rbd_open(*mut c_void, *const c_char, *mut *mut c_void, *const c_char) -> c_int;
        fn rbd_open_read_only(*mut c_void, *const c_char, *mut *mut c_void, *const c_char) -> c_int;
        fn rbd_close(*mut c_void) -> c_int;
        fn rbd_stat(*mut c_void, *mut ImageInfo, usize) -> c_int;
        fn rbd_get_size(*mut c_void, *mut u64) -> c_int;
        fn rbd_get_features(*mut c_void, *mut u64) -> c_int;
        fn rbd_resize2(*mut c_void, u64, bool, Progress, *mut c_void) -> c_int;
        fn rbd_lock_acquire(*mut c_void, c_int) -> c_int;
        fn rbd_lock_get_owners(*mut c_void, *mut c_int, *mut *mut c_char, *mut usize) -> c_int;
        fn rbd_lock_get_owners_cleanup(*mut *mut c_char, usize);
        fn rbd_lock_break(*mut c_void, c_int, *const c_char) -> c_int;
        fn rbd_is_exclusive_lock_owner(*mut c_void, *mut c_int) -> c_int;
        fn rbd_config_image_list(*mut c_void, *mut ConfigOption, *mut c_int) -> c_int;
        fn rbd_config_image_list_cleanup(*mut ConfigOption, c_int);
        fn rbd_watchers_list(*mut c_void, *mut Watcher, *mut usize) -> c_int;
        fn rbd_watchers_list_cleanup(*mut Watcher, usize);
        fn rbd_aio_create_completion(*mut c_void, Option<Callback>, *mut *mut c_void) -> c_int;
        fn rbd_aio_get_return_value(*mut c_void) -> isize;
        fn rbd_aio_release(*mut c_void);
        fn rbd_aio_read(*mut c_void, u64, usize, *mut c_char, *mut c_void) -> c_int;
        fn rbd_aio_write(*mut c_void, u64, usize, *const c_char, *mut c_void) -> c_int;
        fn rbd_aio_discard(*mut c_void, u64, u64, *mut c_void) -> c_int;
        #[option] fn rbd_aio_write_zeroes(*mut c_void, u64, usize, *mut c_void, c_int, c_int) -> c_int;
        fn rbd_aio_flush(*mut c_void, *mut c_void) -> c_int;
    }
}

/// The functions, or the reason why they are missing.
pub(super) fn api() -> Result<&'static Api, &'static str> {
    static API: OnceLock<Result<Api, String>> = OnceLock::new();
    API.get_or_init(load).as_ref().map_err(String::as_str)
}

fn load() -> Result<Api, String> {
    let open = |name: &str, package: &str| {
        // SAFETY: the initialisers of Ceph's libraries have no preconditions: programs link them and start them as they are.
        let library = unsafe { Library::new(name) };
        library.map_err(|e| format!("{name} can't be loaded: {e}; install it (Debian's package {package})"))
    };
    let (rados, rbd) = (open(RADOS, "librados2")?, open(RBD, "librbd1")?);
    let api = Api::of(&rados, &rbd)?;
    // Their threads run until the process ends, so they must never be unloaded.
    std::mem::forget((rados, rbd));
    let version = |of: unsafe extern "C" fn(*mut c_int, *mut c_int, *mut c_int)| {
        let (mut major, mut minor, mut extra) = (0, 0, 0);
        // SAFETY: the function writes three numbers to where these pointers point, as its header says.
        unsafe { of(&mut major, &mut minor, &mut extra) };
        (major, minor)
    };
    let checks = [(RADOS, version(api.rados_version), OLDEST_RADOS), (RBD, version(api.rbd_version), OLDEST_RBD)];
    for (name, found, oldest) in checks {
        // Another major version may declare the same names differently.
        if found.0 != oldest.0 || found < oldest {
            let ((major, minor), (oldest_major, oldest_minor)) = (found, oldest);
            return Err(format!(
                "{name} has version {major}.{minor}; {oldest_major}.{oldest_minor} or a newer {oldest_major} is needed"
            ));
        }
    }
    Ok(api)
}
