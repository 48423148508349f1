//! Options, read off the dataclasses in `atrest_storage.options`.

use core::time::Duration;

use atrest::key::{HashAlgorithm, Kdf, KdfLimits};
use atrest::vault::VaultOptions;
use atrest::volume::{KeyslotOptions, LuksVersion, Priority, ReencryptOptions, Resilience};
use atrest::{EncryptionType, Fingerprint, FormatOptions, OpenOptions};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::cipher::{Dek, algorithm, sector_size};
use crate::device::{AnyDevice, Device};

/// `options.Kdf`.
#[derive(FromPyObject)]
pub struct KdfChoice {
    name: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    hash: String,
    iterations: u32,
}

impl KdfChoice {
    pub fn kdf(&self) -> PyResult<Kdf> {
        let &KdfChoice { memory_kib, passes, lanes, iterations, .. } = self;
        match self.name.as_str() {
            "argon2id" => Ok(Kdf::Argon2id { memory_kib, passes, lanes }),
            "argon2i" => Ok(Kdf::Argon2i { memory_kib, passes, lanes }),
            "pbkdf2" => Ok(Kdf::Pbkdf2 { hash: hash(&self.hash)?, iterations }),
            name => Err(PyValueError::new_err(format!("a KDF is argon2id, argon2i or pbkdf2, not {name:?}"))),
        }
    }
}

fn hash(name: &str) -> PyResult<HashAlgorithm> {
    match name {
        "sha256" => Ok(HashAlgorithm::Sha256),
        "sha512" => Ok(HashAlgorithm::Sha512),
        _ => Err(PyValueError::new_err(format!("the hash of a new PBKDF2 is sha256 or sha512, not {name:?}"))),
    }
}

/// `options.VaultOptions`.
#[derive(FromPyObject, Default)]
pub struct VaultChoices {
    id: Option<String>,
    region: Option<String>,
    tenant: Option<String>,
    retention_days: Option<u32>,
    purge_protection: bool,
    refuse_expired: bool,
    kdf: Option<KdfChoice>,
}

impl VaultChoices {
    pub fn options(self) -> PyResult<VaultOptions> {
        let mut options =
            VaultOptions::new().purge_protection(self.purge_protection).refuse_expired(self.refuse_expired);
        if let Some(id) = &self.id {
            options = options.id(id);
        }
        if let Some(region) = &self.region {
            options = options.region(region);
        }
        if let Some(tenant) = &self.tenant {
            options = options.tenant(tenant);
        }
        if let Some(days) = self.retention_days {
            options = options.retention_days(days);
        }
        if let Some(kdf) = self.kdf {
            options = options.kdf(kdf.kdf()?);
        }
        Ok(options)
    }
}

/// `options.KeyslotOptions`.
#[derive(FromPyObject)]
pub struct KeyslotChoices {
    id: Option<u32>,
    priority: Option<String>,
    kdf: Option<KdfChoice>,
    seconds: Option<f64>,
    max_memory_kib: Option<u32>,
}

impl KeyslotChoices {
    pub fn options(self) -> PyResult<KeyslotOptions> {
        let mut options = KeyslotOptions::new();
        if let Some(id) = self.id {
            options = options.id(id);
        }
        if let Some(name) = self.priority {
            options = options.priority(priority(&name)?);
        }
        if let Some(kdf) = self.kdf {
            options = options.kdf(kdf.kdf()?);
        }
        if let Some(seconds) = self.seconds {
            let time =
                Duration::try_from_secs_f64(seconds).map_err(|e| PyValueError::new_err(format!("seconds: {e}")))?;
            options = options.time(time);
        }
        if let Some(max) = self.max_memory_kib {
            options = options.max_memory_kib(max);
        }
        Ok(options)
    }
}

pub fn priority(name: &str) -> PyResult<Priority> {
    match name {
        "ignore" => Ok(Priority::Ignore),
        "normal" => Ok(Priority::Normal),
        "prefer" => Ok(Priority::Prefer),
        _ => Err(PyValueError::new_err(format!("a priority is ignore, normal or prefer, not {name:?}"))),
    }
}

pub fn encryption_type(name: &str) -> PyResult<EncryptionType> {
    EncryptionType::from_name(name).ok_or_else(|| {
        PyValueError::new_err(format!("{name:?} is no encryption type; the default is \"customer-key\""))
    })
}

pub fn keyslot(choices: Option<KeyslotChoices>) -> PyResult<KeyslotOptions> {
    choices.map_or_else(|| Ok(KeyslotOptions::new()), KeyslotChoices::options)
}

/// `options.FormatOptions`.
#[derive(FromPyObject)]
pub struct FormatChoices {
    version: u32,
    sector_size: u32,
    dek_algorithm: String,
    dek: Option<Py<Dek>>,
    data_offset: Option<u64>,
    metadata_size: Option<u64>,
    pub header: Option<Py<Device>>,
    keyslot: Option<KeyslotChoices>,
    uuid: Option<[u8; 16]>,
    label: String,
    subsystem: String,
    context: Vec<u8>,
    encryption_type: String,
    overwrite: bool,
    written_map: Option<u32>,
    written_map_for: Option<u64>,
}

