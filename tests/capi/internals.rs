//! Cases of the C interface that C can't provoke: panics, very many handles, structs of older programs.

#![allow(dead_code, non_camel_case_types, unused_macros)] // the modules are used in part

#[macro_use]
#[path = "../../crates/atrest-c/src/args.rs"]
mod args;
#[path = "../../crates/atrest-c/src/buffers.rs"]
mod buffers;
#[path = "../../crates/atrest-c/src/callback.rs"]
mod callback;
#[path = "../../crates/atrest-c/src/device.rs"]
mod device;
#[path = "../../crates/atrest-c/src/failure.rs"]
mod failure;
#[path = "../../crates/atrest-c/src/handle.rs"]
mod handle;
#[path = "../../crates/atrest-c/src/message.rs"]
mod message;
#[path = "../../crates/atrest-c/src/output.rs"]
mod output;
#[path = "../../crates/atrest-c/src/status.rs"]
mod status;
#[path = "../../crates/atrest-c/src/structs.rs"]
mod structs;

use std::ffi::{CStr, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use atrest::BlockDevice;
use failure::{Failure, run};
use handle::Handle;
use status::*;

fn last_message() -> String {
    // SAFETY: the text ends with a zero byte and lives until this thread's next failure.
    unsafe { CStr::from_ptr(message::atrest_last_error_message()) }.to_str().unwrap().to_owned()
}

#[test]
fn a_panic_becomes_a_status() {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    assert_eq!(run(|| panic!("one {}", 1)), ATREST_ERR_PANIC);
    assert!(last_message().ends_with("one 1"), "{}", last_message());
    assert_eq!(run(|| std::panic::panic_any(7)), ATREST_ERR_PANIC);
    assert!(last_message().contains("without a text"), "{}", last_message());
    std::panic::set_hook(quiet);
}

#[test]
fn a_message_belongs_to_its_thread_and_stays_until_the_next_failure() {
    let fail = |text: &'static str| run(move || Err(Failure::new(ATREST_ERR_IO, text)));
    assert_eq!(last_message(), "");
    assert_eq!(fail("ours"), ATREST_ERR_IO);
    std::thread::spawn(move || {
        assert_eq!(last_message(), "");
        fail("theirs");
        assert_eq!(last_message(), "theirs");
    })
    .join()
    .unwrap();
    assert_eq!(run(|| Ok(())), ATREST_OK);
    assert_eq!(last_message(), "ours");
    fail("a zero\0byte");
    assert_eq!(last_message(), "a zero\u{fffd}byte");
}

struct counter;

struct Counted(&'static AtomicUsize, usize);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Handle for counter {
    type Object = Counted;
    const TAG: [u8; 4] = *b"cntr";
    const NAME: &'static str = "counter";
}

/// The quarantine is shared by all threads, and these tests rely on its content.
static QUARANTINE: Mutex<()> = Mutex::new(());

#[test]
fn handles_are_told_apart_for_thousands_of_others() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    let _alone = QUARANTINE.lock();
    let handles: Vec<*mut counter> = (0..10_000).map(|i| handle::new(Box::new(Counted(&DROPPED, i)))).collect();
    for (i, &handle) in handles.iter().enumerate() {
        // SAFETY: it comes from `new` and wasn't freed.
        assert_eq!(unsafe { handle::borrow(handle, "handle") }.ok().unwrap().1, i);
        // SAFETY: as above.
        unsafe { handle::free(handle) };
        // The last 4000 are surely known.
        for &freed in handles[i.saturating_sub(4000)..=i].iter().step_by(1000) {
            // SAFETY: it was freed less than 4096 handles ago.
            assert!(unsafe { handle::borrow(freed, "handle") }.is_err());
            // SAFETY: as above.
            unsafe { handle::free(freed) };
        }
        assert_eq!(DROPPED.load(Ordering::Relaxed), i + 1);
    }
    assert!(last_message().contains("freed already"), "{}", last_message());
}

