//! Small volumes for damage tests.

use std::sync::Arc;

use atrest::{BlockDevice, Credential, FormatOptions, OpenOptions, Protector, Result, Volume};

use super::device::TestDevice;
use super::vaults::MemoryVault;

/// The offset of the data in these volumes.
pub const DATA: usize = 1 << 20;
/// The size of their data.
pub const SIZE: usize = 16 << 10;

pub fn options() -> FormatOptions {
    FormatOptions::new().data_offset(DATA as u64)
}

/// The content of the data area.
pub fn plain() -> Vec<u8> {
    (0..SIZE).map(|i| (i / 5) as u8).collect()
}

/// A vault and the bytes of a device whose volume holds [`plain`].
pub fn image_with(options: &FormatOptions) -> (MemoryVault, Vec<u8>) {
    let vault = MemoryVault::new("memory:one");
    let volume =
        Volume::format(TestDevice::new(vec![0; DATA + SIZE]), Protector::Vault(&vault, "disks"), options).unwrap();
    volume.write_at(0, &plain()).unwrap();
    let bytes = volume.device().bytes();
    (vault, bytes)
}

pub fn image() -> (MemoryVault, Vec<u8>) {
    image_with(&options())
}

/// Opens a volume for reading and writing.
pub fn open<D: BlockDevice>(device: D, vault: &MemoryVault) -> Result<Volume<D>> {
    Volume::open(device, Credential::Vault(vault), &OpenOptions::new())
}

/// Opens an image without changing it.
pub fn look(image: Vec<u8>, vault: &MemoryVault) -> Result<Volume<TestDevice>> {
    Volume::open(TestDevice::new(image), Credential::Vault(vault), &OpenOptions::new().read_only(true))
}

/// A device under test that both the volume and the test use.
pub fn shared(image: Vec<u8>) -> Arc<TestDevice> {
    Arc::new(TestDevice::new(image))
}

/// Whether a volume has the content of [`plain`].
pub fn holds_plain<D: BlockDevice>(volume: &Volume<D>) -> bool {
    let mut bytes = vec![0; SIZE];
    volume.read_at(0, &mut bytes).is_ok() && bytes == plain()
}
