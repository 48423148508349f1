//! The C interface: any of its functions, one after the other, with any arguments that C can give without breaking its
//! part: handles that are null, of another type or of something unusual, lengths, numbers, enumerations, texts. Pointers
//! are null, or lead to as many bytes as the call says.
//!
//! An input is one byte that says what there is at first, then for each call the number of the function, and its
//! arguments. The calls are written by `build.rs`, from the header.

#![no_main]

use core::ffi::{CStr, c_char, c_void};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::ptr::null_mut;
use std::sync::{LazyLock, Mutex};

use atrest_fuzz::pages::Folder;
use atrest_fuzz::{Input, Numbers, limits, seeds};
use libfuzzer_sys::{Corpus, fuzz_target};

extern crate atrest_capi as _;

/// Written by `build.rs`.
#[allow(clippy::all)]
mod calls {
    use super::{Caller, c_void, called};

    include!(concat!(env!("OUT_DIR"), "/calls.rs"));
}

use calls::{CALLS, sys};

const OK: u32 = 0;
const BUFFER_TOO_SHORT: u32 = 7;
const PANIC: u32 = 90;
/// The kind of a protector, and of a credential.
const VAULT: u32 = 1;

/// What lies behind a buffer, and in one that the library is to fill.
const GUARD: u8 = 0xC3;
const GUARDS: usize = 32;

/// At most so many calls of an input.
const MAX_CALLS: usize = 24;

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

/// The files that calls find, made once for each choice of what there is.
static FILES: Mutex<BTreeMap<u8, Folder>> = Mutex::new(BTreeMap::new());

/// The header of a volume, made once.
static BACKUP: Mutex<Vec<u8>> = Mutex::new(Vec::new());

thread_local! {
    /// What callbacks return.
    static ANSWER: Cell<u32> = const { Cell::new(0) };
}

fuzz_target!(init: seeds::write(seeds()), |data: &[u8]| -> Corpus {
    limits::limited(|| run(data));
    Corpus::Keep
});

/// Calls in an order that makes sense, with noise for arguments.
fn seeds() -> Vec<Vec<u8>> {
    let mut numbers = Numbers(1);
    // There are more calls than a byte counts.
    let of = |word: &str| -> Vec<u16> {
        let calls = CALLS.iter().enumerate().filter(|(_, (name, _))| name.contains(word)).map(|(n, _)| n as u16);
        calls.collect()
    };
    let mut seeds = Vec::new();
    for word in [
        "vault",
        "secret",
        "dek",
        "cipher",
        "aes_k",
        "device",
        "file_prefix",
        "volume",
        "header",
        "token",
        "disk",
        "clock",
        "ade",
        "",
    ] {
        let calls = of(word);
        for there in [1, 3, 5, 15] {
            let mut seed = vec![there];
            for _ in 0..MAX_CALLS {
                seed.extend(calls[numbers.below(calls.len())].to_be_bytes());
                seed.extend((0..24).map(|_| numbers.below(256) as u8));
            }
            seeds.push(seed);
        }
    }
    seeds
}

/// A buffer with guards behind it.
struct Buffer {
    bytes: Box<[u8]>,
    len: usize,
    /// It is the library's to fill: the parameter's name.
    output: Option<&'static str>,
}

#[derive(Default)]
pub struct Caller<'a> {
    input: Input<'a>,
    handles: BTreeMap<&'static str, Vec<*mut c_void>>,
    buffers: Vec<Buffer>,
    /// Structs and texts, kept until the call is over.
    kept: Vec<Box<dyn std::any::Any>>,
    slots: Vec<(&'static str, Box<*mut c_void>)>,
    /// What calls gave before: envelopes, prefixes, backups, URLs.
    given: Vec<Vec<u8>>,
}

/// What a slot for a handle holds before the call.
const UNTOUCHED: *mut c_void = 0x5A5A_5A5A as *mut c_void;

