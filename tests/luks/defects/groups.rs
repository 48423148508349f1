//! Defects of digests and tokens.

use serde_json::{Value, json};

use super::{Maker, Opens, Refused, base64};

impl Maker {
    pub(super) fn digests(&mut self) {
        for (name, member, says) in [
            ("digest-without-type", "type", "digest 0: its type is missing"),
            ("digest-without-keyslots", "keyslots", "digest 0: its keyslots is missing"),
            ("digest-without-segments", "segments", "digest 0: its segments is missing"),
            ("digest-without-hash", "hash", "digest 0: its hash is missing"),
            ("digest-without-iterations", "iterations", "digest 0: its iterations is missing"),
            ("digest-without-salt", "salt", "digest 0: its salt is missing"),
            ("digest-without-digest", "digest", "digest 0: its digest is missing"),
        ] {
            self.gone(name, &format!("/digests/0/{member}"), Refused(says));
        }
        for (name, member, value, says) in [
            ("digest-type-unknown", "type", json!("argon2id"), "no digest of a known type"),
            ("digest-of-no-segment", "segments", json!([]), "segment 0: no digest proves its key"),
            ("digest-of-an-unknown-segment", "segments", json!(["0", "1"]), "it names \"1\" of the segments"),
            ("digest-of-a-segment-twice", "segments", json!(["0", "0"]), "it names \"0\" of the segments twice"),
            ("digest-of-a-segment-by-number", "segments", json!([0]), "its segments holds no string"),
            ("digest-of-a-segment-with-zeros", "segments", json!(["00"]), "it names \"00\" of the segments"),
            ("digest-of-an-unknown-keyslot", "keyslots", json!(["7"]), "it names \"7\" of the keyslots"),
            ("digest-of-a-keyslot-twice", "keyslots", json!(["0", "1", "0"]), "it names \"0\" of the keyslots twice"),
            ("digest-of-itself", "keyslots", json!(["digests"]), "it names \"digests\" of the keyslots"),
            ("digest-of-a-keyslots-object", "keyslots", json!({"0": "0"}), "its keyslots is missing or no array"),
            ("digest-hash-unknown", "hash", json!("md5"), "its digest uses the hash \"md5\""),
            ("digest-hash-empty", "hash", json!(""), "its digest uses the hash \"\""),
            ("digest-iterations-0", "iterations", json!(0), "it has no iterations"),
            ("digest-iterations-huge", "iterations", json!(4_294_967_295u32), "asks for 4294967295 iterations"),
            ("digest-iterations-negative", "iterations", json!(-1000), "its iterations is missing or no integer"),
            ("digest-salt-no-base64", "salt", json!("salt!"), "digest 0: its salt is no Base64"),
            ("digest-salt-long", "salt", json!(base64(1025)), "digest 0: its salt has 1025 bytes"),
            ("digest-salt-of-another", "salt", json!(base64(32)), "the key is not the key of this volume"),
            ("digest-empty", "digest", json!(""), "is shorter than 20 bytes"),
            ("digest-short", "digest", json!(base64(19)), "is shorter than 20 bytes"),
            ("digest-longer-than-its-hash", "digest", json!(base64(33)), "its digest has 33 bytes"),
            ("digest-long", "digest", json!(base64(1025)), "digest 0: its digest has 1025 bytes"),
            ("digest-no-base64", "digest", json!("=AAA"), "digest 0: its digest is no Base64"),
            ("digest-of-another-key", "digest", json!(base64(32)), "the key is not the key of this volume"),
        ] {
            self.set(name, &format!("/digests/0/{member}"), value, Refused(says));
        }
        self.json("digests-none", Refused("segment 0: no digest proves its key"), |json| json["digests"] = json!({}));
    }

    pub(super) fn tokens(&mut self) {
        let foreign = |keyslots: Value| json!({"type": "systemd-tpm2", "keyslots": keyslots});
        for (name, token, says) in [
            ("token-without-type", json!({"keyslots": []}), "token 0: its type is missing"),
            ("token-without-keyslots", json!({"type": "clevis"}), "token 0: its keyslots is missing"),
            ("token-of-an-unknown-keyslot", foreign(json!(["2"])), "token 0: it names \"2\" of the keyslots"),
            ("token-of-a-keyslot-by-number", foreign(json!([1])), "token 0: its keyslots holds no string"),
        ] {
            self.set(name, "/tokens/0", token, Refused(says));
        }
        self.set("token-of-a-keyslot-twice", "/tokens/0", foreign(json!(["1", "1"])), Opens);
        self.set("token-of-another-program", "/tokens/31", foreign(json!(["1"])), Opens);
        let ours = self.token.clone();
        for (name, member, value, says) in [
            ("atrest-version-2", "version", json!(2), "its version is 2"),
            ("atrest-version-string", "version", json!("1"), "its version is missing or no integer"),
            ("atrest-encryption-type", "encryption_type", json!("no-key"), "its encryption type, \"no-key\""),
            ("atrest-key-size", "key_size", json!(40), "its key_size, 40, is no length of a key"),
            ("atrest-key-url", "key_url", json!("memory:one"), "its atrest token"),
            ("atrest-algorithm", "algorithm", json!("ROT13"), "its algorithm, \"ROT13\""),
            ("atrest-wrapped-dek-empty", "wrapped_dek", json!(""), "0 bytes"),
            ("atrest-wrapped-dek-long", "wrapped_dek", json!(base64(1793)), "its wrapped_dek has 1793 bytes"),
            ("atrest-wrapped-dek-no-base64", "wrapped_dek", json!("?"), "its wrapped_dek is no Base64"),
            ("atrest-context-long", "context", json!(base64(1025)), "its context has 1025 bytes"),
            ("atrest-data-size", "data_size", json!("-1"), "its data_size, \"-1\", is no integer"),
            ("atrest-mac-short", "mac", json!(base64(31)), "its mac is shorter than 32"),
            ("atrest-mac-long", "mac", json!(base64(33)), "its mac has 33 bytes"),
            ("atrest-mac-wrong", "mac", json!(base64(32)), "the header's MAC does not match"),
            ("atrest-context-of-another", "context", json!(base64(7)), "the header's MAC does not match"),
        ] {
            let mut token = ours.clone();
            token[member] = value;
            self.set(name, "/tokens/0", token, Refused(says));
        }
        for (name, member, says) in [
            ("atrest-without-version", "version", "its version is missing"),
            ("atrest-without-key-url", "key_url", "its key_url is missing"),
            ("atrest-without-wrapped-dek", "wrapped_dek", "its wrapped_dek is missing"),
            ("atrest-without-mac", "mac", "its mac is missing"),
        ] {
            let mut token = ours.clone();
            token.as_object_mut().unwrap().remove(member);
            self.set(name, "/tokens/0", token, Refused(says));
        }
        // The MAC covers neither keyslots nor additions of others, so the token is unchanged.
        self.set("atrest-beside-keyslots", "/tokens/0", ours, Opens);
    }
}
