//! Disks of [`atrest`] on Ceph RBD: the cluster gets ciphertext only.
//!
//! [`RbdDevice`] is one image, for a [`Volume`](atrest::Volume). [`RbdBackend`] is a pool, for a
//! [`DiskService`](atrest::managed::DiskService). Both use the librbd and librados of the machine, which are loaded when they are
//! first needed: this crate builds and links where they aren't installed, and says so when a device is opened. Developed and
//! tested with Ceph 16.2; functions of Ceph 14 are enough.
//!
//! # What is durable when
//!
//! - librbd's caches are off. A write is acknowledged when all OSDs of its placement groups have it on stable storage.
//!   [`sync`](atrest::BlockDevice::sync) waits for the writes that are in flight when it begins, and no acknowledged write needs
//!   it. An image or pool whose own settings turn a cache on isn't opened for writing.
//! - Acknowledged writes are read back, by this device and by the next client that opens the image.
//! - Two writes to one place that are in flight at once take effect in any order. A write that begins after another has returned
//!   comes after it.
//! - A write is there whole or not at all as far as it lies in one object (4 MiB by default) and in one piece
//!   ([`RbdOptions::piece`], 1 MiB). So 4096 bytes at a multiple of 4096 are never torn. The two copies of a LUKS header are
//!   written and synced one after the other, and at least one is whole after any fault.
//! - [`set_size`](atrest::BlockDevice::set_size) is durable when it returns.
//!
//! # Time-outs
//!
//! Each call has a [deadline](RbdOptions::deadline), and librados gets it too (`rados_osd_op_timeout`, `rados_mon_op_timeout`,
//! `client_mount_timeout`). librados itself tries again as long as that, whatever happens to connections and OSDs; this crate adds no
//! tries of its own.
//!
//! After a time-out the outcome is unknown. The request may lie in the queue of an OSD that sleeps, and be carried out when it
//! wakes, long after the caller got the error. librbd can't take it back. So:
//!
//! - **A write, discard or resize that times out ends the device.** From then on each call fails at once, with
//!   [`TimedOut`](std::io::ErrorKind::TimedOut). No later write of the device can be overtaken, because there is none.
//! - The client of that device is put on the cluster's blocklist, by another client made for this. The lock stays with the dead
//!   client until then, so that no other client gets it first. If no monitor answers, a thread retries until one does.
//! - The next client that opens the image finds a lock whose owner is gone, and librbd breaks it. It shuts out the owner once
//!   more, and waits for the map that says so. Each of its requests carries the number of that map, and an OSD gets the map
//!   before it does the request. So from the first read or write of an object on, the late write is refused there.
//! - Open the image again to continue. It holds all acknowledged writes, and any part of those that timed out.
//! - A read or a sync that times out changes nothing, and the device continues.
//!
//! Buffers that librbd reads into or writes from belong to the operation. One that is given up keeps its buffer until librbd is
//! done with it, up to about a deadline later.
//!
//! # A second writer
//!
//! - A device takes the exclusive lock of the image when it is opened, and doesn't hand it over when another client asks. That
//!   client gets [`Busy`](atrest::Error::Busy). An image without the feature `exclusive-lock` isn't opened for writing.
//! - When the lock is broken (by [`RbdOptions::take_over`], by `rbd_lock_break`, by librbd when the owner's watch has ended),
//!   the owner is put on the blocklist first. OSDs refuse all its requests, including those sent before. Its next call fails
//!   with [`StaleNetworkFileHandle`](std::io::ErrorKind::StaleNetworkFileHandle), as do all after that.
//! - An entry of the blocklist lasts one hour by default. A machine that was paused for so long could write again, so a device
//!   asks the cluster for its lock when nothing has shown it for [five minutes](RbdOptions::trust_lock), sleep included.
//! - This relies on the blocklist. Removing a lock with `rbd_blocklist_on_break_lock` turned off, or taking a live client off
//!   the list, lets two clients write at once.
//!
//! # What it costs
//!
//! Each open device is a client of the cluster, with connections, an address and about 15 threads of its own, since the cluster
//! shuts out clients and not images. Reads and writes are copied once. Up to 32 buffers of a piece are kept for the next calls.
#![deny(unsafe_code)]

mod backend;
mod bounded;
mod buffers;
mod connect;
mod device;
mod ends;
mod life;
mod name;
mod options;
mod queue;
mod sys;
mod trouble;

pub use backend::RbdBackend;
pub use device::RbdDevice;
pub use options::RbdOptions;
pub use queue::{Done, Queue};
