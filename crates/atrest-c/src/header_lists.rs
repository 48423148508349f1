//! WHAT A HEADER LISTS
//!
//! Each function here calls `each` with `user` for every entry of a header, ordered by number. The arguments, and the
//! data they point to, are valid during the callback only. `each` returns ATREST_OK to continue; anything else ends the
//! list with ATREST_ERR_CALLBACK_FAILED.

use core::ffi::{c_char, c_void};
use core::ptr;
use std::ffi::CString;

use atrest::volume::{DigestInfo, KeyslotInfo, SegmentInfo, TokenInfo};

use crate::callback::{c_text, with_text};
use crate::failure::{CallbackFailed, Failure, Result, run};
use crate::header::atrest_header;
use crate::keyslots::c_priority;
use crate::status::atrest_status;

/// A keyslot, as the header describes it. Missing values are 0 or an empty text.
#[repr(C)]
pub struct atrest_keyslot_info {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// Its number.
    pub id: u32,
    /// ATREST_PRIORITY_*: when it is tried.
    pub priority: u32,
    /// "luks2" for a passphrase's, "luks1" in LUKS1, "reencrypt", or another type in the header. In BitLocker the kind of
    /// protector, such as "password", "recovery password" or "TPM and PIN".
    pub kind: *const c_char,
    /// The length of the key in it, in bits.
    pub key_bits: u32,
    /// The length of the key of its area, in bits.
    pub area_key_bits: u32,
    /// The KDF: "pbkdf2", "argon2i" or "argon2id".
    pub kdf: *const c_char,
    /// The hash of PBKDF2.
    pub hash: *const c_char,
    /// Iterations of PBKDF2.
    pub iterations: u32,
    /// Memory of Argon2 in KiB.
    pub memory_kib: u32,
    /// Passes of Argon2.
    pub passes: u32,
    /// Lanes of Argon2.
    pub lanes: u32,
    /// The salt of the KDF.
    pub salt: *const u8,
    /// The length of the salt.
    pub salt_len: usize,
    /// The cipher of its area, in dm-crypt's notation.
    pub cipher: *const c_char,
    /// The hash of the anti-forensic splitter.
    pub af_hash: *const c_char,
    /// The stripes of the anti-forensic splitter.
    pub af_stripes: u32,
    /// The number of digests that verify its key.
    pub digests_count: u32,
    /// Their numbers.
    pub digests: *const u32,
    /// The first byte of its area on the header's device.
    pub area_offset: u64,
    /// The size of its area in bytes.
    pub area_size: u64,
    /// 1 if its key is the data's key, by one of its digests; otherwise 0.
    pub holds_data_key: u32,
}

/// A token, as the header describes it.
#[repr(C)]
pub struct atrest_token_info {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// Its number.
    pub id: u32,
    /// The number of keyslots that it unlocks.
    pub keyslots_count: u32,
    /// Their numbers.
    pub keyslots: *const u32,
    /// Its type: "atrest" for a vault's.
    pub kind: *const c_char,
    /// For a sound token of a vault, the URL of the key that wraps the DEK; otherwise NULL.
    pub key_url: *const c_char,
    /// The whole token as JSON.
    pub json: *const c_char,
}

/// A segment of data, as the header describes it. Missing values are 0 or an empty text.
#[repr(C)]
pub struct atrest_segment_info {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// Its number.
    pub id: u32,
    /// The sector size in bytes.
    pub sector_size: u32,
    /// Its type: "crypt", "linear" for unencrypted data, "hidden" for BitLocker's own places, or another.
    pub kind: *const c_char,
    /// The cipher in dm-crypt's notation.
    pub cipher: *const c_char,
    /// Its first byte on the data's device.
    pub offset: u64,
    /// Its size in bytes. 0: to the end of the device.
    pub size: u64,
    /// The number of its first sector, in units of 512 bytes.
    pub iv_tweak: u64,
    /// Its flags, each with a final zero byte. Another zero byte ends the list.
    pub flags: *const c_char,
}

