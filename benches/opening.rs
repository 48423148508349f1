//! A volume in memory, opened and put under a key anew by a vault of AES-KW in memory.

use std::hint::black_box;
use std::sync::Arc;

use atrest::key::{EncryptionType, KeyId, WrapAlgorithm, WrappedDek, wrap};
use atrest::{Credential, FormatOptions, KeyVault, MemoryDevice, OpenOptions, Protector, Result, Secret, Volume};
use criterion::{Criterion, criterion_group, criterion_main};

struct Vault;

const KEK: [u8; 32] = [7; 32];
const CONTEXT: &[u8] = b"disk-000017";

impl KeyVault for Vault {
    fn id(&self) -> &str {
        "https://contoso.vault.example"
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        let mut bytes = vec![0; dek.len() + 8];
        wrap::aes_kw_wrap(&KEK, dek.expose(), &mut bytes)?;
        Ok(WrappedDek::new(KeyId::new(self.id(), key, "1")?, WrapAlgorithm::Aes256Kw, bytes))
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        let mut dek = Secret::zeroed(wrapped.bytes.len() - 8);
        wrap::aes_kw_unwrap(&KEK, &wrapped.bytes, dek.expose_mut())?;
        Ok(Some(dek))
    }
}

fn opening(c: &mut Criterion) {
    let mut group = c.benchmark_group("volume by a vault");
    let options = FormatOptions::new().data_offset(1 << 20).context(CONTEXT);
    let format = || {
        let device = Arc::new(MemoryDevice::new(2 << 20));
        Volume::format(device, Protector::Vault(&Vault, "disks"), &options).expect("a new volume")
    };
    group.bench_function("format", |b| b.iter(|| black_box(format())));
    let device = format().into_device();
    let open = || {
        let options = OpenOptions::new().context(CONTEXT);
        Volume::open(device.clone(), Credential::Vault(&Vault), &options).expect("it was made so")
    };
    group.bench_function("open", |b| b.iter(|| black_box(open())));
    let volume = open();
    let rewrap = || volume.replace_keks(&Vault, "disks", EncryptionType::CustomerKey).expect("it is open");
    group.bench_function("rewrap", |b| b.iter(|| black_box(rewrap())));
    group.finish();
}

criterion_group!(benches, opening);
criterion_main!(benches);
