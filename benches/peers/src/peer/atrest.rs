//! `atrest` from Rust.

use atrest::cipher::KernelKind;
use atrest::{SectorCipher, SectorSize, SectorUnit};

use super::{Crypt, Direction, Job, Peer, Role};

/// The default kernel, then the others that this CPU can run.
pub fn kernels() -> Vec<Peer> {
    let kernels = KernelKind::available().enumerate().map(|(i, kind)| {
        let name = format!("atrest, {}", kind.name());
        match i {
            0 => Peer::new(&name, "this library as its users have it", Role::Default, move |job| {
                make(job, SectorCipher::new(job.key, size(job), SectorUnit::Sector))
            }),
            _ => Peer::new(&name, "a kernel for other CPUs", Role::Kernel, move |job| {
                make(job, SectorCipher::with_kernel(job.key, size(job), SectorUnit::Sector, kind))
            }),
        }
    });
    kernels.collect()
}

fn size(job: &Job) -> SectorSize {
    u32::try_from(job.sector).map(|size| SectorSize::new(size).expect("a sector size that atrest has")).expect("small")
}

fn make(job: &Job, cipher: atrest::Result<SectorCipher>) -> Option<Box<dyn Crypt>> {
    let cipher = cipher.expect("a good key and a kernel of this CPU");
    Some(match job.direction {
        Direction::Encrypt => Box::new(Encrypt(cipher)),
        Direction::Decrypt => Box::new(Decrypt(cipher)),
    })
}

struct Encrypt(SectorCipher);

impl Crypt for Encrypt {
    fn crypt(&mut self, first: u64, sectors: &mut [u8]) {
        self.0.encrypt(first, sectors).expect("whole sectors");
    }
}

struct Decrypt(SectorCipher);

impl Crypt for Decrypt {
    fn crypt(&mut self, first: u64, sectors: &mut [u8]) {
        self.0.decrypt(first, sectors).expect("whole sectors");
    }
}
