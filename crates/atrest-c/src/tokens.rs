//! TOKENS FOR PROGRAMS ON LIBCRYPTSETUP
//!
//! Programs on libcryptsetup open a volume by a token only if it names a keyslot, whose passphrase a plugin for that token
//! finds. These make such a keyslot for the tokens of vaults, of type "atrest", and find its passphrase. The passphrase
//! follows from the DEK: only a caller whose vault unwraps the DEK can find it. docs/integrate/linux.md has the plugin.

use core::ffi::{c_char, c_void};

use atrest::volume::{TokenOptions, token_passphrase};

use crate::failure::run;
use crate::status::atrest_status;
use crate::structs::SizedStruct;
use crate::vault::atrest_vault;
use crate::volume::atrest_volume;

/// The length of a token's passphrase: 64 hexadecimal digits.
pub const ATREST_TOKEN_PASSPHRASE_LEN: usize = 64;

/// Options of atrest_token_passphrase.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_token_options {
    /// Set by ATREST_TOKEN_OPTIONS_INIT.
    pub struct_size: usize,
    /// The name of the key that must wrap the DEK. NULL: any key of the vault.
    pub expected_key: *const c_char,
}

// SAFETY: `struct_size` is the first member, and pointers may be NULL.
unsafe impl SizedStruct for atrest_token_options {}

/// Lets programs on libcryptsetup open the volume by its vaults, with a plugin for tokens of type "atrest", and puts the number
/// of the keyslot that is for them into `id`. The keyslot is made unless there is one, and all vaults' tokens name it. Its
/// passphrase follows from the DEK: it is no way in of its own. If it is killed at any instant, the tokens name the keyslot or
/// not; they open the volume here either way. To undo it, remove the keyslot.
///
/// Errors: ATREST_ERR_NO_SUCH_PROTECTOR if no vault opens the volume; otherwise as atrest_volume_add_protector.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_bind_tokens(volume: *mut atrest_volume, id: *mut u32) -> atrest_status {
    run(|| {
        let (volume, id) = (handle!(volume), out!(id));
        id.set(volume.bind_tokens()?);
        Ok(())
    })
}

/// Finds the passphrase of the keyslot that atrest_volume_bind_tokens has made, for a program that has read a header of LUKS2
/// itself and goes on with the keyslot: ATREST_TOKEN_PASSPHRASE_LEN bytes without a zero byte at the end. The caller must wipe
/// them: THEY OPEN THE VOLUME.
///
/// `json` is the metadata of the header as that program holds it, `uuid` its UUID, `token` the number of the token to open it
/// by, and `vault` the vault to ask. The MAC of the token proves the metadata before the passphrase is given out: a program
/// that then uses the segments of these metadata uses those that an owner of the DEK wrote. `options` may be NULL.
///
/// Errors: ATREST_ERR_NO_SUCH_PROTECTOR if there is no such token of type "atrest", or it names no keyslot;
/// ATREST_ERR_NOT_THIS_VAULT; ATREST_ERR_OTHER_KEY; ATREST_ERR_TAMPERED_HEADER; ATREST_ERR_INVALID_HEADER;
/// ATREST_ERR_UNSUPPORTED_HEADER; ATREST_ERR_BUFFER_TOO_SHORT, before the vault is asked; the vault's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_token_passphrase(
    json: *const c_void,
    json_len: usize,
    uuid: *const c_char,
    token: u32,
    vault: *const atrest_vault,
    options: *const atrest_token_options,
    passphrase: *mut c_void,
    passphrase_cap: usize,
    passphrase_len: *mut usize,
) -> atrest_status {
    run(|| {
        let (json, uuid, vault) = (bytes!(json, json_len), text!(uuid), handle!(vault));
        let mut made = TokenOptions::new();
        if !options.is_null() {
            let options = structure!(options);
            if !options.expected_key.is_null() {
                made = made.expect_key(text!(options.expected_key));
            }
        }
        let out = bytes_out!(passphrase, passphrase_cap, passphrase_len);
        out.check(ATREST_TOKEN_PASSPHRASE_LEN)?;
        out.put(token_passphrase(json, uuid, token, vault.get(), &made)?.expose())
    })
}
