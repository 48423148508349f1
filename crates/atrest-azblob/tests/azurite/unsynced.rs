//! A device whose syncs are not to be relied on.

use std::io;

use atrest::BlockDevice;

/// A device on a server that forgets what it acknowledged when it is killed. Its syncs fail, so that a model expects nothing of
/// them.
pub struct Unsynced<D>(pub D);

impl<D: BlockDevice> BlockDevice for Unsynced<D> {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, bytes)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        Err(io::Error::other("this server's word is worth nothing"))
    }
}
