//! The virtio block device that a guest sees: its features and its configuration space (virtio 1.2, section 5.2).

use crate::Disk;

/// The unit of all sector numbers of the protocol in bytes, whatever the disk's own sector size.
pub(super) const SECTOR: u64 = 512;

/// The most segments of a discard or of a write of zeros in one request.
pub(super) const MAX_RANGES: u32 = 32;

/// The most sectors of 512 bytes that one such segment may have: 1 GiB.
pub(super) const MAX_RANGE: u32 = 1 << 21;

/// The most descriptors of data in a request.
const MAX_SEGMENTS: u32 = 126;

/// The bytes of the configuration space, up to the fields of write zeroes.
const CONFIG: usize = 60;

// Features of the block device, and those of any device.
const SEG_MAX: u64 = 1 << 2;
const RO: u64 = 1 << 5;
const BLK_SIZE: u64 = 1 << 6;
const FLUSH: u64 = 1 << 9;
const TOPOLOGY: u64 = 1 << 10;
const MQ: u64 = 1 << 12;
const DISCARD: u64 = 1 << 13;
const WRITE_ZEROES: u64 = 1 << 14;
const INDIRECT_DESC: u64 = 1 << 28;
pub(super) const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;

/// The features that a guest may use. Discard is offered only if the disk supports it.
pub(super) fn features(disk: &dyn Disk) -> u64 {
    let mut features =
        SEG_MAX | BLK_SIZE | FLUSH | TOPOLOGY | MQ | WRITE_ZEROES | INDIRECT_DESC | EVENT_IDX | VERSION_1;
    if disk.is_read_only() {
        features |= RO;
    }
    if disk.discards() {
        features |= DISCARD;
    }
    features
}

/// The configuration space: `struct virtio_blk_config`, little-endian.
pub(super) fn config(disk: &dyn Disk, queues: u16) -> [u8; CONFIG] {
    let mut config = [0; CONFIG];
    let mut put = |at: usize, bytes: &[u8]| config[at..at + bytes.len()].copy_from_slice(bytes);
    // Discards and zeros in whole sectors of the disk.
    let alignment = disk.sector_size() / SECTOR as u32;
    let max_range = MAX_RANGE / alignment * alignment;
    put(0, &(disk.size() / SECTOR).to_le_bytes()); // capacity
    put(12, &MAX_SEGMENTS.to_le_bytes()); // seg_max
    put(20, &disk.sector_size().to_le_bytes()); // blk_size
    put(26, &1u16.to_le_bytes()); // topology.min_io_size, in sectors of the disk
    put(32, &[1]); // writeback: what is written is durable after a flush
    put(34, &queues.to_le_bytes()); // num_queues
    if disk.discards() {
        put(36, &max_range.to_le_bytes()); // max_discard_sectors
        put(40, &MAX_RANGES.to_le_bytes()); // max_discard_seg
        put(44, &alignment.to_le_bytes()); // discard_sector_alignment
    }
    put(48, &max_range.to_le_bytes()); // max_write_zeroes_sectors
    put(52, &MAX_RANGES.to_le_bytes()); // max_write_zeroes_seg
    put(56, &[u8::from(disk.discards())]); // write_zeroes_may_unmap
    config
}
