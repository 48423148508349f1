//! Defects of segments.

use serde_json::{Value, json};

use super::{DATA, Expect, Maker, Opens, Refused};

impl Maker {
    pub(super) fn segments(&mut self) {
        for (name, member, says) in [
            ("segment-without-type", "type", "segment 0: its type is missing"),
            ("segment-without-offset", "offset", "segment 0: its offset is missing"),
            ("segment-without-size", "size", "segment 0: its size is missing"),
            ("segment-without-iv-tweak", "iv_tweak", "segment 0: its iv_tweak is missing"),
            ("segment-without-encryption", "encryption", "segment 0: its encryption is missing"),
            ("segment-without-sector-size", "sector_size", "segment 0: its sector_size is missing"),
        ] {
            self.gone(name, &format!("/segments/0/{member}"), Refused(says));
        }
        for (name, member, value, says) in [
            ("segment-type-unknown", "type", json!("crypt-v2"), "its segment is of type \"crypt-v2\""),
            ("segment-type-linear", "type", json!("linear"), "none of its segments is encrypted"),
            ("segment-type-opal", "type", json!("hw-opal"), "its segment is of type \"hw-opal\""),
            ("segment-type-number", "type", json!(1), "its type is missing or no string"),
            (
                "segment-cipher-null",
                "encryption",
                json!("cipher_null-ecb"),
                "its cipher is \"cipher_null-ecb\", which encrypts nothing",
            ),
            ("segment-cipher-null-xts", "encryption", json!("cipher_null-xts-plain64"), "\"cipher_null-xts-plain64\""),
            ("segment-cipher-unknown", "encryption", json!("rot13-xts-plain64"), "its cipher is \"rot13-xts-plain64\""),
            ("segment-cipher-ecb", "encryption", json!("aes-ecb"), "takes no key of 512 bits"),
            ("segment-cipher-empty", "encryption", json!(""), "its cipher is \"\""),
            ("segment-iv-null", "encryption", json!("aes-xts-null"), "gives all sectors one IV"),
            ("segment-offset-odd", "offset", json!("1048577"), "its offset, 1048577, is no multiple of 512"),
            ("segment-offset-0", "offset", json!("0"), "within the header"),
            ("segment-offset-in-the-header", "offset", json!("16384"), "it begins at byte 16384, within the header"),
            ("segment-offset-in-the-keyslots", "offset", json!("65536"), "it begins at byte 65536, within the header"),
            ("segment-offset-behind-the-device", "offset", json!("1099511627776"), "where 1099511628288 are needed"),
            ("segment-offset-max", "offset", json!("18446744073709551104"), "the device has 1064960 bytes"),
            ("segment-size-0", "size", json!("0"), "its size, 0 bytes, is no whole number of sectors"),
            ("segment-size-odd", "size", json!("4097"), "its size, 4097 bytes, is no whole number of sectors"),
            ("segment-size-over-64-bits", "size", json!("18446744073709551104"), "is over 2^64"),
            ("segment-size-word", "size", json!("all"), "its size, \"all\", is no integer"),
            ("segment-size-number", "size", json!(4096), "its size is missing or no string"),
            ("segment-iv-tweak-max", "iv_tweak", json!("18446744073709551615"), "2^64"),
            ("segment-iv-tweak-negative", "iv_tweak", json!("-1"), "its iv_tweak, \"-1\", is no integer"),
            ("segment-sector-size-0", "sector_size", json!(0), "its sectors have 0 bytes"),
            ("segment-sector-size-256", "sector_size", json!(256), "its sectors have 256 bytes"),
            ("segment-sector-size-513", "sector_size", json!(513), "its sectors have 513 bytes"),
            ("segment-sector-size-1536", "sector_size", json!(1536), "its sectors have 1536 bytes"),
            ("segment-sector-size-8192", "sector_size", json!(8192), "its sectors have 8192 bytes"),
            ("segment-sector-size-max", "sector_size", json!(4_294_967_295u32), "its sectors have 4294967295 bytes"),
            ("segment-flags-string", "flags", json!("backup-final"), "its flags is missing or no array"),
            ("segment-flags-numbers", "flags", json!([1]), "its flags holds no string"),
            ("segment-flag-in-work", "flags", json!(["in-reencryption"]), "the flags in-reencryption"),
            ("segment-flag-backup", "flags", json!(["backup-final"]), "the flags backup-final"),
        ] {
            self.set(name, &format!("/segments/0/{member}"), value, Refused(says));
        }
        let integrity = json!({"type": "hmac(sha256)", "journal_encryption": "none", "journal_integrity": "none"});
        self.set("segment-integrity", "/segments/0/integrity", integrity, Refused("integrity tags (hmac(sha256))"));
        self.json("segment-size-of-half-a-sector", Refused("is no whole number of sectors"), |json| {
            json["segments"]["0"]["sector_size"] = json!(4096);
            json["segments"]["0"]["size"] = json!("512");
        });
        self.json("segment-iv-tweak-over-64-bits", Refused("number is over 2^64"), |json| {
            json["segments"]["0"]["iv_tweak"] = json!("18446744073709551615");
            json["segments"]["0"]["size"] = json!("512");
        });
        self.set("segment-iv-32-bits", "/segments/0/encryption", json!("aes-xts-plain"), Opens);
        self.set("segment-cipher-of-the-kernel", "/segments/0/encryption", json!("capi:xts(aes)-plain64"), Opens);
        for (name, cipher, says) in [
            ("segment-authenc", "capi:authenc(hmac(sha256),xts(aes))-random", "integrity tags"),
            ("segment-aead", "aes-gcm-random", "integrity tags"),
            ("segment-cipher-of-loop-aes", "twofish-cbc-lmk", "`cryptsetup open --type loopaes`"),
        ] {
            self.set(name, "/segments/0/encryption", json!(cipher), Refused(says));
        }
        self.many();
    }

