//! The VAES-512 kernel against published vectors and the portable kernel, on a machine without an operating system.
//!
//! The emulator is slow, and the portable kernel is the slowest in it. So the portable kernel computes one long run.
//! Shorter runs are parts of it: from the same first sector its beginning, and to the same last sector its end.

#![no_std]
#![no_main]

mod machine;
mod memory;

use core::fmt::{self, Display, Formatter};

use atrest::cipher::KernelKind;
use atrest::{Error, SectorCipher, SectorSize, SectorUnit, StreamCipher};
use machine::say;
use memory::{Buffer, LONGEST};

const KIND: KernelKind = KernelKind::Vaes512;
const KEY_LENGTHS: [usize; 2] = [32, 64];
const OFFSETS: [usize; 5] = [0, 1, 16, 63, 64];
const VECTORS: &str = include_str!("../../vectors/ieee1619.txt");

#[unsafe(no_mangle)]
extern "C" fn rust_main() {
    assert!(KernelKind::available().any(|kind| kind == KIND), "this was built without the kernel");
    // SAFETY: this is the only call.
    let [mut plain, expected, one, two] = unsafe { Buffer::all() };
    for (i, byte) in plain.make(LONGEST, 0).iter_mut().enumerate() {
        *byte = (i as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3];
    }
    let mut test = Test { plain: plain.leak(), expected, one, two, tally: Tally::default() };
    for (what, cases) in [
        ("published vectors", Test::published_vectors as fn(&mut Test)),
        ("runs of sectors", Test::runs),
        ("data units", Test::data_units),
        ("tweaks", Test::tweaks),
        ("streaming", Test::streaming),
        ("segments", Test::segments),
        ("streams", Test::streams),
    ] {
        let before = test.tally.checks;
        cases(&mut test);
        say!("{}: {what}: {} checks", KIND.name(), test.tally.checks - before);
    }
    say!("DONE {} checks, {} failures", test.tally.checks, test.tally.failures);
}

/// The portable cipher and the one under test.
fn ciphers(key_len: usize, size: u32, unit: SectorUnit) -> [SectorCipher; 2] {
    let key: [u8; 64] = core::array::from_fn(|i| (i * 37 + 11) as u8);
    let size = SectorSize::new(size).unwrap();
    let [portable, wide] =
        [KernelKind::Portable, KIND].map(|kind| SectorCipher::with_kernel(&key[..key_len], size, unit, kind).unwrap());
    assert_eq!(wide.kernel(), KIND);
    [portable, wide]
}

struct Test {
    plain: &'static [u8],
    expected: Buffer,
    one: Buffer,
    two: Buffer,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    checks: u32,
    failures: u32,
}

impl Tally {
    fn check(&mut self, right: bool, what: impl Display) {
        self.checks += 1;
        self.failures += u32::from(!right);
        // The first few are enough.
        if !right && self.failures <= 50 {
            say!("FAILED {what}");
        }
    }
}

