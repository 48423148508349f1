//! How many operations of the store each thing takes that a service does.

use atrest::managed::store::MemoryStore;
use atrest::managed::{DiskService, ResourceName};

use crate::Result;
use crate::records::{new_disk, service};

fn operations(service: &DiskService) -> u64 {
    service.metrics().store_calls.iter().map(|calls| calls.times.count).sum()
}

fn told(what: &str, service: &DiskService, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = operations(service);
    act()?;
    println!("{:<48} {:>4}", what, operations(service) - before);
    Ok(())
}

pub fn run() -> Result<()> {
    let (store, folder) = (MemoryStore::new(), tempfile::tempdir()?);
    let host = service(&store, folder.path(), "one")?;
    let _other = service(&store, folder.path(), "other")?;
    // Makes the host's mark.
    host.create_disk(&new_disk("first"))?;
    told("a disk is made", &host, || Ok(drop(host.create_disk(&new_disk("disk"))?)))?;
    let mut open = None;
    told("a disk is opened", &host, || Ok(open = Some(host.open_disk("disk")?)))?;
    told("1000 reads", &host, || {
        let mut sector = [0; 4096];
        (0..1000).try_for_each(|n| Ok(open.as_ref().expect("it is open").read_at(4096 * (n % 256), &mut sector)?))
    })?;
    told("the lease of a host is renewed", &host, || Ok(host.renew_host_lease()?))?;
    told("maintain, one disk open, nothing due", &host, || Ok(host.maintain()))?;
    told("auto_rotate, one set, nothing to do", &host, || Ok(drop(host.auto_rotate(&|_| ())?)))?;
    told("a disk is closed", &host, || Ok(drop(open.take())))?;
    told("a disk is removed", &host, || Ok(host.delete(&ResourceName::disk("disk"))?))?;
    Ok(())
}
