//! XTS on the `aes` crate, in batches.
//!
//! The crate uses the CPU's AES instructions where it has them, and takes constant time everywhere. It works on up to
//! 64 blocks at once and treats the rest of a call block by block. So a batch is 64 blocks (1 KiB), also across sector
//! boundaries, and the first tweaks of 64 sectors are computed together.

use aes::cipher::inout::InOutBuf;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};
use zeroize::Zeroize;

use crate::arch::run::{DataUnits, Direction};

type Block = Array<u8, U16>;
const BLOCK: usize = 16;
const BATCH: usize = 64;

/// The two expanded keys of XTS. The `aes` crate wipes them on drop.
#[allow(clippy::large_enum_variant)] // it lies in the cipher's place
pub(crate) enum Xts {
    Aes128(Pair<aes::Aes128>),
    Aes256(Pair<aes::Aes256>),
}

impl Xts {
    /// From two keys of 16 or two of 32 bytes.
    pub(crate) fn new(data_key: &[u8], tweak_key: &[u8]) -> Self {
        match data_key.len() {
            16 => Xts::Aes128(Pair::new(data_key, tweak_key)),
            _ => Xts::Aes256(Pair::new(data_key, tweak_key)),
        }
    }

    pub(crate) fn crypt(&self, direction: Direction, units: DataUnits, data: InOutBuf<'_, '_, u8>) {
        match self {
            Xts::Aes128(keys) => keys.crypt(direction, units, data),
            Xts::Aes256(keys) => keys.crypt(direction, units, data),
        }
    }
}

/// Two keys of one size.
pub(crate) struct Pair<C> {
    data: C,
    tweak: C,
}

