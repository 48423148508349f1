//! Files and block devices under volumes, by Linux's `io_uring`.
//!
//! A [`UringDevice`] is a [`BlockDevice`](atrest::BlockDevice) for many threads, whose large transfers consist of several
//! requests to the disk at once. A [`Queue`] is for an engine that has many requests under way in one thread.
//!
//! ```
//! use atrest::{FileDevice, FormatOptions, Protector, Volume};
//! use atrest_uring::{Queue, UringDevice};
//! # use atrest::volume::KeyslotOptions;
//! # use atrest::key::Kdf;
//! # let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
//! # let options = FormatOptions::new().keyslot(cheap);
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("disk.img");
//!
//! let device = UringDevice::new(FileDevice::create(path, 20 << 20)?);
//! let volume = Volume::format(device, Protector::Passphrase(b"secret"), &options)?;
//! volume.write_at(0, &[1; 1 << 20])?;
//!
//! let mut queue = Queue::new(&volume, volume.device().file(), 32, 4096)?;
//! for block in 0..32 {
//!     queue.read(block * 4096, 4096, block)?;
//! }
//! while queue.in_flight() > 0 {
//!     queue.wait(1, |done| assert_eq!(done.result.unwrap(), [1; 4096]))?;
//! }
//! # Ok::<(), atrest::Error>(())
//! ```
//!
//! # Semantics
//!
//! | question | answer |
//! |---|---|
//! | What is durable after a sync? | writes that were answered before the sync began; `fdatasync` |
//! | In which order do writes reach the disk? | in none, until a sync |
//! | What may a crash tear? | a write, between sectors of the disk: 512 or 4096 bytes |
//! | What does an error mean? | a failed write may be there in part; after a failed sync, all writes since the one before may be lost |
//! | How long may a call take? | as long as the disk does: the kernel has no deadline for a file |
//! | How is a second writer kept out? | by the lock that [`FileDevice::open`](atrest::FileDevice::open) takes |
//! | What does a read see? | every write that was answered before it began |

mod buffers;
mod device;
mod pool;
mod queue;
#[cfg_attr(target_os = "linux", path = "ring.rs")]
#[cfg_attr(not(target_os = "linux"), path = "no_ring.rs")]
mod ring;

pub use atrest::volume::Sectors;
pub use device::UringDevice;
pub use queue::{Done, Queue};
