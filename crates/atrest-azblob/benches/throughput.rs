//! Measures a container: `ATREST_AZBLOB_URL=azblob:https://ACCOUNT.blob.core.windows.net/CONTAINER cargo bench -p atrest-azblob`,
//! with `AZURE_STORAGE_SAS_TOKEN` or `AZURE_STORAGE_KEY`. It makes a disk, and removes it.

#[path = "../../../tests/common/throughput.rs"]
mod throughput;

use atrest::managed::DiskBackend;
use atrest_azblob::PageBlobBackend;

fn main() {
    let Some(url) = throughput::url("ATREST_AZBLOB_URL") else { return };
    let backend = PageBlobBackend::from_url(&url).unwrap();
    let id = uuid::Uuid::new_v4().to_string();
    let device = backend.create("", &id, 64 << 20).unwrap();
    throughput::measure(&device);
    drop(device);
    backend.remove("", &id).unwrap();
}
