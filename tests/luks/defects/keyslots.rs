//! Defects of keyslots.

use serde_json::{Value, json};

use super::{AREA, Keyslot, Maker, Opens, Refused, base64};
use crate::common::header::COPY;

impl Maker {
    pub(super) fn keyslots(&mut self) {
        for (name, pointer, says) in [
            ("keyslot-without-type", "/keyslots/0/type", "its type is missing"),
            ("keyslot-without-key-size", "/keyslots/0/key_size", "its key_size is missing"),
            ("keyslot-without-area", "/keyslots/0/area", "it has no area object"),
            ("keyslot-without-af", "/keyslots/0/af", "it has no af object"),
            ("keyslot-without-kdf", "/keyslots/0/kdf", "it has no kdf object"),
            ("area-without-type", "/keyslots/0/area/type", "its area: its type is missing"),
            ("area-without-offset", "/keyslots/0/area/offset", "its offset is missing"),
            ("area-without-size", "/keyslots/0/area/size", "its size is missing"),
            ("area-without-encryption", "/keyslots/0/area/encryption", "its area: its encryption is missing"),
            ("area-without-key-size", "/keyslots/0/area/key_size", "its area: its key_size is missing"),
            ("af-without-type", "/keyslots/0/af/type", "its af: its type is missing"),
            ("af-without-stripes", "/keyslots/0/af/stripes", "its af: its stripes is missing"),
            ("af-without-hash", "/keyslots/0/af/hash", "its af: its hash is missing"),
            ("kdf-without-type", "/keyslots/0/kdf/type", "its kdf: its type is missing"),
            ("kdf-without-salt", "/keyslots/0/kdf/salt", "its salt is missing"),
            ("pbkdf2-without-hash", "/keyslots/0/kdf/hash", "its kdf: its hash is missing"),
            ("pbkdf2-without-iterations", "/keyslots/0/kdf/iterations", "its kdf: its iterations is missing"),
            ("argon2-without-time", "/keyslots/1/kdf/time", "its kdf: its time is missing"),
            ("argon2-without-memory", "/keyslots/1/kdf/memory", "its kdf: its memory is missing"),
            ("argon2-without-cpus", "/keyslots/1/kdf/cpus", "its kdf: its cpus is missing"),
        ] {
            self.gone(name, pointer, Refused(says));
        }
        let end = 2 * COPY + 2 * AREA;
        for (name, pointer, value, says) in [
            ("keyslot-key-size-0", "key_size", json!(0), "its key_size, 0, is not from 1"),
            ("keyslot-key-size-huge", "key_size", json!(4_294_967_295u32), "its key_size, 4294967295, is not"),
            ("keyslot-key-size-over-its-area", "key_size", json!(65), "is too small for 65 bytes of key"),
            ("keyslot-priority-7", "priority", json!(7), "its priority, 7, is none of"),
            ("keyslot-priority-negative", "priority", json!(-1), "its priority is missing or no integer"),
            ("keyslot-priority-string", "priority", json!("1"), "its priority is missing or no integer"),
            ("area-string", "area", json!("raw"), "it has no area object"),
            ("area-type-unknown", "area/type", json!("checksum"), "its area: its type is \"checksum\", not \"raw\""),
            ("area-in-the-header", "area/offset", json!("16384"), "(258048 bytes at 16384) is not within"),
            ("area-at-0", "area/offset", json!("0"), "(258048 bytes at 0) is not within"),
            ("area-in-the-data", "area/offset", json!("1048576"), "is not within the keyslots area"),
            ("area-reaches-into-the-data", "area/offset", json!("794624"), "is not within the keyslots area"),
            ("area-over-64-bits", "area/offset", json!("18446744073709547520"), "is not within the keyslots area"),
            ("area-odd", "area/offset", json!((end + 1).to_string()), "is no whole number of sectors"),
            ("area-size-odd", "area/size", json!("257999"), "is no whole number of sectors"),
            ("area-overlaps", "area/offset", json!("36864"), "its area overlaps another"),
            ("area-the-same", "area/offset", json!("290816"), "its area overlaps another"),
            ("area-size-0", "area/size", json!("0"), "its area, 0 bytes, is too small"),
            ("area-size-too-small", "area/size", json!("255488"), "its area, 255488 bytes, is too small"),
            ("area-size-max", "area/size", json!("18446744073709551615"), "is not within the keyslots area"),
            ("area-key-size-0", "area/key_size", json!(0), "its area: its key_size, 0, is not"),
            ("area-key-size-huge", "area/key_size", json!(1 << 30), "its area: its key_size, 1073741824, is not"),
            ("area-encryption-number", "area/encryption", json!(1), "its area: its encryption is missing"),
            ("af-type-unknown", "af/type", json!("luks9"), "its af: its type is \"luks9\""),
            ("af-stripes-1", "af/stripes", json!(1), "its af has 1 stripes, not 4000"),
            ("af-stripes-0", "af/stripes", json!(0), "its af has 0 stripes, not 4000"),
            ("af-stripes-huge", "af/stripes", json!(4_294_967_295u32), "its af has 4294967295 stripes"),
            ("kdf-salt-no-base64", "kdf/salt", json!("%%%%"), "its kdf: its salt is no Base64"),
            ("kdf-salt-without-padding", "kdf/salt", json!("AAAAAAAAAAAAAA"), "its kdf: its salt is no Base64"),
            ("kdf-salt-empty", "kdf/salt", json!(""), "its kdf: its salt has 0 bytes"),
            ("kdf-salt-short", "kdf/salt", json!(base64(7)), "its kdf: its salt has 7 bytes"),
            ("kdf-salt-long", "kdf/salt", json!(base64(1025)), "its kdf: its salt has 1025 bytes"),
            ("af-hash-empty", "af/hash", json!(""), "its af: its hash is empty"),
            ("pbkdf2-hash-empty", "kdf/hash", json!(""), "its kdf: its hash is empty"),
            ("area-cipher-empty", "area/encryption", json!(""), "its area: its encryption is empty"),
            ("pbkdf2-iterations-0", "kdf/iterations", json!(0), "its kdf: its iterations is 0"),
            ("pbkdf2-iterations-negative", "kdf/iterations", json!(-1), "its kdf: its iterations is missing or no"),
        ] {
            self.set(name, &format!("/keyslots/0/{pointer}"), value, Refused(says));
        }
        for (name, cost, says) in [
            ("argon2-time-0", "time", "its kdf: its time is 0"),
            ("argon2-memory-0", "memory", "its kdf: its memory is 0"),
            ("argon2-cpus-0", "cpus", "its kdf: its cpus is 0"),
        ] {
            self.set(name, &format!("/keyslots/1/kdf/{cost}"), json!(0), Refused(says));
        }
        let other = json!({"type": "other", "key_size": 0, "area": area(end, 4096)});
        self.set("keyslot-type-unknown", "/keyslots/2", other.clone(), Opens);
        for (name, size, says) in
            [("area-of-an-unknown-type-empty", 0, "is no whole number"), ("area-of-an-unknown-type-odd", 100, "whole")]
        {
            let mut slot = other.clone();
            slot["area"] = area(end, size);
            self.set(name, "/keyslots/2", slot, Refused(says));
        }
        self.reencrypt_keyslots(end);
    }

