//! Defects of the binary headers, of two copies that differ, and of devices that are too short.

use serde_json::json;

use super::{DATA, Expect, Maker, Opens, Refused, SIZE};
use crate::common::header::{self, COPY, JSON};

// Where the fields of the binary header are (section 2.1).
const VERSION: usize = 7;
const HDR_SIZE: usize = 8;
const SEQID: usize = 16;
const LABEL: (usize, usize) = (24, 48);
const CSUM_ALG: (usize, usize) = (72, 32);
const UUID: (usize, usize) = (168, 40);
const SUBSYSTEM: (usize, usize) = (208, 48);
const HDR_OFFSET: usize = 256;
const CSUM: usize = 448;

fn put(copy: &mut [u8], at: usize, number: u64) {
    copy[at..at + 8].copy_from_slice(&number.to_be_bytes());
}

impl Maker {
    pub(super) fn binary_headers(&mut self) {
        self.copy("magic", Refused("carries no LUKS header"), |_, copy| copy[0] = b'l');
        self.copy("magic-of-the-other-copy", Refused("carries no LUKS header"), |which, copy| {
            copy[..4].copy_from_slice([b"SKUL", b"LUKS"][which]);
        });
        for (name, version, says) in [
            ("version-0", 0, "its version is 0"),
            ("version-1", 1, "LUKS1: its cipher"),
            ("version-3", 3, "its version is 3"),
            ("version-255", 255, "its version is 255"),
        ] {
            self.copy(name, Refused(says), |_, copy| copy[VERSION] = version);
        }
        for (name, size, says) in [
            ("hdr-size-0", 0, "its size, 0 bytes, is none of those"),
            ("hdr-size-4096", 4096, "its size, 4096 bytes, is none of those"),
            ("hdr-size-odd", 0x4001, "its size, 16385 bytes, is none of those"),
            ("hdr-size-too-large", 0x80_0000, "its size, 8388608 bytes, is none of those"),
            ("hdr-size-max", u64::MAX, "its size, 18446744073709551615 bytes, is none of those"),
            ("hdr-size-of-more-than-there-is", 0x8000, "its checksum does not match"),
        ] {
            self.copy(name, Refused(says), |_, copy| put(copy, HDR_SIZE, size));
        }
        self.copy("hdr-offset", Refused("it says that it is at offset 512"), |_, copy| put(copy, HDR_OFFSET, 512));
        self.copy("hdr-offset-of-the-other-copy", Refused("it says that it is at offset"), |which, copy| {
            put(copy, HDR_OFFSET, [COPY as u64, 0][which]);
        });
        self.raw("checksum", Refused("its checksum does not match"), |head| {
            head[CSUM] ^= 1;
            head[COPY + CSUM] ^= 1;
        });
        self.raw("checksum-of-other-json", Refused("its checksum does not match"), |head| {
            head[JSON + 10] ^= 1;
            head[COPY + JSON + 10] ^= 1;
        });
        self.raw("checksum-of-other-padding", Refused("its checksum does not match"), |head| {
            head[JSON - 1] ^= 1;
            head[2 * COPY - 1] ^= 1;
        });
        self.raw("checksum-with-bytes-behind-it", Refused("its checksum does not match"), |head| {
            head[CSUM + 32] = 1;
            head[COPY + CSUM + 32] = 1;
        });
        for (name, algorithm) in [("checksum-algorithm-unknown", "crc32"), ("checksum-algorithm-none", "")] {
            self.copy(name, Refused("its checksum algorithm is"), |_, copy| {
                copy[CSUM_ALG.0..CSUM_ALG.0 + 32].fill(0);
                copy[CSUM_ALG.0..CSUM_ALG.0 + algorithm.len()].copy_from_slice(algorithm.as_bytes());
            });
        }
        for (name, (at, len), says) in [
            ("checksum-algorithm-without-end", CSUM_ALG, "its checksum algorithm does not end"),
            ("uuid-without-end", UUID, "its uuid does not end"),
        ] {
            self.copy(name, Refused(says), |_, copy| copy[at..at + len].fill(b'5'));
        }
        for (name, at, says) in [
            ("checksum-algorithm-no-text", CSUM_ALG.0, "its checksum algorithm is not text"),
            ("uuid-no-text", UUID.0, "its uuid is not text"),
        ] {
            self.copy(name, Refused(says), |_, copy| copy[at] = 0xFF);
        }
        // Nothing depends on a label.
        self.copy("label-without-end", Opens, |_, copy| copy[LABEL.0..][..LABEL.1].fill(b'5'));
        self.copy("subsystem-without-end", Opens, |_, copy| copy[SUBSYSTEM.0..][..SUBSYSTEM.1].fill(b'5'));
        self.copy("label-no-text", Opens, |_, copy| copy[LABEL.0] = 0xFF);
        self.copy("subsystem-no-text", Opens, |_, copy| copy[SUBSYSTEM.0] = 0xFF);
    }

