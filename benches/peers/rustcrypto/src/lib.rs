//! The options with RustCrypto: `xts-mode`; the `aes` crate in batches with own tweaks; and the `aes` crate without
//! tweaks, which limits any XTS built on it.
//!
//! A C interface, because Rust has no stable one between libraries.

use std::slice;

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};
use aes::{Aes128, Aes256};
use xts_mode::{Xts128, get_tweak_default};

type Block = Array<u8, U16>;

const BLOCK: usize = 16;
/// 1 KiB: the stride of `aes` on the widest CPU.
const BATCH: usize = 64;

/// The number of blocks to pass to `aes` at once. It processes the rest after its last stride block by block. Its
/// stride with VAES on 256 bits is 30 blocks, and everywhere else a divisor of 64.
fn batch() -> usize {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("vaes") && !is_x86_feature_detected!("avx512f") {
        return 60;
    }
    BATCH
}

/// A block cipher that is both AES-128 and AES-256.
trait Aes: KeyInit + BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send {}
impl Aes for Aes128 {}
impl Aes for Aes256 {}

/// One peer with its key.
trait Crypt: Send {
    fn crypt(&self, decrypt: bool, first_sector: u64, data: &mut [u8]);
}

struct XtsMode<C: Aes> {
    xts: Xts128<C>,
    sector: usize,
}

impl<C: Aes> Crypt for XtsMode<C> {
    fn crypt(&self, decrypt: bool, first_sector: u64, data: &mut [u8]) {
        let first = u128::from(first_sector);
        if decrypt {
            self.xts.decrypt_area(data, self.sector, first, get_tweak_default);
        } else {
            self.xts.encrypt_area(data, self.sector, first, get_tweak_default);
        }
    }
}

struct Batches<C: Aes> {
    data: C,
    tweak: C,
    sector: usize,
    batch: usize,
}

impl<C: Aes> Crypt for Batches<C> {
    fn crypt(&self, decrypt: bool, first_sector: u64, data: &mut [u8]) {
        let mut firsts = [Block::default(); BATCH];
        let mut tweaks = [Block::default(); BATCH];
        let mut number = u128::from(first_sector);
        for group in data.chunks_mut(self.sector * self.batch) {
            // The first tweaks of many sectors at once, because `aes` is slow with single blocks.
            let sectors = group.len() / self.sector;
            for first in &mut firsts[..sectors] {
                *first = Block::from(number.to_le_bytes());
                number += 1;
            }
            self.tweak.encrypt_blocks(&mut firsts[..sectors]);

            let mut next = firsts.iter();
            let (mut tweak, mut left) = (0, 0);
            for batch in group.chunks_mut(self.batch * BLOCK) {
                let (blocks, _) = Block::slice_as_chunks_mut(batch);
                let tweaks = &mut tweaks[..blocks.len()];
                for slot in &mut *tweaks {
                    if left == 0 {
                        tweak = next.next().map_or(0, |first| u128::from_le_bytes((*first).into()));
                        left = self.sector / BLOCK;
                    } else {
                        tweak = (tweak << 1) ^ ((tweak >> 127).wrapping_neg() & 0x87);
                    }
                    left -= 1;
                    *slot = Block::from(tweak.to_le_bytes());
                }
                xor(blocks, tweaks);
                if decrypt {
                    self.data.decrypt_blocks(blocks);
                } else {
                    self.data.encrypt_blocks(blocks);
                }
                xor(blocks, tweaks);
            }
        }
    }
}

#[inline(always)]
fn xor(blocks: &mut [Block], tweaks: &[Block]) {
    let bytes = Array::slice_as_flattened_mut(blocks).iter_mut();
    for (byte, tweak) in bytes.zip(Array::slice_as_flattened(tweaks)) {
        *byte ^= tweak;
    }
}

/// Not XTS: every block on its own.
struct Ecb<C: Aes> {
    data: C,
    batch: usize,
}

impl<C: Aes> Crypt for Ecb<C> {
    fn crypt(&self, decrypt: bool, _: u64, data: &mut [u8]) {
        for batch in data.chunks_mut(self.batch * BLOCK) {
            let (blocks, _) = Block::slice_as_chunks_mut(batch);
            if decrypt {
                self.data.decrypt_blocks(blocks);
            } else {
                self.data.encrypt_blocks(blocks);
            }
        }
    }
}

fn make<C: Aes + 'static>(peer: u32, key: &[u8], sector: usize) -> Option<Box<dyn Crypt>> {
    let (data, tweak) = key.split_at(key.len() / 2);
    let data = C::new_from_slice(data).ok()?;
    let tweak = || C::new_from_slice(tweak).ok();
    Some(match peer {
        0 => Box::new(Batches { data, tweak: tweak()?, sector, batch: batch() }),
        1 => Box::new(XtsMode { xts: Xts128::new(data, tweak()?), sector }),
        2 => Box::new(Ecb { data, batch: batch() }),
        _ => return None,
    })
}

/// An expanded key.
pub struct Peer(Box<dyn Crypt>);

/// Expands a key: `peer` is 0 for batches, 1 for `xts-mode`, 2 for no tweaks. Null if an argument is wrong.
///
/// # Safety
/// `key` points to `key_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn peer_new(peer: u32, key: *const u8, key_len: usize, sector: usize) -> *mut Peer {
    // SAFETY: the caller's promise.
    let key = unsafe { slice::from_raw_parts(key, key_len) };
    let made = match key_len {
        32 => make::<Aes128>(peer, key, sector),
        64 => make::<Aes256>(peer, key, sector),
        _ => None,
    };
    made.map_or(std::ptr::null_mut(), |made| Box::into_raw(Box::new(Peer(made))))
}

/// Encrypts or decrypts whole sectors in place.
///
/// # Safety
/// `peer` comes from `peer_new`; `data` points to `len` bytes that nobody else uses now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn peer_crypt(peer: *const Peer, decrypt: bool, first_sector: u64, data: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    let (peer, data) = unsafe { (&*peer, slice::from_raw_parts_mut(data, len)) };
    peer.0.crypt(decrypt, first_sector, data);
}

/// Wipes and frees an expanded key.
///
/// # Safety
/// `peer` comes from `peer_new` and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn peer_free(peer: *mut Peer) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(peer) });
}
