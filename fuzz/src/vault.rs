//! Vault files made by the letter of `docs/formats/vault.md`, without the library's own code.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use base64ct::{Base64, Encoding};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::seeds;

/// The folder of this process, with the root key file of the examples.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("root.key"), root_key()).unwrap();
    folder
});

pub fn path(name: &str) -> PathBuf {
    FOLDER.path().join(name)
}

fn root_key() -> Vec<u8> {
    let inputs = seeds::example("inputs");
    let text = inputs.lines().find_map(|line| line.strip_prefix("key-file ")).expect("an input of the examples").trim();
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// The body of an example of a vault file.
pub fn example(name: &str) -> Vec<u8> {
    let text = seeds::example(name);
    body(text.as_bytes()).to_vec()
}

/// All of a vault file but its last line.
pub fn body(text: &[u8]) -> &[u8] {
    let lines = text.strip_suffix(b"\n").unwrap();
    &text[..lines.iter().rposition(|&byte| byte == b'\n').unwrap() + 1]
}

/// A key that the root key file gives, with the salt that a body has.
pub fn key(body: &[u8], info: &str) -> [u8; 32] {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let salt = body["root"]["salt"].as_str().and_then(|salt| Base64::decode_vec(salt).ok()).unwrap_or_default();
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(Some(&salt), &root_key()).expand(info.as_bytes(), &mut key).unwrap();
    key
}

/// A vault file with this body, whose checksum and MAC are right unless told otherwise.
pub fn seal(body: &[u8], checksum: bool, mac: bool) -> Vec<u8> {
    let body = [body.strip_suffix(b"\n").unwrap_or(body), b"\n"].concat();
    let mut sum: [u8; 32] = Sha256::digest(&body).into();
    let key = key(&body, "atrest vault mac v1");
    let mut code: [u8; 32] =
        Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update(&body).finalize().into_bytes().into();
    sum[0] ^= u8::from(!checksum);
    code[0] ^= u8::from(!mac);
    let (sum, code) = (Base64::encode_string(&sum), Base64::encode_string(&code));
    [&body[..], format!("{{\"sha256\":\"{sum}\",\"mac\":\"{code}\"}}\n").as_bytes()].concat()
}

/// Writes to a file that is there, or makes it.
pub fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

pub fn read(path: &Path) -> Option<Vec<u8>> {
    std::fs::read(path).ok()
}
