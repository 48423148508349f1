//! Measures a bucket: `ATREST_S3_URL='s3:https://s3.REGION.amazonaws.com/BUCKET?region=REGION' cargo bench -p atrest-s3`, with
//! `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`. It makes a disk, and removes it.

#[path = "../../../tests/common/throughput.rs"]
mod throughput;

use atrest::managed::DiskBackend;
use atrest_s3::S3Backend;

fn main() {
    let Some(url) = throughput::url("ATREST_S3_URL") else { return };
    let backend = S3Backend::from_url(&url).unwrap();
    let id = uuid::Uuid::new_v4().to_string();
    let device = backend.create("", &id, 64 << 20).unwrap();
    throughput::measure(&device);
    drop(device);
    backend.remove("", &id).unwrap();
}
