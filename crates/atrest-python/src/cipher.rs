//! Keys and ciphers for engines that keep their own format.

use atrest::{
    Dek as Key, DekAlgorithm, SectorCipher as Sectors, SectorSize, SectorUnit, StreamCipher as Stream, hazmat,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::buffer::{Source, Target};
use crate::error::{freely, raised};
use crate::records;

/// A data encryption key. Its bytes stay in locked memory; only `hazmat.dek_bytes` returns them.
#[pyclass(frozen, module = "atrest_storage")]
pub struct Dek(pub Key);

/// Encrypts and decrypts runs of sectors by AES-XTS, each sector under its number.
#[pyclass(frozen, module = "atrest_storage")]
pub struct SectorCipher(pub Box<Sectors>);

/// Encrypts and decrypts a stream at any byte by AES-256-CTR.
#[pyclass(frozen, module = "atrest_storage")]
pub struct StreamCipher(pub Box<Stream>);

/// The algorithm of a name, such as `AES-256-XTS`.
pub fn algorithm(name: &str) -> PyResult<DekAlgorithm> {
    // The numbers of algorithms are small.
    let found = (0..=u16::from(u8::MAX)).filter_map(DekAlgorithm::from_code).find(|algorithm| algorithm.name() == name);
    found.ok_or_else(|| PyValueError::new_err(format!("this build has no algorithm {name:?} for a DEK")))
}

/// The unit of a name: `512` counts units of 512 bytes, as LUKS does; `sector` counts sectors.
pub fn unit(name: &str) -> PyResult<SectorUnit> {
    match name {
        "512" => Ok(SectorUnit::Bytes512),
        "sector" => Ok(SectorUnit::Sector),
        "512-any-offset" => Ok(SectorUnit::Bytes512AnyOffset),
        _ => Err(PyValueError::new_err(format!("a unit is sector, 512 or 512-any-offset, not {name:?}"))),
    }
}

pub fn sector_size(py: Python<'_>, bytes: u32) -> PyResult<SectorSize> {
    SectorSize::new(bytes).map_err(|error| raised(py, &error))
}

#[pymethods]
impl Dek {
    /// A new random key.
    #[staticmethod]
    #[pyo3(signature = (algorithm = "AES-256-XTS"))]
    fn generate(py: Python<'_>, algorithm: &str) -> PyResult<Self> {
        let algorithm = self::algorithm(algorithm)?;
        freely(py, || Key::generate(algorithm)).map(Dek)
    }

    /// The algorithm that it is for.
    #[getter]
    fn algorithm(&self) -> &'static str {
        self.0.algorithm().name()
    }

    /// A cipher under this key, which is for XTS.
    #[pyo3(signature = (*, sector_size, unit))]
    fn sector_cipher(&self, py: Python<'_>, sector_size: u32, unit: &str) -> PyResult<SectorCipher> {
        let (size, unit) = (self::sector_size(py, sector_size)?, self::unit(unit)?);
        freely(py, || self.0.sector_cipher(size, unit)).map(SectorCipher)
    }

    /// A cipher under this key, which is for CTR, from a nonce of 16 bytes. A key must never encrypt two streams.
    fn stream_cipher(&self, py: Python<'_>, nonce: [u8; 16]) -> PyResult<StreamCipher> {
        freely(py, || self.0.stream_cipher(nonce)).map(StreamCipher)
    }

    /// The fingerprint of the key, 32 bytes: it shows whether a volume or file still has this key.
    fn fingerprint(&self, py: Python<'_>) -> PyResult<[u8; 32]> {
        freely(py, || self.0.fingerprint()).map(|fingerprint| fingerprint.to_bytes())
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(other) = other.cast::<Dek>() else { return Ok(false) };
        // A forked child has no key, which this finds out.
        freely(other.py(), || self.0.fingerprint()).map(|_| self.0 == other.get().0)
    }

    fn __repr__(&self) -> String {
        format!("<Dek {}>", self.0.algorithm().name())
    }
}

#[pymethods]
impl SectorCipher {
    /// A cipher under a key of 32 or 64 bytes. `unit` is the unit of sector numbers: `sector` or `512`.
    #[new]
    #[pyo3(signature = (key, *, sector_size, unit))]
    fn new(py: Python<'_>, key: Source, sector_size: u32, unit: &str) -> PyResult<Self> {
        let (size, unit) = (self::sector_size(py, sector_size)?, self::unit(unit)?);
        let key = key.bytes();
        // By way of a DEK, which expands the key where it stays: a move would leave a copy of it.
        freely(py, || hazmat::dek_from_bytes(key)?.sector_cipher(size, unit)).map(Self)
    }

    /// The sector size in bytes.
    #[getter]
    fn sector_size(&self) -> u32 {
        self.0.sector_size().bytes()
    }

    /// Encrypts whole sectors in place.
    fn encrypt(&self, py: Python<'_>, first_sector: u64, mut sectors: Target) -> PyResult<()> {
        let sectors = sectors.bytes();
        freely(py, || self.0.encrypt(first_sector, sectors))
    }

    /// Decrypts whole sectors in place.
    fn decrypt(&self, py: Python<'_>, first_sector: u64, mut sectors: Target) -> PyResult<()> {
        let sectors = sectors.bytes();
        freely(py, || self.0.decrypt(first_sector, sectors))
    }

    /// Encrypts whole sectors into another buffer of the same length.
    fn encrypt_to(&self, py: Python<'_>, first_sector: u64, src: Source, mut dst: Target) -> PyResult<()> {
        dst.apart(&src)?;
        let (src, dst) = (src.bytes(), dst.bytes());
        freely(py, || self.0.encrypt_to(first_sector, src, dst))
    }

    /// Decrypts whole sectors into another buffer of the same length.
    fn decrypt_to(&self, py: Python<'_>, first_sector: u64, src: Source, mut dst: Target) -> PyResult<()> {
        dst.apart(&src)?;
        let (src, dst) = (src.bytes(), dst.bytes());
        freely(py, || self.0.decrypt_to(first_sector, src, dst))
    }

    /// How much the key has encrypted by this cipher.
    fn usage(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        records::key_usage(py, self.0.usage())
    }

    fn __repr__(&self) -> String {
        format!("<SectorCipher of {} bytes>", self.0.sector_size().bytes())
    }
}

#[pymethods]
impl StreamCipher {
    /// Encrypts or decrypts bytes in place, which begin at `offset` of the stream.
    fn apply(&self, py: Python<'_>, offset: u64, mut data: Target) -> PyResult<()> {
        let data = data.bytes();
        freely(py, || self.0.apply(offset, data))
    }

    /// As `apply`, into another buffer of the same length.
    fn apply_to(&self, py: Python<'_>, offset: u64, src: Source, mut dst: Target) -> PyResult<()> {
        dst.apart(&src)?;
        let (src, dst) = (src.bytes(), dst.bytes());
        freely(py, || self.0.apply_to(offset, src, dst))
    }

    fn __repr__(&self) -> &'static str {
        "<StreamCipher>"
    }
}
