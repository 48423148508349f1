//! What the fuzz targets share. `README.md` says how to run them.

pub mod disk;
pub mod json;
pub mod limits;
pub mod pages;
pub mod plain;
pub mod seeds;
pub mod store;
pub mod vault;
pub mod volumes;

#[path = "../../tests/bitlocker/model.rs"]
#[allow(dead_code)]
pub mod bitlocker_model;
#[path = "../../tests/common/device.rs"]
#[allow(dead_code)]
pub mod device;
#[path = "../../tests/common/vaults.rs"]
pub mod vaults;
#[path = "../../tests/common/world.rs"]
#[allow(clippy::new_without_default)]
pub mod world;

/// Reads an input from its front. What is missing is zero.
#[derive(Default)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    pub fn u16(&mut self) -> u16 {
        u16::from(self.byte()) << 8 | u16::from(self.byte())
    }

    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from(self.u32()) << 32 | u64::from(self.u32())
    }

    /// Up to `len` bytes.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        front
    }

    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }
}

/// Numbers for mutators: SplitMix64.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % end.max(1) as u64) as usize
    }
}
