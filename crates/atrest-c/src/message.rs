//! MESSAGES

use core::ffi::c_char;

use atrest::managed::Rule;

use crate::failure::{self, run};
use crate::status::atrest_status;

/// A customer's vault must have soft delete and purge protection (16).
pub const ATREST_RULE_VAULT_PROTECTION: u32 = 16;
/// A set, its vault and its resources must be in one region (18).
pub const ATREST_RULE_ONE_REGION: u32 = 18;
/// A set can be deleted only when it is empty (19).
pub const ATREST_RULE_SET_IN_USE: u32 = 19;
/// A resource under the platform's key alone has no set (20).
pub const ATREST_RULE_PLATFORM_KEY_HAS_NO_SET: u32 = 20;
/// After a failed rotation, the set rotates again only once its error is cleared (32).
pub const ATREST_RULE_ROTATION_FAILED: u32 = 32;
/// A set and its vault must belong to one tenant (43).
pub const ATREST_RULE_ONE_TENANT: u32 = 43;
/// All incremental snapshots of a disk must be in its set (45).
pub const ATREST_RULE_ONE_SET_FOR_SNAPSHOTS: u32 = 45;
/// A set and its resources are in one subscription, and resources under a customer's key stay in it (47).
pub const ATREST_RULE_ONE_SUBSCRIPTION: u32 = 47;
/// An image is made and removed as a whole, and names one set or none for each region and disk (49).
pub const ATREST_RULE_IMAGE_IS_WHOLE: u32 = 49;
/// An image of a disk under a customer's key must be under a customer's key too (50).
pub const ATREST_RULE_IMAGE_STAYS_UNDER_CUSTOMER_KEY: u32 = 50;
/// A disk that was encrypted in the guest can't be in a customer's set (52).
pub const ATREST_RULE_ENCRYPTED_IN_GUEST: u32 = 52;
/// Encryption at host and encryption in the guest exclude each other (56).
pub const ATREST_RULE_ENCRYPTED_AT_HOST: u32 = 56;
/// A second layer can't be added or removed in place (60).
pub const ATREST_RULE_LAYERS_STAY: u32 = 60;

/// The message of this thread's last failed call, in English, without secrets. Never NULL, and empty before the first
/// failure. The text is valid until the next failed call of this thread, or the thread's end.
#[unsafe(no_mangle)]
pub extern "C" fn atrest_last_error_message() -> *const c_char {
    failure::last_message()
}

/// The rule of managed disks that this thread's last failed call broke, ATREST_RULE_*; 0 unless it failed with
/// ATREST_ERR_NOT_ALLOWED.
#[unsafe(no_mangle)]
pub extern "C" fn atrest_last_rule() -> u32 {
    failure::last_rule()
}

/// Sets the message for a callback's failure. The callback calls this on its own thread before it returns anything but
/// ATREST_OK. The text becomes part of the message of the call that fails by it, so put no secrets into it. It is
/// copied; bytes that aren't UTF-8 are replaced. Returns ATREST_OK, or ATREST_ERR_NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_set_callback_message(message: *const c_char) -> atrest_status {
    run(|| {
        failure::set_callback_message(&String::from_utf8_lossy(c_bytes!(message)));
        Ok(())
    })
}

// The numbers must be the library's.
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
        && ATREST_RULE_ENCRYPTED_AT_HOST == Rule::EncryptedAtHost.code()
        && ATREST_RULE_LAYERS_STAY == Rule::LayersStay.code()
);
