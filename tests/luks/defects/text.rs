//! Defects of the JSON as text, of members that every object has (numbers, names, top-level objects), and of the config
//! object.

use serde_json::{Value, json};

use super::{Expect, Maker, Opens, Refused};
use crate::common::header::{COPY, JSON};

/// The most bytes of the JSON with the zero byte behind it.
const ROOM: usize = COPY - JSON;

impl Maker {
    pub(super) fn texts(&mut self) {
        let unsound = Refused("its JSON is not sound");
        self.text("json-empty", unsound, |_| Vec::new());
        self.text("json-none", unsound, |_| b"LUKS".into());
        self.text("json-array", Refused("it is no object"), |text| format!("[{text}]").into());
        self.text("json-string", Refused("it is no object"), |_| b"\"keyslots\"".into());
        self.text("json-null", Refused("it is no object"), |_| b"null".into());
        self.text("json-cut-in-half", unsound, |text| text[..text.len() / 2].into());
        self.text("json-without-its-last-brace", unsound, |text| text[..text.len() - 1].into());
        self.text("json-twice", unsound, |text| format!("{text}{text}").into());
        self.text("json-and-a-comment", unsound, |text| format!("/* sound */{text}").into());
        self.text("json-with-a-comma-too-many", unsound, |text| format!("{},}}", &text[..text.len() - 1]).into());
        self.text("json-with-a-byte-order-mark", unsound, |text| format!("\u{feff}{text}").into());
        self.text("json-in-single-quotes", unsound, |text| text.replace('"', "'").into());
        self.text("json-of-another-encoding", Refused("its area: its encryption is missing"), |text| {
            let mut bytes = text.replacen("crypt", "cr?pt", 1).into_bytes();
            let at = bytes.iter().position(|&byte| byte == b'?').unwrap();
            bytes[at] = 0xFF;
            bytes
        });
        self.text("json-with-a-control-character", Refused("keyslot 0: control character"), |text| {
            text.replacen("luks2", "luks2\u{1}", 1).into()
        });
        self.text("json-with-half-a-surrogate", Refused("keyslot 0: "), |text| {
            text.replacen("luks2", "luks2\\ud800", 1).into()
        });
        self.text("json-with-nan", Refused("its stripes is missing or no integer"), |text| {
            text.replacen("4000", "NaN", 1).into()
        });
        self.text("json-with-a-hexadecimal-number", Refused("its stripes is missing"), |text| {
            text.replacen("4000", "0xfa0", 1).into()
        });
        self.text("json-nested-as-deep-as-it-has-room", unsound, |_| vec![b'['; ROOM - 1]);
        self.text("json-with-a-member-nested-deep", unsound, |text| {
            format!("{{\"x\":{}{},{}", "[".repeat(200), "]".repeat(200), &text[1..]).into()
        });
        for (name, levels, expect) in [
            ("json-nested-in-32-levels", 32, Opens),
            ("json-nested-in-33-levels", 33, Refused("it is nested in more than 32 levels")),
            ("json-nested-in-100-levels", 100, Refused("it is nested in more than 32 levels")),
        ] {
            self.text(name, expect, |text| {
                let n = levels - 1;
                format!("{{\"x\":{}{},{}", "[".repeat(n), "]".repeat(n), &text[1..]).into()
            });
        }
        self.text("json-with-a-zero-byte-in-a-text", Refused("a text holds a zero byte"), |text| {
            text.replacen("\"crypt\"", "\"crypt\\u0000linear\"", 1).into()
        });
        self.text("json-with-a-zero-byte-in-a-name", Refused("\"config\" occurs twice"), |text| {
            text.replacen("\"config\":", "\"config\\u0000\":{},\"config\":", 1).into()
        });
        self.text("json-without-an-end", Refused("does not end with a zero byte"), |text| {
            format!("{text:ROOM$}").into()
        });
        self.text("json-and-bytes-behind-it", Refused("bytes after the end"), |text| format!("{text}\0x").into());
        self.text("json-and-a-byte-at-the-end-of-its-area", Refused("bytes after the end"), |text| {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(ROOM - 1, 0);
            bytes.push(b'x');
            bytes
        });
        let twice = |name: &str, value: &str| format!("\"{name}\":{value},\"{name}\":");
        for (at, name, value, says) in [
            ("json-segments-twice", "segments", "{}", "\"segments\" occurs twice"),
            ("json-config-twice", "config", "{}", "\"config\" occurs twice"),
            ("json-encryption-twice", "encryption", "\"cipher_null-ecb\"", "\"encryption\" occurs twice"),
            ("json-salt-twice", "salt", "\"\"", "\"salt\" occurs twice"),
            ("json-keyslot-twice", "1", "{}", "\"1\" occurs twice"),
        ] {
            self.text(at, Refused(says), |text| text.replacen(&format!("\"{name}\":"), &twice(name, value), 1).into());
        }
        self.text("json-with-an-escaped-name-twice", Refused("\"config\" occurs twice"), |text| {
            text.replacen("\"config\":", "\"c\\u006fnfig\":{},\"config\":", 1).into()
        });
        self.top_level();
        self.numbers();
    }