/// A digest that verifies a key, as the header describes it. Missing values are 0 or an empty text.
#[repr(C)]
pub struct atrest_digest_info {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// Its number; 0 in LUKS1, which has one.
    pub id: u32,
    /// The length in bits of the key that it verifies, if LUKS1's header, a keyslot or a token shows it.
    pub key_bits: u32,
    /// Its type: "pbkdf2", or empty for an unknown one.
    pub kind: *const c_char,
    /// The hash of PBKDF2.
    pub hash: *const c_char,
    /// Iterations of PBKDF2.
    pub iterations: u32,
    /// The number of keyslots that hold its key.
    pub keyslots_count: u32,
    /// Their numbers.
    pub keyslots: *const u32,
    /// The salt.
    pub salt: *const u8,
    /// The length of the salt.
    pub salt_len: usize,
    /// The digest itself.
    pub digest: *const u8,
    /// The length of the digest.
    pub digest_len: usize,
    /// The numbers of the segments encrypted with its key.
    pub segments: *const u32,
    /// The number of these segments. If 0, it is not the data's key.
    pub segments_count: u32,
}

/// Lists the keyslots.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_keyslots(
    header: *const atrest_header,
    each: Option<unsafe extern "C" fn(user: *mut c_void, keyslot: *const atrest_keyslot_info) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (header, each) = (handle!(header).snapshot(), each.ok_or_else(|| Failure::null("each"))?);
        header.keyslots.iter().try_for_each(|keyslot| {
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; its argument lives until
            // it returns.
            with_keyslot(keyslot, |info| unsafe { each(user, info) })
        })
    })
}

/// Lists the tokens; none in LUKS1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_tokens(
    header: *const atrest_header,
    each: Option<unsafe extern "C" fn(user: *mut c_void, token: *const atrest_token_info) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (header, each) = (handle!(header).snapshot(), each.ok_or_else(|| Failure::null("each"))?);
        header.tokens.iter().try_for_each(|token| {
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; its argument lives until
            // it returns.
            with_token(token, |info| unsafe { each(user, info) })
        })
    })
}

/// Lists the segments of data.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_segments(
    header: *const atrest_header,
    each: Option<unsafe extern "C" fn(user: *mut c_void, segment: *const atrest_segment_info) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (header, each) = (handle!(header).snapshot(), each.ok_or_else(|| Failure::null("each"))?);
        header.segments.iter().try_for_each(|segment| {
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; its argument lives until
            // it returns.
            with_segment(segment, |info| unsafe { each(user, info) })
        })
    })
}

/// Lists the digests that verify keys.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_digests(
    header: *const atrest_header,
    each: Option<unsafe extern "C" fn(user: *mut c_void, digest: *const atrest_digest_info) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (header, each) = (handle!(header).snapshot(), each.ok_or_else(|| Failure::null("each"))?);
        header.digests.iter().try_for_each(|digest| {
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; its argument lives until
            // it returns.
            with_digest(digest, |info| unsafe { each(user, info) })
        })
    })
}

/// Lists the features that a reader must know to open the volume. An unfinished reencryption is one of them. This
/// library opens no volume that has any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_requirements(
    header: *const atrest_header,
    each: Option<unsafe extern "C" fn(user: *mut c_void, requirement: *const c_char) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (header, each) = (handle!(header).snapshot(), each.ok_or_else(|| Failure::null("each"))?);
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the text lives until it returns.
        header.requirements.iter().try_for_each(|name| with_text(name, |name| unsafe { each(user, name) }))
    })
}

/// Lists flags of the header, such as "allow-discards", which a reader need not know.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_flags(
    header: *const atrest_header,
    each: Option<unsafe extern "C" fn(user: *mut c_void, flag: *const c_char) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (header, each) = (handle!(header).snapshot(), each.ok_or_else(|| Failure::null("each"))?);
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the text lives until it returns.
        header.flags.iter().try_for_each(|name| with_text(name, |name| unsafe { each(user, name) }))
    })
}

