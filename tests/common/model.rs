//! XTS by others: the crate `xts-mode`, and OpenSSL through Python's `cryptography`.

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};
use aes::{Aes128, Aes256};
use xts_mode::{Xts128, get_tweak_default};

use super::{hex, pipe};

/// Encrypts one data unit under the tweak `number`.
pub fn encrypt_unit(key: &[u8], number: u128, unit: &mut [u8]) {
    let tweak = get_tweak_default(number);
    match key.len() {
        32 => expand::<Aes128>(key).encrypt_sector(unit, tweak),
        _ => expand::<Aes256>(key).encrypt_sector(unit, tweak),
    }
}

/// Decrypts one data unit under the tweak `number`.
pub fn decrypt_unit(key: &[u8], number: u128, unit: &mut [u8]) {
    let tweak = get_tweak_default(number);
    match key.len() {
        32 => expand::<Aes128>(key).decrypt_sector(unit, tweak),
        _ => expand::<Aes256>(key).decrypt_sector(unit, tweak),
    }
}

/// Encrypts sectors whose numbers begin at `first` and grow by `step`.
pub fn encrypt(key: &[u8], first: u64, step: u64, sector_size: usize, sectors: &mut [u8]) {
    for (i, sector) in sectors.chunks_mut(sector_size).enumerate() {
        encrypt_unit(key, u128::from(first + i as u64 * step), sector);
    }
}

/// Decrypts sectors whose numbers begin at `first` and grow by `step`.
pub fn decrypt(key: &[u8], first: u64, step: u64, sector_size: usize, sectors: &mut [u8]) {
    for (i, sector) in sectors.chunks_mut(sector_size).enumerate() {
        decrypt_unit(key, u128::from(first + i as u64 * step), sector);
    }
}

/// Has OpenSSL encrypt (`way` is `encryptor`) or decrypt (`decryptor`) sectors.
pub fn openssl(
    python: &str,
    way: &str,
    key: &[u8],
    numbers: (u64, u64),
    sector_size: usize,
    sectors: &[u8],
) -> Vec<u8> {
    const SCRIPT: &str = "
import sys
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
way, key, first, step, size = sys.argv[1], bytes.fromhex(sys.argv[2]), *map(int, sys.argv[3:])
data = sys.stdin.buffer.read()
for i in range(len(data) // size):
    tweak = (first + i * step).to_bytes(16, 'little')
    crypt = getattr(Cipher(algorithms.AES(key), modes.XTS(tweak)), way)()
    sys.stdout.buffer.write(crypt.update(data[i * size:(i + 1) * size]) + crypt.finalize())
";
    let (first, step) = numbers;
    let numbers = [first, step, sector_size as u64].map(|n| n.to_string());
    let key = hex(key);
    let [first, step, size] = &numbers;
    pipe(python, &["-c", SCRIPT, way, &key, first, step, size], sectors)
}

fn expand<C>(key: &[u8]) -> Xts128<C>
where
    C: KeyInit + BlockSizeUser<BlockSize = U16> + BlockCipherEncrypt + BlockCipherDecrypt,
{
    let (data, tweak) = key.split_at(key.len() / 2);
    Xts128::new(C::new_from_slice(data).unwrap(), C::new_from_slice(tweak).unwrap())
}
