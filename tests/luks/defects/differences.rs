//! The images that cryptsetup (2.6.1) judges differently from the library, with the reasons.

/// A reason, and the images that the library refuses but that cryptsetup opens by `open --test-passphrase
/// --volume-key-file`.
pub const CRYPTSETUP_OPENS: &[(&str, &[&str])] = &[
    (
        "it ends texts of the binary header itself, takes any bytes for text, and compares no more of the checksum than \
         the hash is long",
        &["checksum-with-bytes-behind-it", "uuid-without-end", "uuid-no-text"],
    ),
    (
        "it leaves ciphers to the kernel, which nobody asks before the volume is activated, and has null ciphers",
        &[
            "segment-cipher-null",
            "segment-cipher-null-xts",
            "segments-a-part-of-a-null-cipher",
            "segment-cipher-unknown",
            "segment-cipher-ecb",
            "segment-authenc",
            "segment-aead",
            "segment-cipher-of-loop-aes",
            "segment-iv-null",
            "copies-newer-secondary-bad",
            "copies-newer-primary-bad",
            "copies-equal-seqid-primary-bad",
            "copies-newest-seqid-of-all",
        ],
    ),
    (
        "it looks at no data, and so neither at how much of it there is nor at the numbers of its sectors",
        &[
            "device-cut-before-the-data",
            "device-cut-in-the-first-sector",
            "device-smaller-than-its-segment",
            "segment-offset-behind-the-device",
            "segment-offset-max",
            "segment-size-over-64-bits",
            "segment-iv-tweak-max",
            "segment-iv-tweak-over-64-bits",
            "segment-sector-size-1536",
            "segment-sector-size-8192",
        ],
    ),
    ("it takes the data of a segment at 0 for that of a detached header", &["segment-offset-0"]),
    (
        "it can do more with segments, or knows only when activating that it can't",
        &[
            "segment-type-unknown",
            "segment-type-linear",
            "segment-type-opal",
            "segment-integrity",
            "segment-flag-in-work",
            "segments-a-part-not-encrypted",
            "segments-of-two-ciphers",
            "segments-of-a-reencryption",
        ],
    ),
    (
        "it lets segments leave gaps and lie in any order, which the specification forbids (section 3.3), also where no \
         re-encryption moves data",
        &["segments-gap", "segments-out-of-order"],
    ),
    ("requirements that it does not know only keep it from activating", &["requirements-unknown"]),
    ("an offline re-encryption only keeps it from activating", &["requirements-offline-reencrypt"]),
    (
        "its JSON parser is not strict",
        &[
            "json-with-a-comma-too-many",
            "json-in-single-quotes",
            "json-with-a-control-character",
            "json-with-half-a-surrogate",
        ],
    ),
    (
        "it ends texts at a zero byte, and names too, so that it reads other ones than are there",
        &["json-with-a-zero-byte-in-a-text", "json-with-a-zero-byte-in-a-name"],
    ),
    (
        "of a name that stands twice it takes the last, and other readers the first",
        &[
            "json-segments-twice",
            "json-config-twice",
            "json-encryption-twice",
            "json-salt-twice",
            "json-keyslot-twice",
            "json-with-an-escaped-name-twice",
        ],
    ),
    (
        "it does not look at numbers of objects that nothing names, or at how many there are, though it can't reach them: \
         a token 32 makes it abort when a passphrase is tried",
        &[
            "id-with-a-leading-zero",
            "id-empty",
            "id-over-32-bits",
            "id-over-64-bits",
            "token-id-32",
            "keyslot-id-32",
            "digest-id-32",
            "tokens-33",
        ],
    ),
    (
        "it looks at most of a keyslot only when a passphrase is tried",
        &[
            "keyslot-key-size-0",
            "keyslot-priority-7",
            "keyslot-priority-negative",
            "keyslot-priority-string",
            "area-odd",
            "area-size-odd",
            "area-size-too-small",
            "area-key-size-0",
            "area-key-size-huge",
            "area-of-an-unknown-type-odd",
            "af-stripes-1",
            "af-stripes-0",
            "af-stripes-huge",
            "kdf-salt-no-base64",
            "kdf-salt-without-padding",
            "kdf-salt-short",
            "kdf-salt-long",
            "pbkdf2-iterations-0",
            "pbkdf2-iterations-negative",
            "argon2-time-0",
            "argon2-memory-0",
            "argon2-cpus-0",
        ],
    ),
    (
        "it takes any key for proven by a digest that it can't compute, or that has another length than it computes",
        &[
            "digest-without-digest",
            "digest-hash-unknown",
            "digest-hash-empty",
            "digest-salt-long",
            "digest-empty",
            "digest-short",
            "digest-longer-than-its-hash",
            "digest-long",
        ],
    ),
    ("it does not mind what is named twice", &["digest-of-a-segment-twice", "digest-of-a-keyslot-twice"]),
    (
        "it knows nothing of our tokens",
        &[
            "atrest-version-2",
            "atrest-version-string",
            "atrest-encryption-type",
            "atrest-key-size",
            "atrest-key-url",
            "atrest-algorithm",
            "atrest-wrapped-dek-empty",
            "atrest-wrapped-dek-long",
            "atrest-wrapped-dek-no-base64",
            "atrest-context-long",
            "atrest-data-size",
            "atrest-mac-short",
            "atrest-mac-long",
            "atrest-mac-wrong",
            "atrest-context-of-another",
            "atrest-without-version",
            "atrest-without-key-url",
            "atrest-without-wrapped-dek",
            "atrest-without-mac",
        ],
    ),
];

/// The images that keep cryptsetup at work until it is killed: it has no ceiling for iterations, and takes a negative
/// number of them for a huge one.
pub const CRYPTSETUP_HANGS: &[&str] = &["digest-iterations-huge", "digest-iterations-negative"];
