//! Checks that all contenders give the right bytes before they are measured.

use crate::memory::Buffer;
use crate::peer::{Direction, Job, Peer, Role};

pub const SECTORS: [usize; 4] = [512, 4096, 16_384, 65_536];

/// A key of `len` different bytes.
pub fn key(len: u8) -> Vec<u8> {
    (0..len).collect()
}

/// Compares all peers with the first, in every size of key and sector, both ways.
pub fn all(peers: &[Peer]) -> Result<(), String> {
    // An odd number of sectors, more than any contender takes at once.
    const COUNT: usize = 67;
    let (reference, others) = peers.split_first().ok_or("no peers")?;
    for key in [key(32), key(64)] {
        for peer in peers.iter().filter(|peer| peer.role == Role::Ceiling) {
            ceiling(peer, &key)?;
        }
        for sector in SECTORS {
            let mut buffer = Buffer::new(COUNT * sector);
            for first in [0, 1, 0xffff_fffe, 0x0123_4567_89ab_cdef] {
                for count in [1, COUNT] {
                    let sectors = &mut buffer.at(16)[..count * sector];
                    let plain: Vec<u8> = (0..sectors.len()).map(|i| (i ^ i >> 7 ^ i >> 13) as u8).collect();
                    let mut run = |peer: &Peer, direction, input: &[u8]| {
                        let mut peer = peer.make(&Job { key: &key, direction, sector })?;
                        sectors.copy_from_slice(input);
                        peer.crypt(first, sectors);
                        Some(sectors.to_vec())
                    };
                    let right = run(reference, Direction::Encrypt, &plain).ok_or("atrest has all sizes of key")?;
                    let same = |got: Option<Vec<u8>>, right: &[u8]| got.is_none_or(|got| got == right);
                    let what = format!("AES-{}, {count} sectors of {sector} bytes from {first}", key.len() * 4);
                    if !same(run(reference, Direction::Decrypt, &right), &plain) {
                        return Err(format!("{what}: {} does not decrypt what it encrypted", reference.name));
                    }
                    for peer in others.iter().filter(|peer| peer.role != Role::Ceiling) {
                        if !same(run(peer, Direction::Encrypt, &plain), &right) {
                            return Err(format!("{what}: {} and {} encrypt differently", peer.name, reference.name));
                        }
                        if !same(run(peer, Direction::Decrypt, &right), &plain) {
                            return Err(format!("{what}: {} and {} decrypt differently", peer.name, reference.name));
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// Contenders without XTS are compared with the examples of FIPS 197, C.1 and C.3. The keys of these are the data keys
/// used here.
fn ceiling(peer: &Peer, key: &[u8]) -> Result<(), String> {
    let plain: [u8; 16] = std::array::from_fn(|i| i as u8 * 0x11);
    let right: u128 = match key.len() {
        32 => 0x69c4_e0d8_6a7b_0430_d8cd_b780_70b4_c55a,
        _ => 0x8ea2_b7ca_5167_45bf_eafc_4990_4b49_6089,
    };
    let mut sector = plain.repeat(512 / 16);
    for (direction, right) in [(Direction::Encrypt, right.to_be_bytes()), (Direction::Decrypt, plain)] {
        if let Some(mut peer) = peer.make(&Job { key, direction, sector: 512 }) {
            peer.crypt(0, &mut sector);
        }
        if sector.chunks(16).any(|block| block != right) {
            return Err(format!("{} is not AES-{}", peer.name, key.len() * 4));
        }
    }
    Ok(())
}