/// Makes handles and frees them, each in its thread if `apart`. All are refused afterwards, also the first of them. Returns how many
/// headers they took.
fn headers(count: usize, apart: bool) -> usize {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    let handles = (0..count / 100).flat_map(|_| {
        let made: Vec<usize> =
            (0..100).map(|i| handle::new::<counter>(Box::new(Counted(&DROPPED, i))).expose_provenance()).collect();
        let free = || {
            for &handle in &made {
                // SAFETY: it comes from `new`, and nobody else uses it.
                unsafe { handle::free(std::ptr::with_exposed_provenance_mut::<counter>(handle)) };
            }
        };
        if apart {
            std::thread::scope(|scope| scope.spawn(free).join().unwrap())
        } else {
            free()
        }
        made
    });
    let headers: std::collections::BTreeSet<usize> = handles.collect();
    for &handle in &headers {
        // SAFETY: it comes from `new`; headers stay.
        let answer = unsafe { handle::borrow(std::ptr::with_exposed_provenance::<counter>(handle), "handle") };
        assert_eq!(answer.map(|counted| counted.1).unwrap_err().status(), ATREST_ERR_INVALID_HANDLE);
    }
    headers.len()
}

#[test]
fn many_handles_take_few_headers_and_late_uses_of_all_are_refused() {
    let _alone = QUARANTINE.lock();
    // In a thread of its own, which has none in quarantine yet.
    let own = std::thread::spawn(|| headers(50_000, false)).join().unwrap();
    assert!(own <= 4096 + 100, "{own}");
    // Those of threads that have ended take turns: also the 10,000 of another test.
    let apart = std::thread::spawn(|| headers(100_000, true)).join().unwrap();
    assert!(apart <= 20_000, "{apart}");
    // One thread that frees all handles of another gives their headers back, too.
    let (to, from) = std::sync::mpsc::sync_channel::<usize>(16);
    let freeing = std::thread::spawn(move || {
        for handle in from {
            // SAFETY: it comes from `new`, and nobody else uses it.
            unsafe { handle::free(std::ptr::with_exposed_provenance_mut::<counter>(handle)) };
        }
    });
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    let mut seen = std::collections::BTreeSet::new();
    for i in 0..100_000 {
        let handle = handle::new::<counter>(Box::new(Counted(&DROPPED, i))).expose_provenance();
        seen.insert(handle);
        to.send(handle).unwrap();
    }
    drop(to);
    freeing.join().unwrap();
    assert_eq!(DROPPED.load(Ordering::Relaxed), 100_000);
    assert!(seen.len() <= 30_000, "{}", seen.len());
}

#[test]
fn of_many_threads_that_free_a_handle_one_drops_it() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    let _alone = QUARANTINE.lock();
    for round in 1..=100 {
        let handle = handle::new::<counter>(Box::new(Counted(&DROPPED, 0))).expose_provenance();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                // SAFETY: it comes from `new` and stays in quarantine.
                scope.spawn(move || unsafe { handle::free(std::ptr::with_exposed_provenance_mut::<counter>(handle)) });
            }
        });
        assert_eq!(DROPPED.load(Ordering::Relaxed), round);
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Grown {
    struct_size: usize,
    old: u64,
    new: u64,
}

// SAFETY: `struct_size` is the first member, and numbers may be zero.
unsafe impl structs::SizedStruct for Grown {
    const EARLIER: &'static [usize] = &[16];
}

#[test]
fn a_struct_of_an_older_program_has_zeros_for_what_came_later() {
    let read = |struct_size| {
        let given = Grown { struct_size, old: 1, new: 2 };
        // SAFETY: no size that is tried and known is larger than the struct.
        unsafe { structs::read(&raw const given, "given") }.ok().map(|read| (read.old, read.new))
    };
    assert_eq!(read(24), Some((1, 2)));
    assert_eq!(read(16), Some((1, 0)));
    for size in [0, 8, 15, 17, 23, 25, usize::MAX] {
        assert_eq!(read(size), None);
    }
}

#[test]
fn a_struct_is_filled_as_far_as_an_older_program_knows_it() {
    let filled = |struct_size| {
        let mut place = Grown { struct_size, old: 7, new: 8 };
        // SAFETY: no size that is tried and known is larger than the struct.
        if let Ok(out) = unsafe { output::StructOut::new(&raw mut place, "place") } {
            out.set(Grown { struct_size: 24, old: 1, new: 2 });
        }
        (place.struct_size, place.old, place.new)
    };
    assert_eq!(filled(24), (24, 1, 2));
    assert_eq!(filled(16), (16, 1, 8));
    for size in [0, 8, 15, 17, 23, 25, usize::MAX] {
        assert_eq!(filled(size), (size, 7, 8));
    }
}

