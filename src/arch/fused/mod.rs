//! Kernels on the AES instructions of the CPU. Each mode ([`xts`], [`ctr`], [`hctr2`], [`cbc`]) is written once, over
//! vectors of any width ([`vector`]).

mod aes;
#[cfg(feature = "std")]
mod cbc;
mod ctr;
mod denied;
mod halves;
#[cfg(feature = "std")]
mod hctr2;
mod keys;
mod numbers;
#[cfg(feature = "std")]
mod polyval;
mod prefetch;
mod scratch;
mod tweaks;
mod vector;
mod work;
mod xts;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64 as cpu;
#[cfg(target_arch = "x86_64")]
use x86_64 as cpu;

use core::sync::atomic::{AtomicU8, Ordering};

use ::aes::cipher::inout::InOutBuf;

use super::kind::KernelKind;
use super::run::{DataUnits, Direction, Store};
#[cfg(feature = "std")]
pub(super) use cbc::CbcKeys;
pub(super) use ctr::CtrKeys;
#[cfg(feature = "std")]
pub(super) use hctr2::Hctr2Keys;
pub(super) use keys::XtsKeys;
#[cfg(target_arch = "x86_64")]
use tweaks::{ByHalves, ByMultiplying, ByProducts};
use work::Work;
use xts::Cut;

/// The alignment that streamed stores need: the size of the widest register, and of a cache line.
const ALIGNMENT: usize = 64;

/// A kernel that this CPU can run.
#[derive(Clone, Copy)]
pub(super) struct Fused {
    kind: KernelKind,
    /// The form of the kernel for AVX-512.
    #[cfg(target_arch = "x86_64")]
    form: cpu::Form,
}

impl Fused {
    /// Whether this CPU can run a kernel. The answers are cached: detection takes longer than expanding a key.
    #[inline]
    pub(super) fn has(kind: KernelKind) -> bool {
        static KERNELS: AtomicU8 = AtomicU8::new(0);
        const ASKED: u8 = 1 << 7;
        let mut kernels = KERNELS.load(Ordering::Relaxed);
        if kernels == 0 {
            let all = KernelKind::ALL.into_iter().filter(|&kind| cpu::has(kind));
            kernels = all.fold(ASKED, |kernels, kind| kernels | 1 << kind as u8);
            KERNELS.store(kernels, Ordering::Relaxed);
        }
        kernels & 1 << kind as u8 != 0
    }

    /// The kernel, or `None` if this CPU can't run it.
    #[inline(always)]
    pub(super) fn of(kind: KernelKind) -> Option<Self> {
        Self::has(kind).then(|| Fused {
            kind,
            #[cfg(target_arch = "x86_64")]
            form: cpu::Form::of_this_cpu(),
        })
    }

    pub(super) fn kind(self) -> KernelKind {
        self.kind
    }

    #[inline(always)]
    fn work(self, work: impl Work) {
        // SAFETY: `of` has checked that the CPU can run `kind`. The maker of a job promises the job's own demands.
        unsafe { cpu::run(self.kind, work) }
    }

    /// Expands two keys of 16 or two of 32 bytes.
    #[inline(always)]
    pub(super) fn expand_xts(self, keys: &mut XtsKeys, data_key: &[u8], tweak_key: &[u8]) {
        // SAFETY: the CPU has the instructions of this kernel, and so of the narrowest one of its family.
        unsafe { cpu::expand(keys, data_key, tweak_key) };
    }

