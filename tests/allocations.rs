//! Nothing is allocated between a caller's buffer and the device, and little where a volume is opened.

#![cfg(feature = "std")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use atrest::{
    BlockDevice, Credential, FileDevice, FormatOptions, MemoryDevice, OpenOptions, Protector, SectorCipher, SectorSize,
    SectorUnit, StreamCipher, Volume,
};
use common::vaults::MemoryVault;

struct Counting;

thread_local! {
    /// How often this thread allocated. Other threads are the test harness's own.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// How many bytes it has allocated and not given back.
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn count(size: usize) {
    // While a thread ends, its count may be gone already.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
    hold(size as isize);
}

fn hold(size: isize) {
    let _ = HELD.try_with(|held| held.set(held.get() + size));
}

// SAFETY: every call goes to the system's allocator with the same arguments; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        hold(-(layout.size() as isize));
        // SAFETY: as above; `ptr` came from the system's allocator.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size);
        hold(-(layout.size() as isize));
        // SAFETY: as above; `ptr` came from the system's allocator.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `act` allocates.
fn allocations(act: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    act();
    ALLOCATIONS.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8; 100]))), 1);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn the_sector_engine_allocates_nothing() {
    let mut buffers = (vec![0; 70 * 4096], vec![0; 70 * 4096]);
    let key: [u8; 64] = core::array::from_fn(|i| i as u8);
    // Expanded keys lie with the secrets, which takes a page now and then.
    let ciphers = [32, 64].map(|len| SectorCipher::new(&key[..len], SectorSize::B4096, SectorUnit::Bytes512).unwrap());
    let allocated = allocations(|| {
        for cipher in &ciphers {
            cipher.encrypt(0, &mut buffers.0).unwrap();
            cipher.decrypt(0, &mut buffers.0).unwrap();
            cipher.encrypt_to(0, &buffers.0, &mut buffers.1).unwrap();
            cipher.decrypt_to(0, &buffers.0, &mut buffers.1).unwrap();
            cipher.encrypt_unit([1; 16], &mut buffers.0[..1001]).unwrap();
            cipher.decrypt_unit([1; 16], &mut buffers.0[..1001]).unwrap();
            assert!(cipher.encrypt(0, &mut buffers.0[..1]).is_err());
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn the_stream_engine_allocates_nothing() {
    let mut buffers = (vec![0; 70 * 4096], vec![0; 70 * 4096]);
    let cipher = StreamCipher::new(&[7; 32], [0xFF; 16]).unwrap();
    let allocated = allocations(|| {
        cipher.apply(5, &mut buffers.0).unwrap();
        cipher.apply_to(u64::MAX - (80 << 12), &buffers.0, &mut buffers.1).unwrap();
        assert!(cipher.apply(u64::MAX, &mut buffers.0).is_err());
    });
    assert_eq!(allocated, 0);
}

/// What a use of a vault's file allocates doesn't depend on how many keys the file has: it isn't read anew.
#[cfg(unix)]
#[test]
fn a_use_of_a_vault_file_allocates_as_little_among_many_keys() {
    use atrest::key::KeyVault;

    let folder = tempfile::tempdir().unwrap();
    let vault = common::vault_at(&folder.path().join("keys.vault"));
    let dek = atrest::Secret::copy_from(&[7; 32]);
    let of_uses = || {
        // Longer than a file is read at each use after it was written.
        std::thread::sleep(std::time::Duration::from_millis(150));
        let unwrap = |wrapped| drop(vault.unwrap(wrapped).unwrap().unwrap());
        let wrapped = vault.wrap("disks", &dek).unwrap();
        unwrap(&wrapped);
        allocations(|| (0..100).for_each(|_| unwrap(&wrapped)))
    };
    let alone = of_uses();
    for key in 0..60 {
        vault.create_key(&format!("key-{key}")).unwrap();
    }
    let among_many = of_uses();
    // Secrets take a page now and then.
    assert!(alone <= 4000 && among_many <= alone + 20, "{alone} allocations, {among_many} among 60 keys more");
}

#[test]
fn a_volume_in_use_allocates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let vault = MemoryVault::new("memory:one");
    let options = FormatOptions::new().data_offset(1 << 20);
    for sector_size in [SectorSize::B512, SectorSize::B4096] {
        let path = folder.path().join(sector_size.bytes().to_string());
        let device = FileDevice::create(&path, 4 << 20).unwrap();
        check(
            &Volume::format(device, Protector::Vault(&vault, "disks"), &options.clone().sector_size(sector_size))
                .unwrap(),
        );
        let device = FileDevice::open(&path).unwrap();
        check(&Volume::open(device, Credential::Vault(&vault), &OpenOptions::new().discard(true)).unwrap());
        // Past the page cache, what isn't aligned goes by a buffer of its own.
        if let Ok(device) = FileDevice::open(&path).unwrap().direct_io() {
            check(&Volume::open(device, Credential::Vault(&vault), &OpenOptions::new()).unwrap());
        }
    }
}

#[test]
fn a_map_of_written_chunks_allocates_nothing_where_all_was_written_or_nothing() {
    let vault = MemoryVault::new("memory:one");
    let options = FormatOptions::new().data_offset(1 << 20).written_map(4096);
    let volume = Volume::format(MemoryDevice::new(3 << 20), Protector::Vault(&vault, "disks"), &options).unwrap();
    let mut buffer = vec![7; 300 << 10];
    volume.write_at(0, &buffer).unwrap();
    volume.sync().unwrap();
    let allocated = allocations(|| {
        volume.write_at(4096, &buffer[..200 << 10]).unwrap();
        volume.write_in_place(4096, &mut buffer[..200 << 10]).unwrap();
        volume.read_at(0, &mut buffer).unwrap();
        volume.read_at(1 << 20, &mut buffer).unwrap();
        volume.read_at(200 << 10, &mut buffer).unwrap();
        assert_eq!(volume.extents(0, volume.size()).unwrap().count(), 2);
        volume.sync().unwrap();
    });
    assert_eq!(allocated, 0);
}

#[test]
fn a_volume_is_opened_with_few_allocations_and_holds_little() {
    let vault = MemoryVault::new("memory:one");
    let options = FormatOptions::new().data_offset(1 << 20).context(b"disk-17");
    let device = Arc::new(MemoryDevice::new(2 << 20));
    Volume::format(device.clone(), Protector::Vault(&vault, "disks"), &options).unwrap();
    let options = OpenOptions::new().context(b"disk-17");
    let open = || Volume::open(device.clone(), Credential::Vault(&vault), &options).unwrap();
    // Expanded keys and the DEK lie with the secrets, whose pages are taken by the first volume.
    let _first = open();
    let (mut volume, before) = (None, HELD.get());
    let allocated = allocations(|| volume = Some(open()));
    let held = HELD.get() - before;
    assert!(allocated <= 60, "{allocated} allocations");
    assert!((1..=4096).contains(&held), "{held} bytes");
    drop(volume);
    assert_eq!(HELD.get(), before);
}

fn check<D: BlockDevice>(volume: &Volume<D>) {
    // More than is encrypted at once (128 KiB).
    let mut buffer = vec![7; 300 << 10];
    volume.write_at(0, &buffer[..4096]).unwrap();
    volume.read_at(0, &mut buffer[1..4097]).unwrap();
    let allocated = allocations(|| {
        for len in [4096, 128 << 10, 300 << 10] {
            volume.write_at(4096, &buffer[..len]).unwrap();
            volume.write_zeroes(4096, len as u64).unwrap();
            volume.discard(4096, len as u64).unwrap();
            volume.read_at(4096, &mut buffer[..len]).unwrap();
            volume.write_in_place(4096, &mut buffer[..len]).unwrap();
            let (first, second) = buffer[..len].split_at_mut(len / 4096 / 2 * 4096);
            volume.write_vectored_at(4096, &[IoSlice::new(first), IoSlice::new(second)]).unwrap();
            volume.read_vectored_at(4096, &mut [IoSliceMut::new(first), IoSliceMut::new(second)]).unwrap();
        }
        volume.sync().unwrap();
    });
    assert_eq!(allocated, 0);
}
