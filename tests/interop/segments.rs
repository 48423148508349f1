//! Segments that no tool writes itself: with other numbers or sizes, several, and unencrypted. `cryptsetup` agrees that
//! they are sound; OpenSSL is the model of their content.

use std::io::{IoSlice, IoSliceMut};

use atrest::{BlockDevice, Error, FormatOptions, OpenOptions, SectorSize};
use serde_json::{Value, json};

use crate::Cells;
use crate::common::{header, python};
use crate::image::{Image, cheap_pbkdf2, have_cryptsetup, noise};
use crate::models::{Run, decrypt, encrypt};

/// A part of the volume: its place and size. An encrypted part also has the number of its first sector and its sector
/// size.
#[derive(Clone, Copy)]
struct Part {
    offset: u64,
    len: usize,
    crypt: Option<(u64, u64)>,
}

const DATA: u64 = 16 << 20;
const KIB: u64 = 1 << 10;

fn crypt(offset: u64, len: usize, iv_tweak: u64, sector_size: u64) -> Part {
    Part { offset: DATA + offset, len, crypt: Some((iv_tweak, sector_size)) }
}

fn linear(offset: u64, len: usize) -> Part {
    Part { offset: DATA + offset, len, crypt: None }
}

/// Makes a volume of these parts, with an image of the necessary size. If `open`, the last part has no size.
fn made_of(parts: &[Part], open: bool) -> (Image, Vec<u8>) {
    let image = Image::with_header(false);
    let key = image.format("one", FormatOptions::new().keyslot(cheap_pbkdf2()));
    image.edit(|bytes| {
        bytes.resize(parts.iter().map(|part| part.offset as usize + part.len).max().unwrap(), 0);
        header::edit_json(bytes, |root| {
            let segments = parts.iter().enumerate().map(|(i, part)| {
                let dynamic = open && i == parts.len() - 1;
                let size = if dynamic { "dynamic".into() } else { part.len.to_string() };
                let mut segment = json!({ "type": "linear", "offset": part.offset.to_string(), "size": size });
                if let Some((iv_tweak, sector_size)) = part.crypt {
                    segment["type"] = json!("crypt");
                    segment["iv_tweak"] = json!(iv_tweak.to_string());
                    segment["encryption"] = json!("aes-xts-plain64");
                    segment["sector_size"] = json!(sector_size);
                }
                (i.to_string(), segment)
            });
            root["segments"] = Value::Object(segments.collect());
            let encrypted = parts.iter().enumerate().filter(|(_, part)| part.crypt.is_some());
            root["digests"]["0"]["segments"] = encrypted.map(|(i, _)| json!(i.to_string())).collect();
        });
    });
    (image, key)
}

fn run(image: &Image, key: &[u8], part: &Part) -> Option<Run> {
    let (first, sector_size) = part.crypt?;
    let cipher = "aes-xts-plain64".into();
    Some(Run { path: image.path(), offset: part.offset, len: part.len, key: key.to_vec(), cipher, sector_size, first })
}

fn cases() -> Vec<(&'static str, Vec<Part>, bool)> {
    vec![
        ("a tweak of 8", vec![crypt(0, 65536, 8, 4096)], true),
        ("a tweak over 2^32", vec![crypt(0, 65536, (1 << 32) - 64, 512)], true),
        ("a tweak near the end", vec![crypt(0, 65536, u64::MAX - 1000, 512)], false),
        ("a size", vec![crypt(0, 65536, 0, 512)], false),
        ("an offset of one sector more", vec![crypt(512, 65536, 3, 512)], true),
        ("two that follow", vec![crypt(0, 65536, 0, 512), crypt(64 * KIB, 32768, 128, 512)], true),
        (
            "three numbered anyhow",
            vec![crypt(0, 4096, 7, 4096), crypt(4 * KIB, 8192, 0, 4096), crypt(12 * KIB, 4096, 99, 4096)],
            false,
        ),
        ("sectors of two sizes", vec![crypt(0, 65536, 0, 512), crypt(64 * KIB, 65536, 128, 4096)], true),
        ("linear behind", vec![crypt(0, 65536, 0, 512), linear(64 * KIB, 32768)], true),
        ("linear in front", vec![linear(0, 8192), crypt(8 * KIB, 65536, 16, 4096)], true),
        ("linear between", vec![crypt(0, 8192, 0, 512), linear(8 * KIB, 4096), crypt(12 * KIB, 65536, 24, 512)], false),
    ]
}