    /// Two copies that differ, or one alone.
    pub(super) fn copies(&mut self) {
        let bad = |json: &mut serde_json::Value| json["segments"]["0"]["encryption"] = json!("cipher_null-ecb");
        let mut two = |name, expect: Expect, seqids: [u64; 2], bad_copy: usize| {
            let mut head = self.sound.clone();
            let mut other = self.sound.clone();
            header::edit_json(&mut other, bad);
            let at = bad_copy * COPY;
            head[at..at + COPY].copy_from_slice(header::copy(&other, bad_copy));
            for (which, seqid) in seqids.into_iter().enumerate() {
                header::edit_copy(&mut head, which, |copy| put(copy, SEQID, seqid));
            }
            self.add(name, expect, head, DATA + SIZE);
        };
        two("copies-newer-secondary-bad", Refused("cipher_null-ecb"), [7, 8], 1);
        two("copies-newer-primary-bad", Refused("cipher_null-ecb"), [8, 7], 0);
        two("copies-older-secondary-bad", Opens, [8, 7], 1);
        two("copies-older-primary-bad", Opens, [7, 8], 0);
        two("copies-equal-seqid-primary-bad", Refused("cipher_null-ecb"), [7, 7], 0);
        two("copies-equal-seqid-secondary-bad", Opens, [7, 7], 1);
        two("copies-newest-seqid-of-all", Refused("cipher_null-ecb"), [7, u64::MAX], 1);
        self.copy("copies-both-with-the-last-seqid", Opens, |_, copy| put(copy, SEQID, u64::MAX));
        self.copy("copies-both-with-seqid-0", Opens, |_, copy| put(copy, SEQID, 0));

        self.raw("primary-only", Opens, |head| head[COPY..].fill(0));
        self.raw("both-copies-torn", Refused("its checksum does not match"), |head| {
            head[512..COPY].fill(0);
            head[COPY + 512..].fill(0);
        });
        let mut moved = self.sound.clone();
        moved.resize(0x8000 + COPY, 0);
        moved.copy_within(COPY..2 * COPY, 0x8000);
        moved[..0x8000].fill(0);
        self.add("secondary-at-another-place", Refused("it says that it is at offset 16384"), moved, DATA + SIZE);
        for (name, size) in [
            ("secondary-only-of-16-KiB", 0x4000),
            ("secondary-only-of-32-KiB", 0x8000),
            ("secondary-only-of-64-KiB", 0x1_0000),
            ("secondary-only-of-128-KiB", 0x2_0000),
            ("secondary-only-of-256-KiB", 0x4_0000),
            ("secondary-only-of-512-KiB", 0x8_0000),
            ("secondary-only-of-1-MiB", 0x10_0000),
            ("secondary-only-of-2-MiB", 0x20_0000),
            ("secondary-only-of-4-MiB", 0x40_0000),
        ] {
            let head = self.secondary(size, size);
            self.add(name, Opens, head, LARGE + SIZE);
        }
        let head = self.secondary(0x8000, 0x1_0000);
        self.add("secondary-only-of-another-size-than-its-place", Refused("has another size"), head, LARGE + SIZE);
    }

    /// A header whose copies have `size` bytes, without its primary copy; the secondary is at `place`.
    fn secondary(&self, place: usize, size: usize) -> Vec<u8> {
        let mut json = header::json(&self.sound, 1);
        json["keyslots"] = json!({});
        json["digests"]["0"]["keyslots"] = json!([]);
        json["segments"]["0"]["offset"] = json!(LARGE.to_string());
        json["config"]["json_size"] = json!((size - JSON).to_string());
        json["config"]["keyslots_size"] = json!((LARGE - 2 * size).to_string());
        let text = json.to_string();
        let mut copy = header::copy(&self.sound, 1)[..JSON].to_vec();
        copy.extend(text.as_bytes());
        copy.resize(size, 0);
        put(&mut copy, HDR_SIZE, size as u64);
        put(&mut copy, HDR_OFFSET, place as u64);
        header::seal(&mut copy);
        let mut head = vec![0; place];
        head.extend(copy);
        head
    }

    /// Devices that end before their header or data do.
    pub(super) fn devices(&mut self) {
        for (name, len, says) in [
            ("device-empty", 0, "the device has 0 bytes where 32768 are needed"),
            ("device-of-a-sector", 512, "the device has 512 bytes"),
            ("device-cut-in-the-primary", COPY - 1, "the device has 16383 bytes"),
            ("device-cut-behind-the-primary", COPY, "the device has 16384 bytes"),
            ("device-cut-in-the-secondary", 2 * COPY - 1, "the device has 32767 bytes"),
            ("device-cut-behind-the-secondary", 2 * COPY, "the device has 32768 bytes where 1049088 are needed"),
            ("device-cut-in-the-keyslots", DATA / 2, "the device has 524288 bytes where 1049088 are needed"),
            ("device-cut-before-the-data", DATA, "the device has 1048576 bytes where 1049088 are needed"),
            ("device-cut-in-the-first-sector", DATA + 511, "the device has 1049087 bytes where 1049088 are needed"),
        ] {
            let head = self.sound[..len.min(2 * COPY)].to_vec();
            self.add(name, Refused(says), head, len);
        }
        let mut head = self.sound.clone();
        header::edit_json(&mut head, |json| json["segments"]["0"]["size"] = json!((2 * SIZE).to_string()));
        self.add("device-smaller-than-its-segment", Refused("where 1081344 are needed"), head, DATA + SIZE);
    }
}

/// Where the data of a volume with a large header begins.
const LARGE: usize = 9 << 20;