    /// Top-level objects, and the names of objects in them.
    fn top_level(&mut self) {
        for (name, group, says) in [
            ("keyslots-missing", "keyslots", "it has no keyslots object"),
            ("tokens-missing", "tokens", "it has no tokens object"),
            ("segments-missing", "segments", "it has no segments object"),
            ("digests-missing", "digests", "it has no digests object"),
            ("config-missing", "config", "it has no config object"),
        ] {
            self.gone(name, &format!("/{group}"), Refused(says));
        }
        for (name, group, says) in [
            ("keyslots-array", "keyslots", "it has no keyslots object"),
            ("tokens-array", "tokens", "it has no tokens object"),
            ("segments-array", "segments", "it has no segments object"),
            ("digests-array", "digests", "it has no digests object"),
            ("config-array", "config", "it has no config object"),
        ] {
            self.set(name, &format!("/{group}"), json!([]), Refused(says));
        }
        let token = json!({"type": "systemd-tpm2", "keyslots": []});
        for (name, id, says) in [
            ("id-with-a-leading-zero", "00", "\"00\" is no number"),
            ("id-negative", "-1", "\"-1\" is no number"),
            ("id-with-a-sign", "+1", "\"+1\" is no number"),
            ("id-empty", "", "\"\" is no number"),
            ("id-word", "first", "\"first\" is no number"),
            ("id-with-a-space", " 1", "\" 1\" is no number"),
            ("id-hexadecimal", "0x1", "\"0x1\" is no number"),
            ("id-fraction", "1.0", "\"1.0\" is no number"),
            ("id-over-32-bits", "4294967296", "\"4294967296\" is no number"),
            ("id-over-64-bits", "18446744073709551616", "\"18446744073709551616\" is no number"),
            ("token-id-32", "32", "\"32\" is no number of one of its tokens"),
        ] {
            self.set(name, &format!("/tokens/{id}"), token.clone(), Refused(says));
        }
        let moved = |group: &'static str, from: &'static str, to: &'static str| {
            move |json: &mut Value| {
                let object = json[group].as_object_mut().unwrap().remove(from).unwrap();
                json[group][to] = object;
            }
        };
        self.json("keyslot-id-32", Refused("\"32\" is no number of one of its keyslots"), |json| {
            moved("keyslots", "1", "32")(json);
            json["digests"]["0"]["keyslots"] = json!(["0", "32"]);
        });
        self.json("digest-id-32", Refused("\"32\" is no number"), moved("digests", "0", "32"));
        self.json("segment-id-32", Refused("\"32\" is no number"), |json| {
            moved("segments", "0", "32")(json);
            json["digests"]["0"]["segments"] = json!(["32"]);
        });
        self.json("tokens-33", Refused("it has 33 tokens, more than 32"), |json| {
            for id in 0..33 {
                json["tokens"][id.to_string()] = token.clone();
            }
        });
        self.set("keyslot-number", "/keyslots/1", json!(1), Refused("keyslots 1 is no object"));
        self.set("segment-null", "/segments/0", json!(null), Refused("segments 0 is no object"));
        self.set("digest-array", "/digests/0", json!([]), Refused("digests 0 is no object"));
        self.set("token-string", "/tokens/0", json!("atrest"), Refused("tokens 0 is no object"));
        self.set("member-unknown", "/hints", json!({"color": 1.5}), Opens);
    }

    /// Integers, and 64-bit integers as strings.
    fn numbers(&mut self) {
        let integer = Refused("its sector_size is missing or no integer of 32 bits");
        for (name, value) in [
            ("integer-fraction", json!(512.5)),
            ("integer-with-a-point", json!(512.0)),
            ("integer-negative", json!(-512)),
            ("integer-string", json!("512")),
            ("integer-over-32-bits", json!(4_294_967_808u64)),
            ("integer-over-64-bits", json!(1.8446744073709552e19)),
            ("integer-null", json!(null)),
            ("integer-true", json!(true)),
        ] {
            self.set(name, "/segments/0/sector_size", value, integer);
        }
        let uint64 = |value: &str| -> Expect {
            if value.is_empty() { Refused("its offset, \"\", is no") } else { Refused("is no integer of 64 bits") }
        };
        for (name, value) in [
            ("uint64-with-a-sign", "+1048576"),
            ("uint64-negative", "-1048576"),
            ("uint64-with-a-space-before", " 1048576"),
            ("uint64-with-a-space-behind", "1048576 "),
            ("uint64-hexadecimal", "0x100000"),
            ("uint64-exponent", "1e6"),
            ("uint64-fraction", "1048576.0"),
            ("uint64-over-64-bits", "18446744073710600192"),
            ("uint64-empty", ""),
        ] {
            self.set(name, "/segments/0/offset", json!(value), uint64(value));
        }
        self.set(
            "uint64-number",
            "/segments/0/offset",
            json!(1_048_576),
            Refused("its offset is missing or no string"),
        );
    }

    pub(super) fn configs(&mut self) {
        self.gone("json-size-missing", "/config/json_size", Refused("its json_size is missing"));
        for (name, size) in [("json-size-small", "12287"), ("json-size-0", "0"), ("json-size-of-all", "16384")] {
            self.set(name, "/config/json_size", json!(size), Refused("does not match its binary header"));
        }
        self.gone("keyslots-size-missing", "/config/keyslots_size", Refused("its keyslots_size is missing"));
        let multiple = Refused("is not a multiple of 4096 up to 128 MiB");
        self.set("keyslots-size-odd", "/config/keyslots_size", json!("1015807"), multiple);
        self.set("keyslots-size-of-sectors", "/config/keyslots_size", json!("1015296"), multiple);
        self.set("keyslots-size-huge", "/config/keyslots_size", json!("134221824"), multiple);
        self.set("keyslots-size-max", "/config/keyslots_size", json!("18446744073709547520"), multiple);
        let overlap = Refused("it begins at byte 1048576, within the header or its keyslots");
        self.set("keyslots-size-into-the-data", "/config/keyslots_size", json!("1019904"), overlap);
        let outside = Refused("is not within the keyslots area");
        self.set("keyslots-size-0", "/config/keyslots_size", json!("0"), outside);
        self.set("keyslots-size-too-small-for-them", "/config/keyslots_size", json!("512000"), outside);

        self.set("flags-object", "/config/flags", json!({}), Refused("its flags is missing or no array"));
        self.set("flags-numbers", "/config/flags", json!([1]), Refused("its flags holds no string"));
        self.set("flags-unknown", "/config/flags", json!(["allow-everything"]), Opens);

        let unknown = Refused("its requirements are not known");
        self.set("requirements-string", "/config/requirements", json!("opal"), unknown);
        self.set("requirements-without-mandatory", "/config/requirements", json!({"optional": ["opal"]}), Opens);
        self.set("requirements-of-nothing", "/config/requirements", json!({}), Opens);
        let requirements = "/config/requirements";
        let mandatory = |value: Value| json!({"mandatory": value});
        self.set("requirements-mandatory-string", requirements, mandatory(json!("opal")), Refused("its mandatory is"));
        self.set("requirements-numbers", requirements, mandatory(json!([1])), Refused("its mandatory holds no string"));
        self.set("requirements-array", requirements, json!(["opal"]), Refused("it requires opal"));
        for (name, value, says) in [
            ("requirements-unknown", "time-travel", "it requires time-travel"),
            ("requirements-online-reencrypt", "online-reencrypt", "it requires online-reencrypt"),
            ("requirements-online-reencrypt-v2", "online-reencrypt-v2", "its re-encryption has no keyslot"),
            ("requirements-offline-reencrypt", "offline-reencrypt", "it requires offline-reencrypt"),
        ] {
            self.set(name, requirements, mandatory(json!([value])), Refused(says));
        }
        self.set("requirements-none", requirements, mandatory(json!([])), Opens);
    }
}
