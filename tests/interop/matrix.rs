//! Versions, key derivations, key lengths, sector sizes, and headers attached and detached, each made by either side.

use atrest::key::{DekAlgorithm, HashAlgorithm, Kdf};
use atrest::volume::LuksVersion;
use atrest::volume::{KeyslotInfo, KeyslotOptions, ProtectorId};
use atrest::{Credential, Error, FormatOptions, OpenOptions, Protector, SectorSize};
use std::path::Path;

use crate::Cells;
use crate::common::python;
use crate::image::{CHEAP_ARGON2, CHEAP_PBKDF2, Image, dek, have_cryptsetup, noise};
use crate::models::{Run, Start, decrypt, dissect, encrypt};

/// How much data is compared, at the start of a volume and at its end.
const LEN: usize = 24 << 10;

#[derive(Clone, Copy, Debug)]
struct Config {
    version: LuksVersion,
    kdf: &'static str,
    key_bits: u32,
    sector_size: u32,
    detached: bool,
}

impl Config {
    fn all() -> Vec<Config> {
        let mut all = Vec::new();
        for detached in [false, true] {
            for key_bits in [256, 512] {
                let luks1 = (LuksVersion::Luks1, "pbkdf2", 512);
                let luks2 =
                    ["pbkdf2", "argon2i", "argon2id"].map(|kdf| [512, 4096].map(|s| (LuksVersion::Luks2, kdf, s)));
                for (version, kdf, sector_size) in [luks1].into_iter().chain(luks2.into_iter().flatten()) {
                    all.push(Config { version, kdf, key_bits, sector_size, detached });
                }
            }
        }
        all
    }

    fn kind(&self) -> &'static str {
        if self.version == LuksVersion::Luks1 { "luks1" } else { "luks2" }
    }

    /// The options of `cryptsetup` for the key derivation.
    fn cost(&self) -> Vec<&'static str> {
        match self.kdf {
            "pbkdf2" => CHEAP_PBKDF2.to_vec(),
            argon2 => [&["--pbkdf", argon2][..], &CHEAP_ARGON2].concat(),
        }
    }

    fn our_cost(&self) -> KeyslotOptions {
        KeyslotOptions::new().kdf(match self.kdf {
            "pbkdf2" => Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 },
            "argon2i" => Kdf::Argon2i { memory_kib: 32, passes: 4, lanes: 1 },
            _ => Kdf::Argon2id { memory_kib: 32, passes: 4, lanes: 1 },
        })
    }

    fn luks_format(&self, image: &Image) {
        let (bits, sector_size) = (self.key_bits.to_string(), self.sector_size.to_string());
        let (key, path, header) = (image.key("one"), image.path(), image.header());
        let mut args = vec!["luksFormat", "-q", "--type", self.kind(), "--cipher", "aes-xts-plain64"];
        args.extend(["--key-size", &bits, "--key-file", &key]);
        args.extend(self.cost());
        if self.version == LuksVersion::Luks2 {
            args.extend(["--sector-size", &sector_size]);
        }
        if self.detached {
            args.extend(["--header", &header]);
        }
        args.push(&path);
        image.cryptsetup(&args);
    }

    fn options(&self) -> FormatOptions {
        let algorithm = if self.key_bits == 512 { DekAlgorithm::Aes256Xts } else { DekAlgorithm::Aes128Xts };
        let sector_size = SectorSize::new(self.sector_size).unwrap();
        let options = FormatOptions::new().version(self.version).dek_algorithm(algorithm);
        options.sector_size(sector_size).keyslot(self.our_cost())
    }
}

/// Where the data is, as `luksDump` says it.
fn their_offset(image: &Image) -> u64 {
    let dump = image.cryptsetup(&["luksDump", &image.header()]);
    let number = |line: &str| line.split_whitespace().find_map(|word| word.parse::<u64>().ok()).unwrap();
    if let Some(line) = dump.lines().find(|line| line.starts_with("Payload offset:")) {
        return number(line) * 512;
    }
    number(dump.lines().find(|line| line.trim().starts_with("offset:")).unwrap())
}

#[test]
fn cryptsetup_makes_volumes_that_we_open() {
    let (true, Some(python), Some(_)) = (have_cryptsetup(), python("cryptography"), python("dissect.fve.luks")) else {
        return;
    };
    let mut cells = Cells::of("volumes of cryptsetup");
    let mut made = Vec::new();
    for config in Config::all() {
        let image = Image::with_header(config.detached);
        config.luks_format(&image);
        let key = image.their_dek("one");
        opens_as_it_should(&image, config, &key);
        cells.we_read();
        keyslots_by_both(&image, config, &mut cells);
        made.push((config, image, key));
    }
    data_both_ways(&python, &made, &mut cells);
    cells.print();
}

#[test]
fn we_make_volumes_that_cryptsetup_opens() {
    let (true, Some(python), Some(_)) = (have_cryptsetup(), python("cryptography"), python("dissect.fve.luks")) else {
        return;
    };
    let mut cells = Cells::of("volumes of ours");
    let mut made = Vec::new();
    for config in Config::all() {
        let image = Image::with_header(config.detached);
        let key = image.format("one", config.options());
        image.cryptsetup(&["isLuks", "--type", config.kind(), &image.header()]);
        assert!(image.theirs("one") && !image.theirs("two"), "{config:?}");
        assert_eq!(image.their_dek("one"), key, "{config:?}");
        opens_as_it_should(&image, config, &key);
        cells.they_read();
        keyslots_by_both(&image, config, &mut cells);
        made.push((config, image, key));
    }
    data_both_ways(&python, &made, &mut cells);
    cells.print();
}

