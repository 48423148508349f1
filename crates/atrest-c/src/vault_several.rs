//! SEVERAL VAULTS AS ONE
//!
//! A volume may have a token for each of several vaults: any of them opens it alone, so one vault may be down. Or its
//! DEK is split among n vaults: any m of them open it together, so a stolen one opens nothing. docs/kms/quorum.md
//! compares the two.

use core::ffi::c_char;

use atrest::key::AnyVault;

use crate::failure::{Result, run};
use crate::status::atrest_status;
use crate::vault::{Vault, atrest_vault};

/// Makes one vault of `count` vaults: each of them unwraps its own wraps, and the first wraps. One that fails to answer
/// isn't asked again for a while, at most a minute. Add tokens for the others by atrest_volume_add_protector.
///
/// The handles stay the caller's. Errors: ATREST_ERR_INVALID_OPTION for none, or the same vault twice.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_any(
    vaults: *const *const atrest_vault,
    count: usize,
    out: *mut *mut atrest_vault,
) -> atrest_status {
    run(|| {
        let (vaults, out) = (slice!(vaults, count), out!(out));
        let vaults = vaults.iter().map(|&vault| Ok(handle!(vault).shared()));
        let any = AnyVault::new(vaults.collect::<Result<Vec<_>>>()?)?;
        out.handle(Vault::used(any, WHY));
        Ok(())
    })
}

/// Makes one vault of `count` vaults, at most 16, of which any `threshold`, at least 2, unwrap together; fewer learn
/// nothing. `id` is its own id, by which it knows its wraps, such as quorum:board. To wrap takes all of them.
///
/// `key_names` has the name of the key in each vault, or NULL where it is the same as the quorum's; it may be NULL as a
/// whole. The handles stay the caller's.
///
/// Errors: ATREST_ERR_INVALID_OPTION for another number, or the same vault twice; ATREST_ERR_INVALID_NAME;
/// ATREST_ERR_UNSUPPORTED if the library was built without the feature `quorum`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_quorum(
    id: *const c_char,
    threshold: usize,
    vaults: *const *const atrest_vault,
    key_names: *const *const c_char,
    count: usize,
    out: *mut *mut atrest_vault,
) -> atrest_status {
    run(|| {
        let (id, vaults, out) = (text!(id), slice!(vaults, count), out!(out));
        let names = if key_names.is_null() { &[] } else { slice!(key_names, count) };
        let mut members = Vec::new();
        for (at, &vault) in vaults.iter().enumerate() {
            let name = names.get(at).copied().unwrap_or(core::ptr::null());
            members.push((handle!(vault), optional_text!(name)));
        }
        out.handle(quorum(id, threshold, &members)?);
        Ok(())
    })
}

/// Why the library manages no keys of such a vault.
const WHY: &str = "the keys of several vaults are managed in each of them";

#[cfg(feature = "quorum")]
fn quorum(id: &str, threshold: usize, members: &[(&Vault, Option<&str>)]) -> Result<Vault> {
    use atrest_quorum::{Member, Quorum};
    let members = members.iter().map(|(vault, name)| {
        let member = Member::new(vault.shared());
        if let Some(name) = name { member.key(*name) } else { member }
    });
    Ok(Vault::used(Quorum::new(id, threshold, members)?, WHY))
}

#[cfg(not(feature = "quorum"))]
fn quorum(_: &str, _: usize, _: &[(&Vault, Option<&str>)]) -> Result<Vault> {
    let text = "this library was built without quorums; build it with the feature `quorum`";
    Err(crate::failure::Failure::new(crate::status::ATREST_ERR_UNSUPPORTED, text))
}