impl FormatChoices {
    /// `header` is the device of a detached header.
    pub fn options(self, py: Python<'_>, header: Option<AnyDevice>) -> PyResult<FormatOptions> {
        let version = match self.version {
            1 => LuksVersion::Luks1,
            2 => LuksVersion::Luks2,
            other => return Err(PyValueError::new_err(format!("the version of LUKS is 1 or 2, not {other}"))),
        };
        let mut options = FormatOptions::new()
            .version(version)
            .sector_size(sector_size(py, self.sector_size)?)
            .dek_algorithm(algorithm(&self.dek_algorithm)?)
            .keyslot(keyslot(self.keyslot)?)
            .label(&self.label)
            .subsystem(&self.subsystem)
            .context(&self.context)
            .encryption_type(encryption_type(&self.encryption_type)?)
            .overwrite(self.overwrite);
        if let Some(dek) = self.dek {
            options = options.hazmat_dek(&dek.get().0);
        }
        if let Some(offset) = self.data_offset {
            options = options.data_offset(offset);
        }
        if let Some(size) = self.metadata_size {
            options = options.metadata_size(size);
        }
        if let Some(header) = header {
            options = options.header(header);
        }
        if let Some(uuid) = self.uuid {
            options = options.uuid(uuid);
        }
        if let Some(chunk) = self.written_map {
            options = options.written_map(chunk);
        }
        if let Some(size) = self.written_map_for {
            options = options.written_map_for(size);
        }
        Ok(options)
    }
}

/// `options.OpenOptions`.
#[derive(FromPyObject)]
pub struct OpenChoices {
    pub read_only: bool,
    discard: bool,
    context: Option<Vec<u8>>,
    pub header: Option<Py<Device>>,
    keyslot: Option<u32>,
    expect: Option<[u8; 32]>,
    expect_key: Option<String>,
    used_blocks: Option<u64>,
    max_memory_kib: Option<u32>,
    max_lanes: Option<u32>,
    max_pbkdf2_iterations: Option<u32>,
    max_argon2_kib_passes: Option<u64>,
    require_locked_memory: bool,
    hazmat_allow_truncated: bool,
    hazmat_allow_unencrypted: bool,
    hazmat_repair: bool,
    hazmat_ignore_tokens: bool,
    hazmat_ignore_written_map: bool,
}

impl OpenChoices {
    /// `header` is the device of a detached header.
    pub fn options(self, header: Option<AnyDevice>) -> PyResult<OpenOptions> {
        let mut limits = KdfLimits::default();
        limits.max_memory_kib = self.max_memory_kib.unwrap_or(limits.max_memory_kib);
        limits.max_lanes = self.max_lanes.unwrap_or(limits.max_lanes);
        limits.max_pbkdf2_iterations = self.max_pbkdf2_iterations.unwrap_or(limits.max_pbkdf2_iterations);
        limits.max_argon2_kib_passes = self.max_argon2_kib_passes.unwrap_or(limits.max_argon2_kib_passes);
        let mut options = OpenOptions::new()
            .read_only(self.read_only)
            .discard(self.discard)
            .kdf_limits(limits)
            .require_locked_memory(self.require_locked_memory)
            .hazmat_allow_truncated(self.hazmat_allow_truncated)
            .hazmat_allow_unencrypted(self.hazmat_allow_unencrypted)
            .hazmat_repair(self.hazmat_repair)
            .hazmat_ignore_tokens(self.hazmat_ignore_tokens)
            .hazmat_ignore_written_map(self.hazmat_ignore_written_map);
        if let Some(context) = &self.context {
            options = options.context(context);
        }
        if let Some(header) = header {
            options = options.header(header);
        }
        if let Some(keyslot) = self.keyslot {
            options = options.keyslot(keyslot);
        }
        if let Some(fingerprint) = self.expect {
            options = options.expect(Fingerprint::from_bytes(fingerprint));
        }
        if let Some(key) = &self.expect_key {
            options = options.expect_key(key);
        }
        if let Some(blocks) = self.used_blocks {
            options = options.used_blocks(blocks);
        }
        Ok(options)
    }
}

/// `options.ReencryptOptions`.
#[derive(FromPyObject)]
pub struct ReencryptChoices {
    dek_algorithm: Option<String>,
    sector_size: Option<u32>,
    resilience: String,
    keyslot: Option<KeyslotChoices>,
    dek: Option<Py<Dek>>,
}

impl ReencryptChoices {
    pub fn options(self, py: Python<'_>) -> PyResult<ReencryptOptions> {
        let mut options =
            ReencryptOptions::new().resilience(resilience(&self.resilience)?).keyslot(keyslot(self.keyslot)?);
        if let Some(name) = self.dek_algorithm {
            options = options.dek_algorithm(algorithm(&name)?);
        }
        if let Some(size) = self.sector_size {
            options = options.sector_size(sector_size(py, size)?);
        }
        if let Some(dek) = self.dek {
            options = options.hazmat_dek(&dek.get().0);
        }
        Ok(options)
    }
}

pub fn resilience(name: &str) -> PyResult<Resilience> {
    match name {
        "checksum" => Ok(Resilience::Checksum),
        "journal" => Ok(Resilience::Journal),
        _ => Err(PyValueError::new_err(format!("the resilience is checksum or journal, not {name:?}"))),
    }
}