    /// More segments than one, or none.
    fn many(&mut self) {
        self.json("segments-none", Refused("it has no segments"), |json| {
            json["segments"] = json!({});
            json["digests"]["0"]["segments"] = json!([]);
        });
        // Each segment as its number, offset in the data, size and flag.
        type Part = (&'static str, usize, Option<usize>, Option<&'static str>);
        let cases: [(&'static str, &[Part], Expect); 9] = [
            ("segments-two", &[("0", 0, Some(8192), None), ("1", 8192, None, None)], Opens),
            (
                "segments-gap",
                &[("0", 0, Some(4096), None), ("1", 8192, None, None)],
                Refused("does not begin where it ends"),
            ),
            (
                "segments-overlap",
                &[("0", 0, Some(8192), None), ("1", 4096, None, None)],
                Refused("does not begin where it ends"),
            ),
            (
                "segments-dynamic-first",
                &[("0", 0, None, None), ("1", 8192, None, None)],
                Refused("but is not the last"),
            ),
            (
                "segments-out-of-order",
                &[("0", 8192, Some(4096), None), ("1", 0, Some(8192), None)],
                Refused("does not begin"),
            ),
            (
                "segments-of-a-reencryption-overlap",
                &[("0", 8192, Some(8192), Some("in-reencryption")), ("1", 0, Some(8704), None)],
                Refused("segment 1: it overlaps another"),
            ),
            (
                "segments-with-a-hole",
                &[("0", 0, Some(8192), None), ("2", 8192, None, None)],
                Refused("it has no segment 1"),
            ),
            (
                "segments-backup-first",
                &[("0", 0, None, Some("backup-final")), ("1", 0, None, None)],
                Refused("it follows one that is only a backup"),
            ),
            (
                "segments-of-a-reencryption",
                &[
                    ("0", 0, Some(8192), None),
                    ("1", 8192, Some(4096), Some("in-reencryption")),
                    ("2", 12288, None, None),
                ],
                Refused("the flags in-reencryption"),
            ),
        ];
        for (name, parts, expect) in cases {
            self.json(name, expect, |json| {
                let crypt = json["segments"]["0"].take();
                json["segments"] = json!({});
                for (id, offset, size, flag) in parts {
                    let mut segment = crypt.clone();
                    segment["offset"] = json!((DATA + offset).to_string());
                    segment["size"] = size.map_or(json!("dynamic"), |size| json!(size.to_string()));
                    if let Some(flag) = flag {
                        segment["flags"] = json!([flag]);
                    }
                    json["segments"][*id] = segment;
                }
                json["digests"]["0"]["segments"] = parts.iter().map(|part| json!(part.0)).collect::<Value>();
            });
        }
        // Two segments in sound places, with the second one's members changed.
        for (name, change, says) in [
            ("segments-a-part-not-encrypted", json!({"type": "linear"}), "hazmat_allow_unencrypted"),
            ("segments-of-two-ciphers", json!({"encryption": "aes-xts-plain"}), "different ciphers or keys"),
            ("segments-a-part-of-a-null-cipher", json!({"encryption": "cipher_null-ecb"}), "cipher_null-ecb"),
        ] {
            self.json(name, Refused(says), |json| {
                let mut second = json["segments"]["0"].clone();
                json["segments"]["0"]["size"] = json!("8192");
                second["offset"] = json!((DATA + 8192).to_string());
                second.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
                json["segments"]["1"] = second;
                json["digests"]["0"]["segments"] = json!(["0", "1"]);
            });
        }
    }
}
