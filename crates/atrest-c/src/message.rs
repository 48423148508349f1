//! MESSAGES

use core::ffi::c_char;

use atrest::managed::Rule;

use crate::failure::{self, run};
use crate::status::atrest_status;

/// A customer's vault has soft delete and purge protection (16).
pub const ATREST_RULE_VAULT_PROTECTION: u32 = 16;
/// A set, its vault and its resources are in one region (18).
pub const ATREST_RULE_ONE_REGION: u32 = 18;
/// A set is deleted once nothing is in it (19).
pub const ATREST_RULE_SET_IN_USE: u32 = 19;
/// What is under the platform's key alone has no set (20).
pub const ATREST_RULE_PLATFORM_KEY_HAS_NO_SET: u32 = 20;
/// After a rotation has failed, the set rotates again once its error is cleared (32).
pub const ATREST_RULE_ROTATION_FAILED: u32 = 32;
/// A set and its vault are of one tenant (43).
pub const ATREST_RULE_ONE_TENANT: u32 = 43;
/// The incremental snapshots of a disk are in its set (45).
pub const ATREST_RULE_ONE_SET_FOR_SNAPSHOTS: u32 = 45;
/// A set and its resources are in one subscription, and what is under a customer's key stays in it (47).
pub const ATREST_RULE_ONE_SUBSCRIPTION: u32 = 47;
/// An image is made and removed as a whole, with a set or none for each region and disk (49).
pub const ATREST_RULE_IMAGE_IS_WHOLE: u32 = 49;
/// An image of a disk under a customer's key is under one too (50).
pub const ATREST_RULE_IMAGE_STAYS_UNDER_CUSTOMER_KEY: u32 = 50;
/// What was encrypted in the guest takes no customer's set (52).
pub const ATREST_RULE_ENCRYPTED_IN_GUEST: u32 = 52;
/// A second layer is neither added nor taken away in place (60).
pub const ATREST_RULE_LAYERS_STAY: u32 = 60;

/// What went wrong in the last call of this thread that failed, in English, without secrets. Never NULL, and empty
/// before the first failure. The text is valid until the next call of this thread that fails, or the thread's end.
#[unsafe(no_mangle)]
pub extern "C" fn atrest_last_error_message() -> *const c_char {
    failure::last_message()
}

/// Which rule of managed disks the last call of this thread broke that failed, ATREST_RULE_*; 0 if it failed for anything but
/// ATREST_ERR_NOT_ALLOWED.
#[unsafe(no_mangle)]
pub extern "C" fn atrest_last_rule() -> u32 {
    failure::last_rule()
}

/// What a callback says of its own failure: it calls this before it returns anything but ATREST_OK, on the thread that
/// called it. The text goes to the message of the call that fails by it; put no secrets into it. The text is copied; bytes
/// that aren't UTF-8 are replaced. Says ATREST_OK, or ATREST_ERR_NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_set_callback_message(message: *const c_char) -> atrest_status {
    run(|| {
        failure::set_callback_message(&String::from_utf8_lossy(c_bytes!(message)));
        Ok(())
    })
}

// The library's own numbers.
const _: () = assert!(
    ATREST_RULE_VAULT_PROTECTION == Rule::VaultProtection.code()
        && ATREST_RULE_ONE_REGION == Rule::OneRegion.code()
        && ATREST_RULE_SET_IN_USE == Rule::SetInUse.code()
        && ATREST_RULE_PLATFORM_KEY_HAS_NO_SET == Rule::PlatformKeyHasNoSet.code()
        && ATREST_RULE_ROTATION_FAILED == Rule::RotationFailed.code()
        && ATREST_RULE_ONE_TENANT == Rule::OneTenant.code()
        && ATREST_RULE_ONE_SET_FOR_SNAPSHOTS == Rule::OneSetForSnapshots.code()
        && ATREST_RULE_ONE_SUBSCRIPTION == Rule::OneSubscription.code()
        && ATREST_RULE_IMAGE_IS_WHOLE == Rule::ImageIsWhole.code()
        && ATREST_RULE_IMAGE_STAYS_UNDER_CUSTOMER_KEY == Rule::ImageStaysUnderCustomerKey.code()
        && ATREST_RULE_ENCRYPTED_IN_GUEST == Rule::EncryptedInGuest.code()
        && ATREST_RULE_LAYERS_STAY == Rule::LayersStay.code()
);
