//! LUKS2 images with one defect each, and named after it. All are made from one sound header, edited by the
//! specification and sealed again, as an attacker without keys can.

#![allow(dead_code)] // each test file uses its part

mod binary;
pub mod differences;
mod groups;
mod keyslots;
mod segments;
mod text;

use atrest::{Dek, Protector, Volume};
use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use crate::common::device::TestDevice;
use crate::common::header::{self, COPY};
use crate::common::vaults::MemoryVault;
use crate::common::volumes::{DATA, SIZE, options};
pub use Expect::{Keyslot, Opens, Refused};

/// The expected result for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It is refused for every credential, with an error whose text contains this.
    Refused(&'static str),
    /// Its DEK opens it. Its only keyslot is refused, before it costs anything, with an error whose text contains this.
    Keyslot(&'static str),
    /// Its DEK opens it: a copy is sound, or the oddity has no meaning.
    Opens,
}

/// An image and its defect.
pub struct Defect {
    pub name: &'static str,
    pub expect: Expect,
    head: Vec<u8>,
    len: usize,
}

impl Defect {
    /// The bytes of the device.
    pub fn image(&self) -> Vec<u8> {
        let mut image = self.head.clone();
        image.resize(self.len, 0);
        image
    }

    /// The bytes of the device up to where only zeros follow, and its size.
    pub fn sparse(&self) -> (&[u8], u64) {
        (&self.head, self.len as u64)
    }
}

/// All images and the DEK of them all. The first one, `sound`, has none.
pub fn defects() -> (Dek, Vec<Defect>) {
    let (dek, token, sound) = sound();
    let mut make = Maker { sound: sound.clone(), token, list: Vec::new() };
    make.add("sound", Opens, sound, DATA + SIZE);
    make.binary_headers();
    make.copies();
    make.devices();
    make.texts();
    make.configs();
    make.keyslots();
    make.costs();
    make.segments();
    make.digests();
    make.tokens();
    (dek, make.list)
}

/// A header of the library's with two more keyslots, a pbkdf2 and an argon2id one, which hold nothing. Its token is
/// removed: the token's MAC would refuse images that the checks under test accept. The token is given apart, with its
/// DEK.
fn sound() -> (Dek, Value, Vec<u8>) {
    let vault = MemoryVault::new("memory:one");
    let volume =
        Volume::format(TestDevice::new(vec![0; DATA + SIZE]), Protector::Vault(&vault, "disks"), &options()).unwrap();
    let mut head = volume.device().bytes();
    head.truncate(2 * COPY);
    let token = header::json(&head, 0)["tokens"]["0"].clone();
    let keyslot = |offset: usize, kdf: Value| {
        json!({
            "type": "luks2",
            "key_size": 64,
            "af": {"type": "luks1", "stripes": 4000, "hash": "sha256"},
            "area": {
                "type": "raw",
                "offset": offset.to_string(),
                "size": AREA.to_string(),
                "encryption": "aes-xts-plain64",
                "key_size": 64,
            },
            "kdf": kdf,
        })
    };
    header::edit_json(&mut head, |json| {
        let pbkdf2 = json!({"type": "pbkdf2", "hash": "sha256", "iterations": 1000, "salt": base64(32)});
        let argon2 = json!({"type": "argon2id", "time": 4, "memory": 32, "cpus": 1, "salt": base64(32)});
        json["keyslots"] = json!({"0": keyslot(2 * COPY, pbkdf2), "1": keyslot(2 * COPY + AREA, argon2)});
        json["digests"]["0"]["keyslots"] = json!(["0", "1"]);
        json["tokens"] = json!({});
    });
    ((*volume.dek()).clone(), token, head)
}

/// The size of a keyslot's area: 64 bytes in 4000 stripes, up to a multiple of 4096.
const AREA: usize = 63 * 4096;

/// Some bytes, in Base64.
fn base64(len: usize) -> String {
    Base64::encode_string(&vec![0x5A; len])
}

struct Maker {
    sound: Vec<u8>,
    token: Value,
    list: Vec<Defect>,
}

impl Maker {
    fn add(&mut self, name: &'static str, expect: Expect, head: Vec<u8>, len: usize) {
        assert!(self.list.iter().all(|defect| defect.name != name), "two defects are named {name}");
        self.list.push(Defect { name, expect, head, len });
    }

    /// An image with edited metadata.
    fn json(&mut self, name: &'static str, expect: Expect, edit: impl Fn(&mut Value)) {
        let mut head = self.sound.clone();
        header::edit_json(&mut head, edit);
        self.add(name, expect, head, DATA + SIZE);
    }

    /// One with another value, or a new one, at a JSON pointer.
    fn set(&mut self, name: &'static str, pointer: &str, value: Value, expect: Expect) {
        self.json(name, expect, |json| {
            let (parent, last) = pointer.rsplit_once('/').unwrap();
            json.pointer_mut(parent).expect(pointer)[last] = value.clone();
        });
    }

    /// An image for each missing target of a JSON pointer.
    fn gone(&mut self, name: &'static str, pointer: &str, expect: Expect) {
        self.json(name, expect, |json| {
            let (parent, last) = pointer.rsplit_once('/').unwrap();
            json.pointer_mut(parent).expect(pointer).as_object_mut().unwrap().remove(last).expect(pointer);
        });
    }

    /// An image whose JSON was edited as text.
    fn text(&mut self, name: &'static str, expect: Expect, edit: impl Fn(&str) -> Vec<u8>) {
        let text = edit(&header::json(&self.sound, 0).to_string());
        self.copy(name, expect, |_, copy| {
            copy[header::JSON..].fill(0);
            copy[header::JSON..header::JSON + text.len()].copy_from_slice(&text);
        });
    }

    /// An image in which each copy was edited as bytes. The edit gets the number of the copy.
    fn copy(&mut self, name: &'static str, expect: Expect, edit: impl Fn(usize, &mut [u8])) {
        let mut head = self.sound.clone();
        for which in 0..2 {
            header::edit_copy(&mut head, which, |copy| edit(which, copy));
        }
        self.add(name, expect, head, DATA + SIZE);
    }

    /// One edited as bytes, checksums included.
    fn raw(&mut self, name: &'static str, expect: Expect, edit: impl Fn(&mut [u8])) {
        let mut head = self.sound.clone();
        edit(&mut head);
        self.add(name, expect, head, DATA + SIZE);
    }
}