impl Caller<'_> {
    fn one_in(&mut self, n: u8) -> bool {
        self.input.byte() % n == n - 1
    }

    fn null(&mut self, name: &str) -> bool {
        // Without these a key derivation takes two seconds, which is what it is for.
        let costly = ["keyslot", "kdf", "unlock"].contains(&name) || name == "options";
        !costly && self.one_in(8)
    }

    fn handle(&mut self, kind: &'static str) -> *mut c_void {
        match self.input.byte() {
            0..16 => null_mut(),
            // Of another type, which is told by its first bytes.
            byte @ 16..24 => {
                let all: Vec<*mut c_void> = self.handles.values().flatten().copied().collect();
                all.get(usize::from(byte) % all.len().max(1)).copied().unwrap_or(null_mut())
            }
            byte => {
                let all = self.handles.get(kind).map_or(&[][..], |all| all);
                all.get(usize::from(byte) % all.len().max(1)).copied().unwrap_or(null_mut())
            }
        }
    }

    /// Several handles, in an array.
    fn handles(&mut self, kind: &'static str) -> (*mut c_void, usize) {
        let count = usize::from(self.input.byte() % 5);
        let handles: Box<[*mut c_void]> = (0..count).map(|_| self.handle(kind)).collect();
        let at = handles.as_ptr() as *mut c_void;
        self.kept.push(Box::new(handles));
        (if self.one_in(16) { null_mut() } else { at }, count)
    }

    /// A handle that is freed: nobody else has it then.
    fn take(&mut self, kind: &'static str) -> *mut c_void {
        if self.one_in(2) { null_mut() } else { self.handles.get_mut(kind).and_then(Vec::pop).unwrap_or(null_mut()) }
    }

    fn out_handle(&mut self, kind: &'static str) -> *mut c_void {
        if self.one_in(16) {
            return null_mut();
        }
        self.slots.push((kind, Box::new(UNTOUCHED)));
        &raw mut *self.slots.last_mut().unwrap().1 as *mut c_void
    }

    fn buffer(&mut self, bytes: Vec<u8>, output: Option<&'static str>) -> *mut c_void {
        let len = bytes.len();
        let bytes = [bytes, vec![GUARD; GUARDS]].concat().into_boxed_slice();
        self.buffers.push(Buffer { bytes, len, output });
        self.buffers.last_mut().unwrap().bytes.as_mut_ptr().cast()
    }

    fn len(&mut self) -> usize {
        match self.input.byte() {
            byte @ 0..12 => [0, 1, 8, 16, 24, 32, 40, 64, 512, 4096, 8192, 1024][usize::from(byte)],
            byte @ 12..128 => usize::from(byte / 12) * 512,
            byte => usize::from(byte - 128),
        }
    }

    fn input(&mut self) -> (*mut c_void, usize) {
        match self.input.byte() {
            0 => (null_mut(), 0),
            1 => (null_mut(), 5),
            byte @ 2..160 if !self.given.is_empty() => {
                let mut given = self.given[usize::from(byte) % self.given.len()].clone();
                if byte & 3 == 3
                    && let Some(at) = usize::from(self.input.u16()).checked_rem(given.len())
                {
                    given[at] ^= 1;
                }
                let len = given.len();
                (self.buffer(given, None), len)
            }
            _ => {
                let len = self.len();
                (self.input_of(len), len)
            }
        }
    }

    fn input_of(&mut self, len: usize) -> *mut c_void {
        if self.one_in(32) {
            return null_mut();
        }
        let front = usize::from(self.input.byte() % 16);
        let mut bytes = self.input.bytes(front.min(len)).to_vec();
        // Keys have halves that differ.
        bytes.extend((bytes.len()..len).map(|i| i as u8));
        self.buffer(bytes, None)
    }

    fn output(&mut self, name: &'static str) -> (*mut c_void, usize) {
        match self.input.byte() {
            0..8 => (null_mut(), 0),
            byte @ 8..64 => (self.buffer(vec![GUARD; usize::from(byte)], Some(name)), byte.into()),
            byte => {
                // The last one is enough for the backup of a header.
                let len = if byte < 250 { [774, 3124, 8192][usize::from(byte) % 3] } else { (1 << 20) + 16384 };
                (self.buffer(vec![GUARD; len], Some(name)), len)
            }
        }
    }

    /// What the library may write, or read and write.
    fn output_of(&mut self, len: usize) -> *mut c_void {
        if self.one_in(32) { null_mut() } else { self.buffer(vec![GUARD; len], None) }
    }

    fn segments(&mut self) -> (*mut c_void, usize) {
        let count = usize::from(self.input.byte() % 6);
        let mut segments = Vec::new();
        for _ in 0..count {
            let len = self.len();
            let base = if self.one_in(32) { null_mut() } else { self.buffer(vec![GUARD; len], None) };
            segments.push(sys::atrest_segment { base, len });
        }
        if self.one_in(32) {
            return (null_mut(), count);
        }
        let segments = segments.into_boxed_slice();
        let at = segments.as_ptr() as *mut c_void;
        self.kept.push(Box::new(segments));
        (at, count)
    }

    fn text(&mut self, name: &str) -> *mut c_void {
        const NAMES: [&str; 14] = [
            "disks",
            "tapes",
            "disk-1",
            "disk-2",
            "set-1",
            "snap-1",
            "north",
            "contoso",
            "1",
            "",
            "{\"type\":\"t\",\"keyslots\":[]}",
            "fuzz:vault",
            "fuzz:vault/keys/disks/1",
            "fuzz:vault/keys/disks/2",
        ];
        const PATHS: [&str; 7] = ["vault", "key", "disk", "store", "aside", "folder", "no/such/folder"];
        let is_path = ["path", "store", "key_file"].contains(&name);
        let text = match self.input.byte() {
            0..8 => return null_mut(),
            byte if is_path => {
                let path = FOLDER.path().join(PATHS[usize::from(byte) % PATHS.len()]);
                path.into_os_string().into_encoded_bytes()
            }
            byte @ 8..64 if !self.given.is_empty() => self.given[usize::from(byte) % self.given.len()].clone(),
            64..96 => self.input.bytes(12).to_vec(),
            96 => vec![b'a'; 3000],
            byte => NAMES[usize::from(byte) % NAMES.len()].as_bytes().to_vec(),
        };
        let text: Vec<u8> = text.into_iter().filter(|&byte| byte != 0).collect();
        let text = CString::new(text).unwrap();
        let at = text.as_ptr() as *mut c_void;
        self.kept.push(Box::new(text));
        at
    }

    fn texts(&mut self, name: &str) -> (*mut c_void, usize) {
        let count = usize::from(self.input.byte() % 4);
        let texts: Box<[*mut c_void]> = (0..count).map(|_| self.text(name)).collect();
        let at = texts.as_ptr() as *mut c_void;
        self.kept.push(Box::new(texts));
        (if self.one_in(16) { null_mut() } else { at }, count)
    }

    fn number(&mut self, name: &str) -> u64 {
        let byte = self.input.byte();
        let few = |all: &[u64]| all[usize::from(byte) % all.len()];
        match name {
            // What costs time or memory, whoever asks for it: as little as there is, or more than is allowed.
            "time_ms" => 1,
            "iterations" => few(&[1000, 1001]),
            "passes" | "kdf_passes" => few(&[1, 1, 1, 65, u32::MAX.into()]),
            "lanes" | "kdf_lanes" => few(&[1, 1, 2, 17, u32::MAX.into()]),
            "memory_kib" | "kdf_memory_kib" | "max_memory_kib" => few(&[64, 32, 8, 1, u32::MAX.into()]),
            "kdf_max_memory_kib" | "kdf_max_kib_passes" | "kdf_max_lanes" => few(&[1, 64, 256]),
            "kdf_max_iterations" => few(&[1, 1000, 2000]),
            "size" => few(&[0, 511, 4096, 64 << 10, 1 << 20, 2 << 20, (1 << 20) + 16384, 1 << 62, u64::MAX]),
            "seconds" | "now" => few(&[0, 1, 3600, 1_700_000_000, 1 << 40, u64::MAX]),
            "sector_size" => few(&[512, 4096, 512, 4096, 1024, 2048, 0, 1, 8192, u32::MAX.into()]),
            "parallel" => few(&[0, 1, 2, 3]),
            "offset" | "first_sector" | "data_offset" | "metadata_size" => {
                let all = [
                    0,
                    512,
                    4096,
                    8192,
                    16384,
                    32768,
                    1 << 20,
                    2 << 20,
                    16 << 20,
                    7,
                    1 << 63,
                    u64::MAX - 511,
                    u64::MAX,
                ];
                few(&all)
            }
            _ => match byte {
                0..200 => u64::from(byte % 8),
                200..240 => u64::from(byte),
                _ => few(&[u32::MAX.into(), u64::MAX, 1 << 31, 1 << 63]),
            },
        }
    }

    fn struct_size(&mut self, size: usize, kind: &str) -> usize {
        // The sizes of earlier versions lack what says that a key derivation may be cheap.
        let costly =
            ["atrest_keyslot_options", "atrest_format_options", "atrest_unlock", "atrest_kdf", "atrest_open_options"];
        match self.input.byte() {
            0 => 0,
            1 => size + 8,
            2 => usize::MAX,
            byte @ 3..16 if !costly.contains(&kind) => size.saturating_sub(usize::from(byte) * 4),
            _ => size,
        }
    }

    fn structure<T: 'static>(&mut self, structure: T) -> *mut c_void {
        let mut kept = Box::new(structure);
        let at = &raw mut *kept as *mut c_void;
        self.kept.push(kept);
        at
    }

    fn callback(&mut self) -> bool {
        let byte = self.input.byte();
        ANSWER.set(if byte & 7 == 7 { u32::from(byte) } else { 0 });
        byte != 0
    }

    fn done(&mut self, name: &str, status: u32) {
        assert!(status != PANIC, "{name}: {}", last_error());
        // SAFETY: it returns a text that is there for ever.
        let named = unsafe { CStr::from_ptr(sys::atrest_status_name(status) as *const c_char) };
        assert!(named.to_bytes().starts_with(b"ATREST_"), "{name} returns {status}, which has no name");
        if status != OK {
            assert!(!last_error().is_empty(), "{name} returns {named:?} and doesn't say why");
        }
        for Buffer { bytes, len, output } in core::mem::take(&mut self.buffers) {
            let (bytes, guards) = bytes.split_at(len);
            assert!(is_untouched(guards), "{name} wrote behind a buffer");
            match output {
                Some(output) if status == OK => {
                    let last = bytes.chunks(4096).rposition(|chunk| !is_untouched(chunk)).unwrap_or(0) * 4096;
                    let within = bytes[last..].iter().take(4096).rposition(|&byte| byte != GUARD);
                    let end = within.map_or(0, |at| last + at + 1);
                    let text = &bytes[..end];
                    let text = text.strip_suffix(b"\0").filter(|_| output != "envelope").unwrap_or(text);
                    if self.given.len() < 16 && !text.is_empty() {
                        self.given.push(text.to_vec());
                    }
                }
                Some(output) if status != BUFFER_TOO_SHORT => {
                    assert!(is_untouched(bytes), "{name} failed, and wrote to {output}");
                }
                _ => {}
            }
        }
        for (kind, slot) in core::mem::take(&mut self.slots) {
            if status == OK {
                assert!(!slot.is_null() && *slot != UNTOUCHED, "{name} gave no handle");
                self.handles.entry(kind).or_default().push(*slot);
            } else {
                assert!(*slot == UNTOUCHED, "{name} failed, and wrote a handle");
            }
        }
        self.kept.clear();
    }
}

