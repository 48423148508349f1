//! Descriptions of headers, as records.

use atrest::volume::{DigestInfo, Header, KeyslotInfo, Priority, ProtectorId, SegmentInfo, TokenInfo};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::records::{all, record};

type Record = PyResult<Py<PyAny>>;

/// The content of a header, copied while other Python threads run.
pub struct Described {
    format: String,
    uuid: String,
    label: String,
    subsystem: String,
    flags: Vec<String>,
    requirements: Vec<String>,
    epoch: Option<u64>,
    size: u64,
    metadata_size: u64,
    keyslots_size: u64,
    needs_repair: bool,
    metadata_json: Option<Vec<u8>>,
    keyslots: Vec<KeyslotInfo>,
    tokens: Vec<TokenInfo>,
    segments: Vec<SegmentInfo>,
    digests: Vec<DigestInfo>,
}

impl Described {
    pub fn of(header: &Header<'_>) -> Self {
        Described {
            format: header.format().to_string(),
            uuid: header.uuid().into(),
            label: header.label().into(),
            subsystem: header.subsystem().into(),
            flags: header.flags(),
            requirements: header.requirements(),
            epoch: header.epoch(),
            size: header.size(),
            metadata_size: header.metadata_size(),
            keyslots_size: header.keyslots_size(),
            needs_repair: header.needs_repair(),
            metadata_json: header.metadata_json().map(<[u8]>::to_vec),
            keyslots: header.keyslots(),
            tokens: header.tokens(),
            segments: header.segments(),
            digests: header.digests(),
        }
    }

    pub fn record(self, py: Python<'_>) -> Record {
        record!(
            py,
            HeaderInfo {
                format: self.format,
                uuid: self.uuid,
                label: self.label,
                subsystem: self.subsystem,
                flags: self.flags,
                requirements: self.requirements,
                epoch: self.epoch,
                size: self.size,
                metadata_size: self.metadata_size,
                keyslots_size: self.keyslots_size,
                needs_repair: self.needs_repair,
                metadata_json: self.metadata_json.map(|json| PyBytes::new(py, &json)),
                keyslots: all(py, self.keyslots, keyslot)?,
                tokens: all(py, self.tokens, token)?,
                segments: all(py, self.segments, segment)?,
                digests: all(py, self.digests, digest)?,
            }
        )
    }
}

fn keyslot(py: Python<'_>, of: KeyslotInfo) -> Record {
    let priority = match of.priority {
        Priority::Ignore => "ignore",
        Priority::Normal => "normal",
        Priority::Prefer => "prefer",
    };
    record!(
        py,
        KeyslotInfo {
            id: of.id,
            kind: of.kind,
            key_bits: of.key_bits,
            priority: priority,
            kdf: of.kdf,
            hash: of.hash,
            iterations: of.iterations,
            memory_kib: of.memory_kib,
            lanes: of.lanes,
            cipher: of.cipher,
            area_offset: of.area_offset,
            area_size: of.area_size,
            holds_data_key: of.holds_data_key,
        }
    )
}

fn token(py: Python<'_>, of: TokenInfo) -> Record {
    record!(py, TokenInfo { id: of.id, kind: of.kind, keyslots: of.keyslots, key_url: of.key_url, json: of.json })
}

fn segment(py: Python<'_>, of: SegmentInfo) -> Record {
    record!(
        py,
        SegmentInfo {
            id: of.id,
            kind: of.kind,
            offset: of.offset,
            size: of.size,
            cipher: of.cipher,
            sector_size: of.sector_size,
            iv_tweak: of.iv_tweak,
            flags: of.flags,
        }
    )
}

fn digest(py: Python<'_>, of: DigestInfo) -> Record {
    record!(
        py,
        DigestInfo {
            id: of.id,
            kind: of.kind,
            hash: of.hash,
            iterations: of.iterations,
            key_bits: of.key_bits,
            keyslots: of.keyslots,
            segments: of.segments,
        }
    )
}

/// The record of a protector's number.
pub fn protector_id(py: Python<'_>, id: ProtectorId) -> Record {
    match id {
        ProtectorId::Keyslot(id) => record!(py, ProtectorId { kind: "keyslot", id: id }),
        ProtectorId::Token(id) => record!(py, ProtectorId { kind: "token", id: id }),
        other => Err(PyValueError::new_err(format!("this package doesn't know {other}"))),
    }
}

/// A protector's number, read off its record.
#[derive(FromPyObject)]
pub struct ProtectorNumber {
    kind: String,
    id: u32,
}

impl ProtectorNumber {
    pub fn id(&self) -> PyResult<ProtectorId> {
        match self.kind.as_str() {
            "keyslot" => Ok(ProtectorId::Keyslot(self.id)),
            "token" => Ok(ProtectorId::Token(self.id)),
            kind => Err(PyValueError::new_err(format!("a protector is a keyslot or a token, not a {kind:?}"))),
        }
    }
}
