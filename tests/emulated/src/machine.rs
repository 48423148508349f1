//! Replaces an operating system and a C library: start and exit, a line of output, and the memory functions that the
//! compiler calls.

use core::arch::{asm, global_asm};
use core::fmt::{self, Write};
use core::panic::PanicInfo;

global_asm!(include_str!("../boot.S"), options(att_syntax));

unsafe extern "C" {
    safe fn shutdown() -> !;
}

/// Port 0xE9. Bochs prints the bytes written to it.
pub struct Output;

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: nothing but the emulator's output is at this port.
            unsafe { asm!("out dx, al", in("dx") 0xE9u16, in("al") byte, options(nomem, nostack, preserves_flags)) }
        }
        Ok(())
    }
}

/// Prints a line, marked so that `run` can distinguish it from the emulator's.
macro_rules! say {
    ($($arguments:tt)*) => {{
        use core::fmt::Write;
        let _ = writeln!($crate::machine::Output, "\natrest: {}", format_args!($($arguments)*));
    }};
}
pub(crate) use say;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // The message and the place on one line, which is all that `run` prints.
    match info.location() {
        Some(place) => say!("PANIC {} at {place}", info.message()),
        None => say!("PANIC {}", info.message()),
    }
    shutdown()
}

// String instructions, which the emulator does at once; and the compiler can't take them for a call of themselves.

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the caller's promises are those of `memcpy`.
    unsafe {
        asm!("rep movsb", inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= len {
        // SAFETY: from the first byte on, none is overwritten before it is read.
        return unsafe { memcpy(to, from, len) };
    }
    let (last_to, last_from) = (to.wrapping_add(len).wrapping_sub(1), from.wrapping_add(len).wrapping_sub(1));
    // SAFETY: the caller's promises are those of `memmove`; from the last byte on, none is overwritten before it is read.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") len => _, inout("rdi") last_to => _, inout("rsi") last_from => _,
            options(nostack));
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    // SAFETY: the caller's promises are those of `memset`.
    unsafe {
        asm!("rep stosb", inout("rcx") len => _, inout("rdi") to => _, in("al") byte as u8,
            options(nostack, preserves_flags));
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    let mut at = 0;
    // SAFETY: the caller's promises are those of `memcmp`, and `at` stays below `len`.
    unsafe {
        while len - at >= 8 && a.add(at).cast::<u64>().read_unaligned() == b.add(at).cast::<u64>().read_unaligned() {
            at += 8;
        }
        while at < len {
            let (one, other) = (*a.add(at), *b.add(at));
            if one != other {
                return i32::from(one) - i32::from(other);
            }
            at += 1;
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: as the caller promises.
    unsafe { memcmp(a, b, len) }
}
