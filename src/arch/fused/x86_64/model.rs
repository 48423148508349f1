//! The maker and the generation of a CPU, which its instruction sets don't reveal.

use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicU8, Ordering};

use crate::arch::fused::denied::{Feature, is_denied};

/// A kind of CPU for which kernels have special cases.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
pub(super) enum Model {
    Intel = 1,
    /// AMD's family 25. Of its CPUs only those of Zen 4 have AVX-512.
    Zen3Or4,
    /// AMD's family 26 and what comes after it.
    Zen5,
    Other,
}

impl Model {
    /// Cached, since a hypervisor answers in place of the CPU, which takes long.
    #[inline(always)]
    pub(super) fn get() -> Model {
        static ANSWER: AtomicU8 = AtomicU8::new(0);
        match ANSWER.load(Ordering::Relaxed) {
            1 => Model::Intel,
            2 => Model::Zen3Or4,
            3 => Model::Zen5,
            4 => Model::Other,
            _ => {
                let model = Model::ask();
                ANSWER.store(model as u8, Ordering::Relaxed);
                model
            }
        }
    }

    #[cold]
    fn ask() -> Model {
        #[allow(unused_unsafe)] // safe from Rust 1.94 on
        // SAFETY: x86-64 has the instruction, and every CPU has leaves 0 and 1.
        let (vendor, signature) = unsafe { (__cpuid(0), __cpuid(1).eax) };
        let [one, two, three] = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
        match [one, two, three].as_flattened() {
            _ if is_denied(Feature::Strides) => Model::Zen3Or4,
            b"GenuineIntel" if !is_denied(Feature::Products) => Model::Intel,
            // Families above 15 are reported as 15 and the rest.
            b"AuthenticAMD" => match (signature >> 8 & 0xf) + (signature >> 20 & 0xff) {
                25 if !is_denied(Feature::Products) => Model::Zen3Or4,
                26.. => Model::Zen5,
                _ => Model::Other,
            },
            _ => Model::Other,
        }
    }
}