    /// The keyslot of a re-encryption. Only that keyslot and a digest reveal it.
    fn reencrypt_keyslots(&mut self, end: usize) {
        let slot = json!({
            "type": "reencrypt", "mode": "reencrypt", "direction": "forward", "key_size": 1,
            "area": {"type": "journal", "offset": end.to_string(), "size": "4096"},
        });
        for (name, pointer, value, says) in [
            ("reencrypt-key-size", "/key_size", json!(64), "its key_size is 64, not 1"),
            ("reencrypt-mode-unknown", "/mode", json!("destroy"), "its mode, \"destroy\", is not known"),
            ("reencrypt-direction-unknown", "/direction", json!("sideways"), "its direction, \"sideways\""),
            ("reencrypt-area-unknown", "/area/type", json!("raw"), "its area: its type, \"raw\", is not known"),
            ("reencrypt-checksum-without-hash", "/area/type", json!("checksum"), "its area: its hash is missing"),
            ("reencrypt-shift-missing", "/area/type", json!("datashift"), "its area: its shift_size is missing"),
        ] {
            let mut slot = slot.clone();
            *slot.pointer_mut(pointer).unwrap() = value;
            self.set(name, "/keyslots/2", slot, Refused(says));
        }
    }

    /// Well-formed keyslots that ask for more than a header may, or for unknown features.
    pub(super) fn costs(&mut self) {
        for (name, slot, pointer, value, says) in [
            ("pbkdf2-iterations-huge", 0, "/kdf/iterations", json!(4_294_967_295u32), "4294967295"),
            ("kdf-type-unknown", 0, "/kdf/type", json!("scrypt"), "the key derivation \"scrypt\", which is not known"),
            ("pbkdf2-hash-unknown", 0, "/kdf/hash", json!("md5"), "md5"),
            ("argon2-time-huge", 1, "/kdf/time", json!(4_294_967_295u32), "4294967295"),
            ("argon2-memory-huge", 1, "/kdf/memory", json!(4_294_967_295u32), "4294967295"),
            ("argon2-memory-less-than-its-lanes-need", 1, "/kdf/memory", json!(7), "8 KiB a lane, not 1, 4 and 7 KiB"),
            ("argon2-cpus-huge", 1, "/kdf/cpus", json!(4_294_967_295u32), "4294967295"),
            ("af-hash-unknown", 0, "/af/hash", json!("crc32"), "crc32"),
            ("area-cipher-null", 0, "/area/encryption", json!("cipher_null-ecb"), "cipher_null-ecb"),
            ("area-cipher-unknown", 0, "/area/encryption", json!("rot13-xts-plain64"), "rot13-xts-plain64"),
            ("area-cipher-mode-unknown", 0, "/area/encryption", json!("aes-ecb"), "aes-ecb"),
            ("area-key-size-of-no-cipher", 0, "/area/key_size", json!(63), "504 bits of key"),
        ] {
            self.json(name, Keyslot(says), |json| {
                let mut only = json["keyslots"][slot.to_string()].take();
                *only.pointer_mut(pointer).unwrap() = value.clone();
                json["keyslots"] = json!({"0": only});
                json["digests"]["0"]["keyslots"] = json!(["0"]);
            });
        }
        self.json("argon2i-time-huge", Keyslot("4294967295"), |json| {
            let mut only = json["keyslots"]["1"].take();
            only["kdf"]["type"] = json!("argon2i");
            only["kdf"]["time"] = json!(4_294_967_295u32);
            json["keyslots"] = json!({"0": only});
            json["digests"]["0"]["keyslots"] = json!(["0"]);
        });
    }
}

fn area(offset: usize, size: usize) -> Value {
    json!({"type": "raw", "offset": offset.to_string(), "size": size.to_string()})
}