/// Compared by the C library, which is not slowed down by instrumentation.
fn is_untouched(bytes: &[u8]) -> bool {
    bytes.chunks(4096).all(|chunk| *chunk == [GUARD; 4096][..chunk.len()])
}

fn last_error() -> String {
    // SAFETY: it returns a text that is there until the next call.
    unsafe { CStr::from_ptr(sys::atrest_last_error_message() as *const c_char) }.to_string_lossy().into_owned()
}

/// What a callback does: the least that keeps its part of the contract.
fn called(name: &str, args: &[usize]) -> u64 {
    match name {
        "now" => 1_700_000_000,
        "each" => ANSWER.get().into(),
        "read_at" => {
            // SAFETY: the library lends that many bytes there.
            unsafe { core::ptr::write_bytes(args[2] as *mut u8, 0, args[3]) };
            0
        }
        "write_at" | "sync" | "release" | "progress" => 0,
        // What would have to fill in something says that it can't.
        _ => 410,
    }
}

fn run(data: &[u8]) {
    let mut input = Input(data);
    let there = input.byte();
    let mut caller = Caller::default();
    put_files(there);
    prepare(&mut caller, there, false);
    caller.input = input;
    for _ in 0..MAX_CALLS {
        if caller.input.0.is_empty() {
            break;
        }
        let (_, call) = CALLS[usize::from(caller.input.u16()) % CALLS.len()];
        call(&mut caller);
    }
    free_all(&mut caller);
}