/// What a device of callbacks holds, and how often its ways to zero and to discard were taken.
struct Held {
    bytes: [u8; 64 << 10],
    zeroed: usize,
    discarded: usize,
    status: atrest_status,
}

unsafe extern "C" fn read_at(_: *mut c_void, _: u64, _: *mut c_void, _: usize) -> atrest_status {
    ATREST_OK
}

unsafe extern "C" fn write_at(user: *mut c_void, offset: u64, from: *const c_void, len: usize) -> atrest_status {
    // SAFETY: `user` is a `Held` that nobody else uses now, and `from` has as many bytes.
    let (held, from) = unsafe { (&mut *user.cast::<Held>(), std::slice::from_raw_parts(from.cast::<u8>(), len)) };
    held.bytes[offset as usize..][..len].copy_from_slice(from);
    ATREST_OK
}

unsafe extern "C" fn write_zeroes(user: *mut c_void, offset: u64, len: u64) -> atrest_status {
    // SAFETY: `user` is a `Held` that nobody else uses now.
    let held = unsafe { &mut *user.cast::<Held>() };
    held.zeroed += 1;
    if held.status == ATREST_OK {
        held.bytes[offset as usize..][..len as usize].fill(0);
    }
    held.status
}

unsafe extern "C" fn discard(user: *mut c_void, offset: u64, len: u64) -> atrest_status {
    // SAFETY: `user` is a `Held` that nobody else uses now.
    let held = unsafe { &mut *user.cast::<Held>() };
    held.discarded += 1;
    held.bytes[offset as usize..][..len as usize].fill(0xDD);
    held.status
}

unsafe extern "C" fn sync(_: *mut c_void) -> atrest_status {
    ATREST_OK
}

#[test]
fn a_device_of_callbacks_zeroes_by_its_own_way_or_by_writing_and_discards_if_it_can() {
    type Callbacks = device::atrest_device_callbacks;
    // A program that was built before the last two members, and one that has them.
    let sizes = [std::mem::offset_of!(Callbacks, write_zeroes), size_of::<Callbacks>()];
    for (struct_size, status, ways, works) in [
        (sizes[0], ATREST_ERR_IO, false, true),
        (sizes[1], ATREST_OK, true, true),
        (sizes[1], ATREST_ERR_UNSUPPORTED, true, true),
        (sizes[1], ATREST_ERR_IO, true, false),
    ] {
        let mut held = Held { bytes: [7; 64 << 10], zeroed: 0, discarded: 0, status };
        let user = (&raw mut held).cast::<c_void>();
        let (mut made, size) = (std::ptr::null_mut(), 64 << 10);
        let callbacks = Callbacks {
            struct_size,
            user,
            size,
            read_at: Some(read_at),
            write_at: Some(write_at),
            sync: Some(sync),
            release: None,
            alignment: 512,
            write_zeroes: Some(write_zeroes),
            discard: Some(discard),
            set_size: None,
        };
        // SAFETY: the struct is as large as it says, at least, and `held` outlives the device.
        let device = unsafe {
            assert_eq!(device::atrest_device_from_callbacks(&raw const callbacks, &raw mut made), ATREST_OK);
            handle::take(made, "made").unwrap_or_else(|_| panic!("no handle"))
        };
        assert_eq!(device.write_zeroes(512, 40 << 10).is_ok(), works);
        assert_eq!(device.discard(48 << 10, 4096).is_ok(), works);
        for (at, len) in [(0, size + 512), (size, 512), (512, u64::MAX)] {
            assert!(device.write_zeroes(at, len).is_err() && device.discard(at, len).is_err());
        }
        drop(device);
        assert_eq!((held.zeroed, held.discarded), (ways.into(), ways.into()));
        let zeros = if works { 0 } else { 7 };
        assert!(held.bytes[512..][..40 << 10].iter().all(|&byte| byte == zeros), "{struct_size} {status}");
        assert!(held.bytes[..512].iter().chain(&held.bytes[(40 << 10) + 512..48 << 10]).all(|&byte| byte == 7));
        assert_eq!(held.bytes[48 << 10], if ways { 0xDD } else { 7 });
    }
}