impl<C> Pair<C>
where
    C: KeyInit + BlockSizeUser<BlockSize = U16> + BlockCipherEncrypt + BlockCipherDecrypt,
{
    fn new(data_key: &[u8], tweak_key: &[u8]) -> Self {
        let expand = |key| C::new_from_slice(key).expect("the caller has checked the length");
        Pair { data: expand(data_key), tweak: expand(tweak_key) }
    }

    /// Not inlined, so that it leaves its data on the stack below its caller. The caller wipes that part.
    #[inline(never)]
    fn crypt(&self, direction: Direction, units: DataUnits, data: InOutBuf<'_, '_, u8>) {
        let mut scratch = Scratch { first: [Block::default(); BATCH], tweaks: [Block::default(); BATCH] };
        let DataUnits { first: mut number, step, len } = units;
        let step = u128::from(step);
        for group in pieces(data, len * BATCH) {
            let count = group.len() / len;
            for (i, tweak) in scratch.first[..count].iter_mut().enumerate() {
                // A number near 2^128 comes only from a caller's own tweak. Then there is one data unit, so the wrapped
                // number is never used.
                *tweak = Block::from(number.wrapping_add(i as u128 * step).to_le_bytes());
            }
            self.tweak.encrypt_blocks(&mut scratch.first[..count]);
            number = number.wrapping_add(count as u128 * step);
            if len.is_multiple_of(BLOCK) {
                self.whole_blocks(direction, len / BLOCK, &mut scratch, group);
            } else {
                for (i, unit) in pieces(group, len).enumerate() {
                    self.stealing_unit(direction, i, &mut scratch, unit);
                }
            }
        }
    }

    /// Up to 64 data units of whole blocks, their encrypted numbers in `scratch.first`.
    fn whole_blocks(&self, direction: Direction, blocks: usize, s: &mut Scratch, data: InOutBuf<'_, '_, u8>) {
        let mut tweak = 0;
        let (mut unit, mut left) = (0, 0);
        for batch in pieces(data, BATCH * BLOCK) {
            let count = batch.len() / BLOCK;
            for slot in &mut s.tweaks[..count] {
                if left == 0 {
                    tweak = number(&s.first[unit]);
                    (unit, left) = (unit + 1, blocks);
                } else {
                    tweak = times_x(tweak);
                }
                left -= 1;
                *slot = Block::from(tweak.to_le_bytes());
            }
            self.batch(direction, &s.tweaks[..count], batch);
        }
        tweak.zeroize();
    }

    /// One data unit whose last block is partial, its encrypted number at `s.first[index]` (IEEE 1619-2018, 5.3.2 and
    /// 5.4.2).
    fn stealing_unit(&self, direction: Direction, index: usize, s: &mut Scratch, unit: InOutBuf<'_, '_, u8>) {
        let partial = unit.len() % BLOCK;
        let whole = unit.len() - partial;
        // All blocks except the last whole one and the partial one are treated as in any other data unit.
        let (head, mut tail) = unit.split_at(whole - BLOCK);
        let mut tweak = number(&s.first[index]);
        for batch in pieces(head, BATCH * BLOCK) {
            let count = batch.len() / BLOCK;
            for slot in &mut s.tweaks[..count] {
                *slot = Block::from(tweak.to_le_bytes());
                tweak = times_x(tweak);
            }
            self.batch(direction, &s.tweaks[..count], batch);
        }
        // Decryption uses the last two tweaks in reverse order.
        let (before, after) = (Block::from(tweak.to_le_bytes()), Block::from(times_x(tweak).to_le_bytes()));
        let (first, second) = if direction == Direction::Encrypt { (before, after) } else { (after, before) };

        let mut last = [0; BLOCK];
        let mut stolen = [0; BLOCK];
        stolen.copy_from_slice(&tail.get_in()[..BLOCK]);
        last[..partial].copy_from_slice(&tail.get_in()[BLOCK..]);
        self.batch(direction, &[first], InOutBuf::from(&mut stolen[..]));
        last[partial..].copy_from_slice(&stolen[partial..]);
        self.batch(direction, &[second], InOutBuf::from(&mut last[..]));
        tail.get_out()[..BLOCK].copy_from_slice(&last);
        tail.get_out()[BLOCK..].copy_from_slice(&stolen[..partial]);
        tweak.zeroize();
        last.zeroize();
        stolen.zeroize();
    }

    /// C = E(P xor T) xor T for up to 64 blocks.
    #[inline(always)]
    fn batch(&self, direction: Direction, tweaks: &[Block], mut data: InOutBuf<'_, '_, u8>) {
        let tweaks = Array::slice_as_flattened(tweaks);
        data.xor_in2out(tweaks);
        let out = data.get_out();
        let (blocks, _) = Block::slice_as_chunks_mut(out);
        match direction {
            Direction::Encrypt => self.data.encrypt_blocks(blocks),
            Direction::Decrypt => self.data.decrypt_blocks(blocks),
        }
        for (byte, tweak) in out.iter_mut().zip(tweaks) {
            *byte ^= tweak;
        }
    }
}

/// Tweaks on the stack: the encrypted numbers of up to 64 data units, and the tweaks of up to 64 blocks. Both are as
/// sensitive as a part of the tweak key, so they are wiped.
struct Scratch {
    first: [Block; BATCH],
    tweaks: [Block; BATCH],
}

impl Drop for Scratch {
    fn drop(&mut self) {
        Array::slice_as_flattened_mut(&mut self.first).zeroize();
        Array::slice_as_flattened_mut(&mut self.tweaks).zeroize();
    }
}

fn number(block: &Block) -> u128 {
    u128::from_le_bytes((*block).into())
}

/// Multiplies by x in GF(2^128) modulo x^128 + x^7 + x^2 + x + 1, without a branch (IEEE 1619-2018, 5.2).
#[inline(always)]
fn times_x(tweak: u128) -> u128 {
    (tweak << 1) ^ ((tweak >> 127).wrapping_neg() & 0x87)
}

/// Cuts a buffer into pieces of `len` bytes. The last piece may be shorter.
fn pieces<'i, 'o>(data: InOutBuf<'i, 'o, u8>, len: usize) -> impl Iterator<Item = InOutBuf<'i, 'o, u8>> {
    let mut left = Some(data);
    core::iter::from_fn(move || {
        let data = left.take().filter(|data| !data.is_empty())?;
        let mid = len.min(data.len());
        let (piece, rest) = data.split_at(mid);
        left = Some(rest);
        Some(piece)
    })
}