/// Frees all handles, in an order of its own.
fn free_all(caller: &mut Caller<'_>) {
    let frees: Vec<_> = CALLS.iter().filter(|(name, _)| name.ends_with("_free")).collect();
    for (name, call) in frees {
        let kind: &'static str = name.strip_suffix("_free").unwrap();
        while caller.handles.get(kind).is_some_and(|all| !all.is_empty()) {
            caller.input = Input(&[]);
            call(caller);
        }
    }
}

/// Makes the folder what calls find: a vault with a key, and a store and a disk if `there` says so. To make them by calls takes
/// most of the time of an input, so that is done once.
fn put_files(there: u8) {
    let folder = FOLDER.path();
    let _ = fs::remove_dir_all(folder);
    fs::create_dir(folder).unwrap();
    let mut made = FILES.lock().unwrap();
    if let Some(files) = made.get(&(there & 12)) {
        return files.write(folder).unwrap();
    }
    fs::create_dir(folder.join("folder")).unwrap();
    fs::write(folder.join("key"), [7; 32]).unwrap();
    let mut caller = Caller::default();
    prepare(&mut caller, there & 12, true);
    free_all(&mut caller);
    made.insert(there & 12, Folder::read(folder).unwrap());
}

/// A vault, a DEK, ciphers, a device with a volume on it, and a disk service: whatever `there` says. The first time their files are
/// made.
fn prepare(caller: &mut Caller<'_>, there: u8, makes_files: bool) {
    let path = |name: &str| CString::new(FOLDER.path().join(name).into_os_string().into_encoded_bytes()).unwrap();
    let (vault_path, key_path, store, folder) = (path("vault"), path("key"), path("store"), path("folder"));
    let pointer = |text: &CStr| text.as_ptr() as *mut c_void;
    let mut made = |kind: &'static str, make: &dyn Fn(*mut c_void) -> u32| -> *mut c_void {
        let mut handle = null_mut::<c_void>();
        let status = make(&raw mut handle as *mut c_void);
        assert_eq!(status, OK, "{kind}: {}", last_error());
        caller.handles.entry(kind).or_default().push(handle);
        handle
    };
    // SAFETY, of all below: handles are fresh, texts and structs live until the call is over.
    unsafe {
        let unlock = sys::atrest_unlock {
            struct_size: size_of::<sys::atrest_unlock>(),
            passphrase: null_mut(),
            passphrase_len: 0,
            key_file: pointer(&key_path),
            kdf_memory_kib: 0,
            kdf_passes: 0,
            kdf_lanes: 0,
            kdf: null_mut(),
        };
        let mut options: sys::atrest_vault_options = core::mem::zeroed();
        options.struct_size = size_of::<sys::atrest_vault_options>();
        options.id = pointer(c"fuzz:vault");
        let unlock = &raw const unlock as *mut c_void;
        let options = &raw const options as *mut c_void;
        let vault = made("atrest_vault", &|out| {
            if makes_files {
                sys::atrest_vault_create_file_with(pointer(&vault_path), unlock, options, out)
            } else {
                sys::atrest_vault_open_file(pointer(&vault_path), unlock, out)
            }
        });
        if makes_files {
            // Always the same, so that it opens what was made once.
            let (name, kek) = (pointer(c"disks"), [9u8; 32]);
            assert_eq!(sys::atrest_vault_import_key(vault, name, kek.as_ptr() as *mut c_void, 32, null_mut(), 0), OK);
        }
        let bytes: [u8; 64] = core::array::from_fn(|i| i as u8);
        let dek = made("atrest_dek", &|out| sys::atrest_hazmat_dek_from_bytes(bytes.as_ptr() as *mut c_void, 64, out));
        if there & 1 != 0 {
            made("atrest_sector_cipher", &|out| sys::atrest_sector_cipher_new(dek, 512, 1, out));
        }
        if there & 2 != 0 {
            let device = made("atrest_device", &|out| sys::atrest_device_memory((1 << 20) + 16384, out));
            let mut backup = BACKUP.lock().unwrap();
            if backup.is_empty() {
                // Slow, since it looks at each byte whether the device is blank.
                let mut protector: sys::atrest_protector = core::mem::zeroed();
                protector.struct_size = size_of::<sys::atrest_protector>();
                (protector.kind, protector.vault, protector.key_name) = (VAULT, vault, pointer(c"disks"));
                let mut options: sys::atrest_format_options = core::mem::zeroed();
                options.struct_size = size_of::<sys::atrest_format_options>();
                options.data_offset = 1 << 20;
                let (protector, options) = (&raw const protector as *mut c_void, &raw const options as *mut c_void);
                made("atrest_volume", &|out| sys::atrest_volume_format(device, protector, options, out));
                let header = made("atrest_header", &|out| sys::atrest_header_load(device, out));
                let (mut bytes, mut len) = (vec![0u8; 1 << 20], 0);
                let length = &raw mut len as *mut c_void;
                let status = sys::atrest_header_backup(header, bytes.as_mut_ptr().cast(), bytes.len(), length);
                assert_eq!(status, OK, "{}", last_error());
                bytes.truncate(len);
                *backup = bytes;
            } else {
                let bytes = backup.as_ptr() as *mut c_void;
                let status = sys::atrest_hazmat_header_restore(device, bytes, backup.len());
                assert_eq!(status, OK, "{}", last_error());
                let mut credential: sys::atrest_credential = core::mem::zeroed();
                credential.struct_size = size_of::<sys::atrest_credential>();
                (credential.kind, credential.vault) = (VAULT, vault);
                let credential = &raw const credential as *mut c_void;
                made("atrest_volume", &|out| sys::atrest_volume_open(device, credential, null_mut(), out));
            }
            made("atrest_header", &|out| sys::atrest_header_load(device, out));
        }
        if there & 4 != 0 {
            let clock = made("atrest_clock", &|out| sys::atrest_clock_manual(1_700_000_000, out));
            let vaults = made("atrest_vault_directory", &|out| sys::atrest_vault_directory_new(out));
            sys::atrest_vault_directory_add_file(vaults, vault);
            let backend = made("atrest_disk_backend", &|out| sys::atrest_disk_backend_folder(pointer(&folder), out));
            let mut options: sys::atrest_disk_service_options = core::mem::zeroed();
            options.struct_size = size_of::<sys::atrest_disk_service_options>();
            (options.backend, options.vaults, options.platform) = (backend, vaults, vault);
            (options.clock, options.platform_key) = (clock, pointer(c"disks"));
            let options = &raw const options as *mut c_void;
            let service =
                made("atrest_disk_service", &|out| sys::atrest_disk_service_open(pointer(&store), options, out));
            if there & 8 == 0 {
                return;
            }
            if makes_files {
                let mut disk: sys::atrest_new_disk = core::mem::zeroed();
                disk.struct_size = size_of::<sys::atrest_new_disk>();
                (disk.name, disk.region, disk.subscription) = (pointer(c"disk-1"), pointer(c"north"), pointer(c"one"));
                (disk.size, disk.sector_size) = (64 << 10, 4096);
                let status = sys::atrest_disk_service_create_disk(service, &raw const disk as *mut c_void);
                assert_eq!(status, OK, "{}", last_error());
            }
            made("atrest_disk", &|out| sys::atrest_disk_service_open_disk(service, pointer(c"disk-1"), out));
        }
    }
}