fn with_keyslot(keyslot: &KeyslotInfo, each: impl FnOnce(*const atrest_keyslot_info) -> atrest_status) -> Result {
    let [kind, kdf, hash] = [&keyslot.kind, &keyslot.kdf, &keyslot.hash].map(|text| c_text(text));
    let [cipher, af_hash] = [&keyslot.cipher, &keyslot.af_hash].map(|text| c_text(text));
    let argon2 = keyslot.kdf.starts_with("argon2");
    let info = atrest_keyslot_info {
        struct_size: size_of::<atrest_keyslot_info>(),
        id: keyslot.id,
        priority: c_priority(keyslot.priority),
        kind: kind.as_ptr(),
        key_bits: keyslot.key_bits,
        area_key_bits: keyslot.area_key_bits,
        kdf: kdf.as_ptr(),
        hash: hash.as_ptr(),
        iterations: if argon2 { 0 } else { keyslot.iterations },
        memory_kib: keyslot.memory_kib,
        passes: if argon2 { keyslot.iterations } else { 0 },
        lanes: keyslot.lanes,
        salt: keyslot.salt.as_ptr(),
        salt_len: keyslot.salt.len(),
        cipher: cipher.as_ptr(),
        af_hash: af_hash.as_ptr(),
        af_stripes: keyslot.af_stripes,
        digests_count: count(&keyslot.digests),
        digests: keyslot.digests.as_ptr(),
        area_offset: keyslot.area_offset,
        area_size: keyslot.area_size,
        holds_data_key: keyslot.holds_data_key.into(),
    };
    CallbackFailed::check(each(&raw const info))
}

fn with_token(token: &TokenInfo, each: impl FnOnce(*const atrest_token_info) -> atrest_status) -> Result {
    let kind = c_text(&token.kind);
    // Unchanged: no header has a zero byte in its JSON.
    let json = CString::new(&*token.json_bytes).unwrap_or_else(|_| c_text(&token.json));
    let key_url = token.key_url.as_deref().map(c_text);
    let info = atrest_token_info {
        struct_size: size_of::<atrest_token_info>(),
        id: token.id,
        keyslots_count: count(&token.keyslots),
        keyslots: token.keyslots.as_ptr(),
        kind: kind.as_ptr(),
        key_url: key_url.as_ref().map_or(ptr::null(), |url| url.as_ptr()),
        json: json.as_ptr(),
    };
    CallbackFailed::check(each(&raw const info))
}

fn with_segment(segment: &SegmentInfo, each: impl FnOnce(*const atrest_segment_info) -> atrest_status) -> Result {
    let (kind, cipher) = (c_text(&segment.kind), c_text(&segment.cipher));
    let mut flags: Vec<u8> = segment.flags.iter().flat_map(|flag| c_text(flag).into_bytes_with_nul()).collect();
    flags.push(0);
    let info = atrest_segment_info {
        struct_size: size_of::<atrest_segment_info>(),
        id: segment.id,
        sector_size: segment.sector_size,
        kind: kind.as_ptr(),
        cipher: cipher.as_ptr(),
        offset: segment.offset,
        size: segment.size.unwrap_or(0),
        iv_tweak: segment.iv_tweak,
        flags: flags.as_ptr().cast(),
    };
    CallbackFailed::check(each(&raw const info))
}

fn with_digest(digest: &DigestInfo, each: impl FnOnce(*const atrest_digest_info) -> atrest_status) -> Result {
    let (kind, hash) = (c_text(&digest.kind), c_text(&digest.hash));
    let info = atrest_digest_info {
        struct_size: size_of::<atrest_digest_info>(),
        id: digest.id,
        key_bits: digest.key_bits,
        kind: kind.as_ptr(),
        hash: hash.as_ptr(),
        iterations: digest.iterations,
        keyslots_count: count(&digest.keyslots),
        keyslots: digest.keyslots.as_ptr(),
        salt: digest.salt.as_ptr(),
        salt_len: digest.salt.len(),
        digest: digest.digest.as_ptr(),
        digest_len: digest.digest.len(),
        segments: digest.segments.as_ptr(),
        segments_count: count(&digest.segments),
    };
    CallbackFailed::check(each(&raw const info))
}

fn count(numbers: &[u32]) -> u32 {
    u32::try_from(numbers.len()).unwrap_or(u32::MAX)
}