    /// XTS. The caller, `SectorCipher`, has checked the units.
    #[inline]
    pub(super) fn xts(
        self,
        keys: &XtsKeys,
        direction: Direction,
        units: DataUnits,
        data: InOutBuf<'_, '_, u8>,
        store: Store,
    ) {
        let (k, d, len) = (&raw const *keys, direction, data.len());
        let (first, cut) = (units.first, Cut { len: units.len, step: units.step });
        let (src, dst) = data.into_raw();
        let stream = store == Store::Stream && dst.addr().is_multiple_of(ALIGNMENT);
        // SAFETY: `of` has checked that the CPU can run `kind`. The buffers of an `InOutBuf` are the same or do not
        // overlap, and are `len` bytes long. `dst` is aligned if `stream`.
        unsafe {
            match (self.kind, stream) {
                #[cfg(target_arch = "x86_64")]
                (KernelKind::AesNi, false) => cpu::aes_ni::<false>(k, d, first, cut, src, dst, len),
                #[cfg(target_arch = "x86_64")]
                (KernelKind::AesNi, true) => cpu::aes_ni::<true>(k, d, first, cut, src, dst, len),
                #[cfg(target_arch = "x86_64")]
                (KernelKind::Vaes256, false) => cpu::vaes_256::<false>(k, d, first, cut, src, dst, len),
                #[cfg(target_arch = "x86_64")]
                (KernelKind::Vaes256, true) => cpu::vaes_256::<true>(k, d, first, cut, src, dst, len),
                #[cfg(target_arch = "x86_64")]
                (KernelKind::Vaes512, _) => {
                    let run = match (self.form, stream) {
                        (cpu::Form::Multiplying, false) => cpu::vaes_512::<ByMultiplying, false>,
                        (cpu::Form::Multiplying, true) => cpu::vaes_512::<ByMultiplying, true>,
                        (cpu::Form::Products, false) => cpu::vaes_512::<ByProducts, false>,
                        (cpu::Form::Products, true) => cpu::vaes_512::<ByProducts, true>,
                        (cpu::Form::Halves, false) => cpu::vaes_512::<ByHalves, false>,
                        (cpu::Form::Halves, true) => cpu::vaes_512::<ByHalves, true>,
                    };
                    run(k, d, first, cut, src, dst, len)
                }
                #[cfg(target_arch = "aarch64")]
                (KernelKind::Armv8, _) => cpu::armv8::<false>(k, d, first, cut, src, dst, len),
                _ => unreachable!("`has` says no to kernels of other CPUs"),
            }
        }
    }

    /// Expands a key of 32 bytes.
    pub(super) fn expand_ctr(self, keys: &mut CtrKeys, key: &[u8; 32]) {
        self.work(ctr::Expand { keys, key });
    }

    /// CTR, starting at byte `skip` of the block of `counter`. `skip` is below 16.
    #[inline]
    pub(super) fn ctr(self, keys: &CtrKeys, counter: u128, skip: usize, data: InOutBuf<'_, '_, u8>) {
        let len = data.len();
        let (src, dst) = data.into_raw();
        // The keys and buffers are borrowed. The buffers of an `InOutBuf` are the same or do not overlap.
        self.work(ctr::Apply { keys, counter, skip, src, dst, len });
    }

    /// Expands a key of 32 bytes.
    #[cfg(feature = "std")]
    pub(super) fn expand_hctr2(self, keys: &mut Hctr2Keys, key: &[u8; 32]) {
        self.work(hctr2::Expand { keys, key });
    }

    /// HCTR2 of whole sectors in place, as in [`Hctr2Kernel::crypt`](super::Hctr2Kernel::crypt).
    #[cfg(feature = "std")]
    pub(super) fn hctr2(
        self,
        keys: &Hctr2Keys,
        direction: Direction,
        tweak: [u128; 2],
        step: u64,
        sector_size: usize,
        data: &mut [u8],
    ) {
        let (data, len) = (data.as_mut_ptr(), data.len());
        // The keys and the buffer are borrowed.
        self.work(hctr2::Sectors { keys, direction, tweak, step, sector_size, data, len });
    }

    /// Expands a key of 16 or 32 bytes, and the ESSIV key if there is one.
    #[cfg(feature = "std")]
    pub(super) fn expand_cbc(self, keys: &mut CbcKeys, key: &[u8], iv_key: Option<&[u8]>) {
        self.work(cbc::Expand { keys, key, iv_key });
    }

    /// CBC of whole sectors in place, as in [`CbcKernel::crypt`](super::CbcKernel::crypt).
    #[cfg(feature = "std")]
    pub(super) fn cbc(
        self,
        keys: &CbcKeys,
        direction: Direction,
        first: u64,
        step: u64,
        sector_size: usize,
        data: &mut [u8],
    ) {
        let (data, len) = (data.as_mut_ptr(), data.len());
        // As in `hctr2`.
        self.work(cbc::Sectors { keys, direction, first, step, sector_size, data, len });
    }
}