#[test]
fn segments_as_a_model_reads_them() {
    let (true, Some(python)) = (have_cryptsetup(), python("cryptography")) else { return };
    let mut cells = Cells::of("segments");
    for (name, parts, open) in cases() {
        let (image, key) = made_of(&parts, open);
        // `cryptsetup` takes the first segment's key for the volume's.
        let first_is_linear = parts[0].crypt.is_none();
        image.cryptsetup(&["luksDump", &image.path()]);
        assert!(first_is_linear || image.theirs("one"), "{name}: cryptsetup refuses the header");
        let size: usize = parts.iter().map(|part| part.len).sum();
        let plain = noise(size, 10);
        let mut writes = Vec::new();
        let mut at = 0;
        for part in &parts {
            let piece = &plain[at..][..part.len];
            match run(&image, &key, part) {
                Some(run) => writes.push((run, piece)),
                None => image.edit(|bytes| bytes[part.offset as usize..][..part.len].copy_from_slice(piece)),
            }
            at += part.len;
        }
        encrypt(&python, &writes);

        let unencrypted = parts.iter().any(|part| part.crypt.is_none());
        if unencrypted {
            let error = image.refused("one", OpenOptions::new());
            assert!(matches!(&error, Error::UnsupportedHeader(what) if what.contains("linear")), "{name}: {error}");
        }
        let options = OpenOptions::new().hazmat_allow_unencrypted(unencrypted);
        let changed = noise(size, 11);
        let both = |volume: &crate::image::Open| {
            assert_eq!(volume.size(), size as u64, "{name}");
            let unit = parts.iter().filter_map(|part| part.crypt).map(|(_, size)| size).max().unwrap();
            assert_eq!(volume.sector_size(), SectorSize::new(unit as u32).unwrap(), "{name}");
            let mut read = vec![0; size];
            volume.read_at(0, &mut read).unwrap();
            assert!(read == plain, "{name}");
            // Also from the middle of one part to the middle of the next.
            let (from, to) = (4096, size - 4096);
            if from < to {
                let mut read = vec![0; to - from];
                volume.read_at(from as u64, &mut read).unwrap();
                assert!(read == plain[from..to], "{name}");
            }
            let middle = size / 2 / 4096 * 4096;
            let (first, second) = read.split_at_mut(middle);
            volume.read_vectored_at(0, &mut [IoSliceMut::new(first), IoSliceMut::new(second)]).unwrap();
            assert!(read == plain, "{name}");
            // One's own reads stay within a part.
            let mut starts = vec![0];
            starts.extend(parts.iter().scan(0, |at, part| {
                *at += part.len as u64;
                Some(*at)
            }));
            for (part, &at) in parts.iter().zip(&starts) {
                assert_eq!(volume.begin_read(at, part.len).unwrap(), part.offset, "{name}");
                volume.device().read_at(part.offset, &mut read[..part.len]).unwrap();
                volume.complete_read(at, &mut read[..part.len]).unwrap();
                assert!(read[..part.len] == plain[at as usize..][..part.len], "{name}");
            }
            if parts.len() > 1 {
                assert!(matches!(volume.begin_read(0, size), Err(Error::UnsupportedHeader(_))), "{name}");
            }
            // Each byte twice, in two ways.
            let (first, second) = changed.split_at(middle);
            volume.write_vectored_at(0, &[IoSlice::new(&plain[..middle]), IoSlice::new(second)]).unwrap();
            volume.write_in_place(0, &mut [first, second].concat()).unwrap();
            volume.write_at(0, first).unwrap();
            volume.write_vectored_at(middle as u64, &[IoSlice::new(second)]).unwrap();
        };
        image.ours_by(atrest::Credential::Passphrase(b"one"), options, both).unwrap_or_else(|e| panic!("{name}: {e}"));
        cells.we_read();

        let runs: Vec<Run> = parts.iter().filter_map(|part| run(&image, &key, part)).collect();
        let mut decrypted = decrypt(&python, &runs).into_iter();
        let bytes = image.bytes();
        let model: Vec<u8> = parts
            .iter()
            .flat_map(|part| match part.crypt {
                Some(_) => decrypted.next().unwrap(),
                None => bytes[part.offset as usize..][..part.len].to_vec(),
            })
            .collect();
        assert!(model == changed, "{name}");
        cells.they_read();
    }
    cells.print();
}

#[test]
fn segments_that_no_volume_has_are_refused() {
    if !have_cryptsetup() {
        return;
    }
    let (image, _) = made_of(&[linear(0, 65536)], true);
    for options in [OpenOptions::new(), OpenOptions::new().hazmat_allow_unencrypted(true)] {
        let error = image.refused("one", options);
        assert!(matches!(&error, Error::UnsupportedHeader(what) if what.contains("linear")), "{error}");
    }
    // `cryptsetup` takes a gap and another order; no tool but a re-encryption under way makes one.
    for parts in
        [[crypt(0, 4096, 0, 512), crypt(8 * KIB, 4096, 8, 512)], [crypt(4 * KIB, 4096, 0, 512), crypt(0, 4096, 8, 512)]]
    {
        let (image, _) = made_of(&parts, false);
        let error = image.refused("one", OpenOptions::new());
        let says = "the next one does not begin where it ends";
        assert!(matches!(&error, Error::InvalidHeader(what) if what.contains(says)), "{error}");
    }
    let (image, _) = made_of(&[crypt(0, 65536, u64::MAX - 100, 512)], false);
    let error = image.refused("one", OpenOptions::new());
    assert!(matches!(&error, Error::InvalidHeader(what) if what.contains("over 2^64")), "{error}");
}
