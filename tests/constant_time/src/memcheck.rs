//! Marks keys and data as undefined for Valgrind's memcheck. It then reports every branch and every address that
//! depends on them.
//!
//! Each case prints its number of findings and the right number. First come two functions that leak: if they aren't
//! found, the test itself is broken.

use std::ffi::c_void;
use std::hint::black_box;
use std::ops::RangeInclusive;
use std::process::ExitCode;

use atrest::cipher::KernelKind;
use atrest::key::wrap;
use atrest::{SectorCipher, SectorSize, SectorUnit};

unsafe extern "C" {
    safe fn under_valgrind() -> u32;
    safe fn errors_so_far() -> u32;
    fn make_undefined(start: *const c_void, len: usize);
    fn make_defined(start: *const c_void, len: usize);
}

const NONE: RangeInclusive<u32> = 0..=0;
const SOME: RangeInclusive<u32> = 1..=1_000;
/// The one branch by which the caller learns that both halves of a key are equal.
const VERDICT: RangeInclusive<u32> = 1..=1;
/// The branches by which the caller learns that a key wasn't wrapped so. `aes-kw` finds it in one comparison of 64
/// bits. If the compiler doesn't merge the two branches into one, this crate branches on the result of `aes-kw`, too.
const VERDICT_PASSED_ON: RangeInclusive<u32> = 1..=2;
/// In RFC 5649 the plaintext contains the length of the key. `aes-kw` checks that length and the padding behind it
/// after the rest of the integrity check has shown that the KEK is right. The caller learns the length.
const VERDICT_AND_LENGTH: RangeInclusive<u32> = 1..=20;

fn main() -> ExitCode {
    if under_valgrind() == 0 {
        eprintln!("run it by `valgrind`: see README.md");
        return ExitCode::FAILURE;
    }
    let mut tally = Tally::default();
    tally.case("a branch on a secret (must be found)", SOME, || leaking_branch(&secret(&[7; 32])));
    tally.case("an index by a secret (must be found)", SOME, || leaking_index(&secret(&[7; 32])));
    for kind in KernelKind::available() {
        for len in [32, 64] {
            sectors(&mut tally, kind, len);
        }
    }
    for len in [16, 32] {
        key_wrap(&mut tally, len);
    }
    println!("{} cases, {} wrong", tally.cases, tally.wrong);
    if tally.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn sectors(tally: &mut Tally, kind: KernelKind, len: usize) {
    let key: Vec<u8> = (0..len).map(|i| i as u8).collect();
    let name = format!("{}, AES-{}", kind.name(), len * 4);
    let mut made = None;
    tally.case(&format!("{name}: key set-up"), VERDICT, || {
        made = SectorCipher::with_kernel(&secret(&key), SectorSize::B512, SectorUnit::Sector, kind).ok();
    });
    let cipher = made.expect("a good key and a kernel of this CPU");
    for sectors in [1, 2, 5, 66] {
        tally.case(&format!("{name}: {sectors} sectors"), NONE, || {
            let mut data = secret(&vec![3; sectors * 512]);
            cipher.encrypt(7, &mut data).expect("whole sectors");
            cipher.decrypt(7, &mut data).expect("whole sectors");
        });
    }
    for len in [16, 17, 31, 208, 1000, 1024, 4096, 5001] {
        tally.case(&format!("{name}: a unit of {len} bytes"), NONE, || {
            let mut data = secret(&vec![3; len]);
            cipher.encrypt_unit([9; 16], &mut data).expect("a good length");
            cipher.decrypt_unit([9; 16], &mut data).expect("a good length");
        });
    }
    tally.case(&format!("{name}: wiping"), NONE, || drop(cipher));
}

fn key_wrap(tally: &mut Tally, len: usize) {
    let kek: Vec<u8> = (0..len).map(|i| !i as u8).collect();
    let (key, mut out, mut back) = ([5; 64], [0; 80], [0; 80]);
    let mut wrapped = 0;
    tally.case(&format!("AES-{}-KW: wrap", len * 8), NONE, || {
        wrapped = wrap::aes_kw_wrap(&secret(&kek), &secret(&key), &mut out).expect("good lengths").len();
    });
    public(&out);
    tally.case(&format!("AES-{}-KW: unwrap", len * 8), VERDICT_PASSED_ON, || {
        wrap::aes_kw_unwrap(&secret(&kek), &out[..wrapped], &mut back).expect("what was wrapped");
    });
    tally.case(&format!("AES-{}-KWP: wrap", len * 8), NONE, || {
        wrapped = wrap::aes_kwp_wrap(&secret(&kek), &secret(&key[..61]), &mut out).expect("good lengths").len();
    });
    public(&out);
    tally.case(&format!("AES-{}-KWP: unwrap", len * 8), VERDICT_AND_LENGTH, || {
        wrap::aes_kwp_unwrap(&secret(&kek), &out[..wrapped], &mut back).expect("what was wrapped");
    });
}

#[derive(Default)]
struct Tally {
    cases: u32,
    wrong: u32,
}

impl Tally {
    fn case(&mut self, name: &str, right: RangeInclusive<u32>, work: impl FnOnce()) {
        let before = errors_so_far();
        work();
        let found = errors_so_far() - before;
        let wrong = !right.contains(&found);
        println!("{} {name}: {found} findings of {right:?}", if wrong { "WRONG" } else { "ok   " });
        self.cases += 1;
        self.wrong += u32::from(wrong);
    }
}

/// A copy that memcheck takes for undefined.
fn secret(bytes: &[u8]) -> Vec<u8> {
    let copy = bytes.to_vec();
    // SAFETY: these are bytes of this program. Only memcheck's view of them changes.
    unsafe { make_undefined(copy.as_ptr().cast(), copy.len()) };
    copy
}

/// Public values, although they were made of secrets.
fn public(bytes: &[u8]) {
    // SAFETY: as in `secret`.
    unsafe { make_defined(bytes.as_ptr().cast(), bytes.len()) };
}

#[inline(never)]
fn leaking_branch(key: &[u8]) {
    // As a comparison that ends at the first difference does.
    for &byte in key {
        if byte != 7 {
            black_box(0);
            return;
        }
    }
}

#[inline(never)]
fn leaking_index(key: &[u8]) {
    let table: [u8; 256] = std::array::from_fn(|i| i as u8);
    let table = black_box(&table);
    for &byte in key {
        black_box(table[usize::from(byte)]);
    }
}
