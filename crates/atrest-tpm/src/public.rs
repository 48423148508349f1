//! Public areas of objects: their types and attributes (TPM 2.0 Library, Part 2, 12.2).

use crate::crypt::{LEN, Point, sha256};
use crate::fault::Fault;
use crate::wire::{Malformed, Reader, Writer};

pub(crate) const SHA256: u16 = 0x000B;
pub(crate) const NULL: u16 = 0x0010;
pub(crate) const AES: u16 = 0x0006;
pub(crate) const CFB: u16 = 0x0043;
const ECC: u16 = 0x0023;
const KEYED_HASH: u16 = 0x0008;
const P256: u16 = 0x0003;

const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
const USER_WITH_AUTH: u32 = 1 << 6;
const NO_DA: u32 = 1 << 10;
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;

/// The storage key below which keys are sealed: ECC on P-256, with AES-128, SHA-256 and an empty authorisation value. A TPM makes
/// the same one each time from this template, until its owner hierarchy is cleared. It is that of TCG's TPM v2.0 Provisioning
/// Guidance, 7.5.1, with an empty unique field, as tpm2-tools write it.
pub(crate) fn parent_template() -> Vec<u8> {
    let mut w = Writer::new();
    let attributes = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | USER_WITH_AUTH | NO_DA | RESTRICTED | DECRYPT;
    w.u16(ECC).u16(SHA256).u32(attributes).sized(&[]);
    w.u16(AES).u16(128).u16(CFB).u16(NULL).u16(P256).u16(NULL);
    w.sized(&[]).sized(&[]);
    w.done().to_vec()
}

/// Sealed bytes. With a policy they are unsealed by it alone. Without an authorisation value there is none to guess, so the TPM
/// needs no count of attempts.
pub(crate) fn sealed_template(policy: Option<&[u8; LEN]>, has_auth: bool) -> Vec<u8> {
    let mut attributes = FIXED_TPM | FIXED_PARENT;
    if policy.is_none() {
        attributes |= USER_WITH_AUTH;
    }
    if !has_auth {
        attributes |= NO_DA;
    }
    let mut w = Writer::new();
    w.u16(KEYED_HASH).u16(SHA256).u32(attributes).sized(policy.map_or(&[], |digest| digest));
    w.u16(NULL).sized(&[]);
    w.done().to_vec()
}

/// The name of an object: a hash of its public area (Part 1, 16).
pub(crate) fn name(public: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut reader = Reader(public);
    reader.u16()?;
    if reader.u16()? != SHA256 {
        return Err(Malformed("an object has another name algorithm than SHA-256").into());
    }
    Ok([&SHA256.to_be_bytes()[..], &sha256(&[public])?].concat())
}

/// The public point of a storage key of ECC on P-256.
pub(crate) fn point(public: &[u8]) -> Result<Point, Malformed> {
    let no_parent = Malformed("the parent isn't a storage key of ECC on P-256 with AES-128 and SHA-256");
    let mut reader = Reader(public);
    if (reader.u16()?, reader.u16()?) != (ECC, SHA256) {
        return Err(no_parent);
    }
    let wanted = RESTRICTED | DECRYPT;
    if reader.u32()? & wanted != wanted {
        return Err(no_parent);
    }
    reader.sized()?;
    let parameters = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
    if parameters != [AES, 128, CFB, NULL, P256, NULL] {
        return Err(no_parent);
    }
    let (x, y) = (reader.sized()?, reader.sized()?);
    reader.end()?;
    Point::new(x, y).ok_or(no_parent)
}

/// Checks that a public area is one of sealed bytes, with a name by SHA-256.
pub(crate) fn check_sealed(public: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader(public);
    if (reader.u16()?, reader.u16()?) != (KEYED_HASH, SHA256) {
        return Err(Malformed("it isn't sealed data with a name by SHA-256"));
    }
    reader.u32()?;
    reader.sized()?;
    if reader.u16()? != NULL {
        return Err(Malformed("it isn't sealed data but a key of HMAC or XOR"));
    }
    reader.sized()?;
    reader.end()
}