impl Test {
    fn published_vectors(&mut self) {
        let mut vectors = 0;
        for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
            let mut fields = line.split(' ');
            let mut field = || fields.next().expect("a vector has five fields");
            let (name, mut key, mut tweak) = (field(), [0; 64], [0; 16]);
            let key = unhex(field(), &mut key);
            unhex(field(), &mut tweak);
            let (mut plain, mut encrypted) = ([0; 512], [0; 512]);
            let (plain, encrypted) = (unhex(field(), &mut plain), unhex(field(), &mut encrypted));
            let cipher = match SectorCipher::with_kernel(key, SectorSize::B512, SectorUnit::Sector, KIND) {
                // The first vector's key is all zeros.
                Err(Error::EqualKeyHalves) => continue,
                cipher => cipher.unwrap(),
            };
            cipher.encrypt_unit(tweak, self.one.put(plain, 1)).unwrap();
            self.tally.check(self.one.is(encrypted), format_args!("encrypt vector {name}"));
            cipher.decrypt_unit(tweak, self.one.get_mut()).unwrap();
            self.tally.check(self.one.is(plain), format_args!("decrypt vector {name}"));
            vectors += 1;
        }
        assert_eq!(vectors, 18, "vectors of IEEE 1619");
    }

    /// Sizes and counts that fill strides and groups, and leave every tail.
    fn runs(&mut self) {
        for key_len in KEY_LENGTHS {
            for (size, counts) in [
                (512, &[1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 127, 128, 129, 130][..]),
                (520, &[1, 2, 3, 63, 64, 65, 66]),
                (1024, &[1, 2, 3, 63, 64, 65, 66]),
                (1536, &[1, 2, 3, 63, 64, 65, 66]),
                (4096, &[1, 2, 5, 64, 65]),
                (4160, &[1, 2, 5]),
                (65_536, &[1, 2]),
            ] {
                // Numbers that carry over 32 bits.
                self.run(key_len, size, SectorUnit::Sector, counts, Begin::At(0));
                self.run(key_len, size, SectorUnit::Sector, counts, Begin::At(u64::from(u32::MAX) - 1));
                // The last that there are.
                self.run(key_len, size, SectorUnit::Sector, counts, Begin::BeforeEnd);
            }
            // Numbers in steps of 8, and a run so long that memory is fetched ahead.
            self.run(key_len, 4096, SectorUnit::Bytes512AnyOffset, &[1, 3, 66], Begin::At(u64::from(u32::MAX) - 7));
            self.run(key_len, 65_536, SectorUnit::Sector, &[LONGEST / 65_536], Begin::At(0));
        }
    }

    /// Runs of sectors. Those of one call overlap, as `begin` says.
    fn run(&mut self, key_len: usize, size: u32, unit: SectorUnit, counts: &[usize], begin: Begin) {
        let [portable, wide] = ciphers(key_len, size, unit);
        let most = *counts.last().unwrap();
        let all = &self.plain[..most * size as usize];
        portable.encrypt(begin.first(most), self.expected.put(all, 0)).unwrap();
        for (i, &count) in counts.iter().enumerate() {
            let len = count * size as usize;
            let from = if begin == Begin::BeforeEnd { all.len() - len } else { 0 };
            let plain = &all[from..from + len];
            let first = begin.first(count);
            let what = |call: &'static str| Case { call, key_len, size, count, first };
            let (here, there) = (OFFSETS[i % OFFSETS.len()], OFFSETS[(i + 1) % OFFSETS.len()]);

            wide.encrypt(first, self.one.put(plain, here)).unwrap();
            self.tally.check(self.one.is(&self.expected.get()[from..from + len]), what("encrypt"));
            wide.decrypt(first, self.one.get_mut()).unwrap();
            self.tally.check(self.one.is(plain), what("decrypt"));
            wide.encrypt_to(first, plain, self.two.make(len, there)).unwrap();
            self.tally.check(self.two.is(&self.expected.get()[from..from + len]), what("encrypt_to"));
            self.one.make(len, here).fill(0);
            wide.decrypt_to(first, self.two.get(), self.one.get_mut()).unwrap();
            self.tally.check(self.one.is(plain), what("decrypt_to"));
        }
    }

    /// Every length up to a stride and a register; then some of each tail, with and without a stolen block.
    fn data_units(&mut self) {
        let lengths = (16..=1104).chain((1105..2200).step_by(7)).chain([4095, 4096, 4097, 16_385, 65_537]);
        for key_len in KEY_LENGTHS {
            let [portable, wide] = ciphers(key_len, 512, SectorUnit::Sector);
            for len in lengths.clone() {
                let plain = &self.plain[..len];
                let tweak = [0xFF; 16].map(|byte: u8| byte.wrapping_sub(len as u8));
                let what = |call: &'static str| Case { call, key_len, size: len as u32, count: 1, first: 0 };
                let (here, there) = (OFFSETS[len % OFFSETS.len()], OFFSETS[(len + 1) % OFFSETS.len()]);

                portable.encrypt_unit(tweak, self.expected.put(plain, 0)).unwrap();
                wide.encrypt_unit(tweak, self.one.put(plain, here)).unwrap();
                self.tally.check(self.one.is(self.expected.get()), what("encrypt_unit"));
                wide.decrypt_unit_to(tweak, self.one.get(), self.two.make(len, there)).unwrap();
                self.tally.check(self.two.is(plain), what("decrypt_unit_to"));
                wide.decrypt_unit(tweak, self.one.get_mut()).unwrap();
                self.tally.check(self.one.is(plain), what("decrypt_unit"));
                wide.encrypt_unit_to(tweak, plain, self.two.make(len, there)).unwrap();
                self.tally.check(self.two.is(self.expected.get()), what("encrypt_unit_to"));
            }
        }
    }

    /// Many tweaks, so that many patterns of high bits fall out of every shift.
    fn tweaks(&mut self) {
        let [portable, wide] = ciphers(64, 4096, SectorUnit::Sector);
        for number in 0..300u64 {
            let tweak = (u128::from(number) << 64 | u128::from(!number)).to_le_bytes();
            portable.encrypt_unit(tweak, self.expected.put(&[0; 1024], 0)).unwrap();
            wide.encrypt_unit(tweak, self.one.put(&[0; 1024], 0)).unwrap();
            let what = Case { call: "encrypt_unit of zeros", key_len: 64, size: 1024, count: 1, first: number };
            self.tally.check(self.one.is(self.expected.get()), what);
        }
    }

    /// AES-CTR in every length up to a chunk and more, from any byte of a block, and where the counter's halves wrap.
    fn streams(&mut self) {
        let key: [u8; 32] = core::array::from_fn(|i| (i * 29 + 5) as u8);
        for nonce in [7, u128::from(u64::MAX) - 20, u128::MAX - 20] {
            let [portable, wide] = [KernelKind::Portable, KIND]
                .map(|kind| StreamCipher::with_kernel(&key, nonce.to_be_bytes(), kind).unwrap());
            for len in (0..400).chain((400..2300).step_by(61)).chain([4096, 65_537]) {
                let (plain, offset) = (&self.plain[..len], len as u64 * 7 % 1000);
                let what = Case { call: "apply", key_len: 32, size: len as u32, count: 1, first: offset };
                portable.apply(offset, self.expected.put(plain, 0)).unwrap();
                wide.apply(offset, self.one.put(plain, OFFSETS[len % OFFSETS.len()])).unwrap();
                self.tally.check(self.one.is(self.expected.get()), what);
            }
        }
    }

    /// Past the cache where the destination is aligned to 64 bytes.
    fn streaming(&mut self) {
        for key_len in KEY_LENGTHS {
            for (size, counts) in [(512, &[1, 2, 3, 65, 130][..]), (520, &[3]), (1536, &[3]), (4096, &[1, 3, 20])] {
                let [portable, wide] = ciphers(key_len, size, SectorUnit::Sector);
                let all = &self.plain[..counts.last().unwrap() * size as usize];
                portable.encrypt(5, self.expected.put(all, 0)).unwrap();
                for &count in counts {
                    let len = count * size as usize;
                    let plain = &all[..len];
                    for offset in [0, 64, 1, 16, 32] {
                        let what = |call: &'static str| Case { call, key_len, size, count, first: 5 };
                        wide.encrypt_streaming(5, plain, self.one.make(len, offset)).unwrap();
                        self.tally.check(self.one.is(&self.expected.get()[..len]), what("encrypt_streaming"));
                        wide.decrypt_streaming(5, self.one.get(), self.two.make(len, offset)).unwrap();
                        self.tally.check(self.two.is(plain), what("decrypt_streaming"));
                    }
                }
            }
        }
    }

    /// One run in segments, source and destination cut at different sectors.
    fn segments(&mut self) {
        for key_len in KEY_LENGTHS {
            for (size, unit) in
                [(512, SectorUnit::Bytes512), (520, SectorUnit::Sector), (4096, SectorUnit::Bytes512AnyOffset)]
            {
                let [portable, wide] = ciphers(key_len, size, unit);
                let (count, size_bytes) = (70, size as usize);
                let plain = &self.plain[..count * size_bytes];
                let what = |call: &'static str| Case { call, key_len, size, count, first: 1000 };
                portable.encrypt(1000, self.expected.put(plain, 0)).unwrap();

                let (a, b) = self.one.put(plain, 16).split_at_mut(size_bytes);
                let (b, c) = b.split_at_mut(3 * size_bytes);
                wide.encrypt_segments(1000, &mut [a, &mut [], b, c]).unwrap();
                self.tally.check(self.one.is(self.expected.get()), what("encrypt_segments"));
                let (a, b) = self.one.get_mut().split_at_mut(66 * size_bytes);
                wide.decrypt_segments(1000, &mut [a, b]).unwrap();
                self.tally.check(self.one.is(plain), what("decrypt_segments"));

                let (a, b) = plain.split_at(2 * size_bytes);
                let (c, d) = self.two.make(plain.len(), 1).split_at_mut(5 * size_bytes);
                wide.encrypt_segments_to(1000, &[a, b], &mut [c, d]).unwrap();
                self.tally.check(self.two.is(self.expected.get()), what("encrypt_segments_to"));
                let (a, b) = self.two.get().split_at(67 * size_bytes);
                let (c, d) = self.one.make(plain.len(), 0).split_at_mut(size_bytes);
                wide.decrypt_segments_to(1000, &[a, b], &mut [c, d]).unwrap();
                self.tally.check(self.one.is(plain), what("decrypt_segments_to"));
            }
        }
    }
}

/// Where the runs of a test begin.
#[derive(Clone, Copy, PartialEq)]
enum Begin {
    At(u64),
    /// So that the last sector is the last that there is.
    BeforeEnd,
}

impl Begin {
    fn first(self, count: usize) -> u64 {
        match self {
            Begin::At(first) => first,
            Begin::BeforeEnd => u64::MAX - (count as u64 - 1),
        }
    }
}

/// The name shown on a failure.
struct Case {
    call: &'static str,
    key_len: usize,
    size: u32,
    count: usize,
    first: u64,
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Case { call, key_len, size, count, first } = self;
        write!(f, "{call}: key of {key_len} bytes, {count} of {size} bytes from {first}")
    }
}

/// The bytes that `hex` stands for, at the beginning of `out`.
fn unhex<'a>(hex: &str, out: &'a mut [u8]) -> &'a [u8] {
    let len = hex.len() / 2;
    for (byte, pair) in out[..len].iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    }
    &out[..len]
}
