//! The operations that a kernel needs of a vector register.

/// A register that holds `LANES` AES blocks.
///
/// A value of an implementing type is proof that this CPU has the instructions of that type. The only ways to make one
/// are [`load`](Vector::load), [`splat`](Vector::splat), [`number`](Vector::number) and [`numbers`](Vector::numbers).
/// Their callers vouch for the CPU. All other methods rely on that.
///
/// A block is also an element of GF(2^128) as XTS defines it. Bytes are little endian, so `low` and `high` are the two
/// 64-bit halves of the polynomial.
#[cfg_attr(not(feature = "std"), allow(dead_code))] // HCTR2 needs std, and some methods are for it alone.
pub(super) trait Vector: Copy {
    /// The number of blocks in a register.
    const LANES: usize;
    /// The size in bytes.
    const BYTES: usize = 16 * Self::LANES;

    /// The register of one block of the same family.
    type One: Words + Vector<One = Self::One>;

    /// Reads `BYTES` bytes, aligned or not.
    ///
    /// # Safety
    /// The CPU has the instructions of this type, and `from` is valid for reads of `BYTES` bytes.
    unsafe fn load(from: *const u8) -> Self;

    /// Reads one block into each lane.
    ///
    /// # Safety
    /// The CPU has the instructions of this type, and `from` is valid for reads of 16 bytes.
    unsafe fn splat(from: *const u8) -> Self;

    /// A number in each lane, from general registers. Through memory it would be written in two halves and read whole.
    /// Such a read waits until all earlier stores are done.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn number(number: u128) -> Self;

    /// `first` in the first lane. The number in each further lane is larger by `step`, added in its low 64 bits alone.
    ///
    /// # Safety
    /// The CPU has the instructions of this type.
    unsafe fn numbers(first: u128, step: u64) -> Self;

    /// Writes `BYTES` bytes, aligned or not.
    ///
    /// # Safety
    /// `to` is valid for writes of `BYTES` bytes.
    unsafe fn store(self, to: *mut u8);

    /// Writes `BYTES` bytes past the cache, if the CPU can do that. [`fence`](Self::fence) then orders them before
    /// later writes.
    ///
    /// # Safety
    /// `to` is valid for writes of `BYTES` bytes, and aligned to `BYTES`.
    unsafe fn stream(self, to: *mut u8);

    /// Makes streamed writes visible before later ones.
    fn fence();

    fn xor(self, other: Self) -> Self;

    /// The xor of three.
    fn xor3(self, b: Self, c: Self) -> Self;

    /// A middle round of AES encryption (FIPS 197): SubBytes, ShiftRows, MixColumns, then `key`.
    fn encrypt_round(self, key: Self) -> Self;

    /// The last round of AES encryption: SubBytes, ShiftRows, then `key`.
    fn encrypt_last(self, key: Self) -> Self;

    /// A middle round of the equivalent inverse cipher (FIPS 197, 5.3.5).
    fn decrypt_round(self, key: Self) -> Self;

    /// The last round of the equivalent inverse cipher.
    fn decrypt_last(self, key: Self) -> Self;

    /// Adds halves of 64 bits.
    fn add_halves(self, other: Self) -> Self;

    /// Shifts each 64-bit half left by the count in the same half of `counts`; 64 and more give 0.
    fn shift_left(self, counts: Self) -> Self;

    /// Shifts each 64-bit half right by the count in the same half of `counts`; 64 and more give 0.
    fn shift_right(self, counts: Self) -> Self;

    /// Exchanges the halves of each block.
    fn swap_halves(self) -> Self;

    /// Moves each word of 32 bits of a block up by one, and the top word to the bottom.
    fn rotate_words(self) -> Self;

    /// Moves the top word of each block to the low end of the high half, with the words of `zero` above each moved word.
    fn high_words(self, zero: Self) -> Self;

    /// Moves the low half of each block to the high half, and the low half of `zero` to the low half.
    fn low_to_high(self, zero: Self) -> Self;

    /// The carry-less product of each block's low half with that of `by`.
    fn multiply_low(self, by: Self) -> Self;

    /// The carry-less product of each block's high half with the low half of `by`.
    fn multiply_high(self, by: Self) -> Self;

    /// Moves the high half of each block to the low half, and the high half of `zero` to the high half.
    fn high_to_low(self, zero: Self) -> Self;

    /// Reverses the 16 bytes of each block.
    fn reverse_bytes(self) -> Self;

    /// The carry-less product of each block's high half with that of `by`.
    fn multiply_high_by_high(self, by: Self) -> Self;

    /// The carry-less product of each block's low half with the high half of `by`.
    fn multiply_low_by_high(self, by: Self) -> Self;

    /// A block in each lane.
    fn spread(one: Self::One) -> Self;

    /// A block in the first lane, and zeros in the others.
    fn in_first_lane(one: Self::One) -> Self;

    /// The block in the first lane.
    fn first_lane(self) -> Self::One;

    /// The xor of all lanes.
    fn fold(self) -> Self::One;

    /// Asks for the cache line at `at`, which need not be valid.
    fn prefetch(at: *const u8);

    /// How many bytes ahead of their work kernels fetch memory that lies beyond the cache; 0 where the CPU's own prefetchers are
    /// better alone.
    #[inline(always)]
    fn far() -> usize {
        8 << 10
    }
}

/// A vector in which tweaks can be doubled, for [`ByDoubling`](super::tweaks::ByDoubling).
pub(super) trait Doubling: Vector {
    /// Reads a block into the first lane from `one`, and into the second, if there is one, from `two`.
    ///
    /// # Safety
    /// The CPU has the instructions of this type, and both are valid for reads of 16 bytes.
    unsafe fn gather(one: *const u8, two: *const u8) -> Self;

    /// Writes the first lane to `one`, and the second, if there is one, to `two`. The bytes behind `two` if `keep`, else behind
    /// `one`, may be overwritten with anything.
    ///
    /// # Safety
    /// Both are valid for writes of 16 bytes, and aligned to 16. The one whose following bytes may be overwritten is
    /// valid for writes of `BYTES`.
    unsafe fn scatter(self, one: *mut u8, two: *mut u8, keep: bool);

    /// The last, the last, the second and the second of each block's four 32-bit words. Their bits leave the halves in
    /// 32 shifts to the left.
    fn leaving(self) -> Self;

    /// All ones in the words whose top bit is set, and zero in the others.
    fn top_bits(self) -> Self;

    fn and(self, other: Self) -> Self;

    /// Adds words of 32 bits.
    fn add_words(self, other: Self) -> Self;
}

/// A vector whose bytes can be moved, for [`ByMoving`](super::tweaks::ByMoving).
pub(super) trait Bytes: Vector {
    /// Moves each block up by one byte; the last byte leaves.
    fn up_one_byte(self) -> Self;

    /// The last eight bytes of each block, as words of 16 bits.
    fn high_bytes(self) -> Self;

    /// Shifts words of 16 bits to the left.
    fn shift_words<const N: i32>(self) -> Self;

    /// Picks bytes of each block by the indices in `which`; 128 gives 0.
    fn pick(self, which: Self) -> Self;
}

/// A block as the key schedule sees it: four words of 32 bits.
pub(super) trait Words: Vector {
    /// The last word, four times.
    fn last_word(self) -> Self;

    /// The last word rotated by a byte, four times: its first byte becomes the last (RotWord of FIPS 197, 5.2).
    fn rotated_last_word(self) -> Self;

    /// Moves each word up by one place. The last word leaves, and zero comes in.
    fn up_one_word(self) -> Self;
}