/// The library opens the volume and finds the expected properties.
fn opens_as_it_should(image: &Image, config: Config, key: &[u8]) {
    let uuid = image.uuid();
    let check = |volume: &crate::image::Open| {
        assert_eq!(dek(&volume.dek()), key, "{config:?}");
        assert_eq!(volume.cipher().name(), "aes-xts-plain64", "{config:?}");
        assert_eq!(volume.sector_size().bytes(), config.sector_size, "{config:?}");
        assert_eq!(volume.data_offset(), their_offset(image), "{config:?}");
        assert_eq!(volume.header().uuid(), uuid, "{config:?}");
        assert_eq!(volume.header().format(), config.version, "{config:?}");
        let keyslots = volume.header().keyslots();
        assert_eq!((&*keyslots[0].kdf, keyslots[0].key_bits), (config.kdf, config.key_bits), "{config:?}");
    };
    image.ours("one", check);
    let path = image.key("one");
    image.ours_by(Credential::KeyFile(Path::new(&path)), OpenOptions::new(), check).unwrap();
    let wrong = image.refused("two", OpenOptions::new());
    assert!(matches!(wrong, Error::WrongPassphrase), "{config:?}: {wrong}");
}

/// Each side adds, changes and takes away, and the other sees it.
fn keyslots_by_both(image: &Image, config: Config, cells: &mut Cells) {
    // The size of sectors is nothing to a keyslot.
    if config.sector_size != 512 {
        return;
    }
    let header = image.header();
    let theirs = |args: &[&str]| image.cryptsetup(&[args, &config.cost()].concat());
    image.ours("one", |volume| volume.add_protector(Protector::Passphrase(b"two"), &config.our_cost()).unwrap());
    assert!(image.theirs("two"), "{config:?}");
    cells.they_read();
    let (one, two) = (image.key("one"), image.key("two"));
    theirs(&["luksAddKey", "-q", "--key-slot", "5", "--key-file", &one, &header, &image.key("three")]);
    assert!(image.opens("three"), "{config:?}");
    cells.we_read();
    theirs(&["luksChangeKey", "-q", "--key-file", &two, &header, &image.key("four")]);
    assert!(image.opens("four") && !image.opens("two"), "{config:?}");
    cells.we_read();
    let change = |volume: &crate::image::Open| {
        volume.change_keyslot(5, Protector::Passphrase(b"five"), &config.our_cost()).unwrap()
    };
    let five = image.ours("one", change);
    assert!(image.theirs("five") && !image.theirs("three"), "{config:?}");
    cells.they_read();
    image.cryptsetup(&["luksKillSlot", "-q", &header, &five.to_string()]);
    assert!(!image.opens("five"), "{config:?}");
    cells.we_read();
    let four = image.keyslot_of("four");
    image.with_our_header(|header| header.remove_protector(ProtectorId::Keyslot(four)).unwrap());
    assert!(!image.theirs("four") && image.theirs("one"), "{config:?}");
    cells.they_read();
}

/// OpenSSL and dissect.fve read our volumes, and we read those of OpenSSL.
fn data_both_ways(python: &str, made: &[(Config, Image, Vec<u8>)], cells: &mut Cells) {
    let (first, last, other) = (noise(LEN, 1), noise(LEN, 2), noise(LEN, 3));
    let mut runs = Vec::new();
    for (config, image, key) in made {
        let (offset, size) = image.ours("one", |volume| {
            let end = volume.size() - LEN as u64;
            volume.write_at(0, &first).unwrap();
            volume.write_at(end, &last).unwrap();
            (volume.data_offset(), volume.size())
        });
        assert_eq!(offset + size, image.bytes().len() as u64, "{config:?}");
        for at in [0, size - LEN as u64] {
            runs.push(Run {
                path: image.path(),
                offset: offset + at,
                len: LEN,
                key: key.clone(),
                cipher: "aes-xts-plain64".into(),
                sector_size: config.sector_size.into(),
                first: at / 512,
            });
        }
    }
    for (pair, (config, ..)) in decrypt(python, &runs).chunks(2).zip(made) {
        assert!(pair[0] == first && pair[1] == last, "{config:?}");
        cells.they_read();
    }
    let start = |(_, image, _): &(Config, Image, Vec<u8>)| Start {
        header: image.header(),
        data: image.path(),
        passphrase: "one".into(),
        len: LEN,
    };
    // dissect.fve 4.6 takes the length of the volume's key for that of a keyslot's area. Ours always has 512 bits.
    let ours = |keyslot: &KeyslotInfo| keyslot.area_key_bits == keyslot.key_bits;
    let readable = |(_, image, _): &&(Config, Image, Vec<u8>)| image.with_our_header(|h| h.keyslots().iter().all(ours));
    let readable: Vec<_> = made.iter().filter(readable).collect();
    let starts: Vec<Start> = readable.iter().map(|made| start(made)).collect();
    for (read, (config, ..)) in dissect(python, &starts).iter().zip(readable) {
        assert!(*read == first, "{config:?}");
        cells.they_read();
    }
    let writes: Vec<_> = runs.iter().skip(1).step_by(2).map(|run| (run.clone(), &other[..])).collect();
    encrypt(python, &writes);
    for (config, image, _) in made {
        image.ours("one", |volume| {
            let mut read = vec![0; LEN];
            volume.read_at(0, &mut read).unwrap();
            assert!(read == first, "{config:?}");
            volume.read_at(volume.size() - LEN as u64, &mut read).unwrap();
            assert!(read == other, "{config:?}");
        });
        cells.we_read();
    }
}
