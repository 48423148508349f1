//! The rules of managed disks.

/// A rule of managed disks, which a request broke. In brackets its number in `docs/behaviours.md`, which is its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// A customer's vault has soft delete and purge protection (16).
    VaultProtection = 16,
    /// A set, its vault and its resources are in one region (18).
    OneRegion = 18,
    /// A set is deleted once nothing is in it (19).
    SetInUse = 19,
    /// What is under the platform's key alone has no set (20).
    PlatformKeyHasNoSet = 20,
    /// After a rotation has failed, the set rotates again once its error is cleared (32).
    RotationFailed = 32,
    /// A set and its vault are of one tenant (43).
    OneTenant = 43,
    /// The incremental snapshots of a disk are in its set (45).
    OneSetForSnapshots = 45,
    /// A set and its resources are in one subscription, and what is under a customer's key stays in it (47).
    OneSubscription = 47,
    /// An image is made and removed as a whole, with a set or none for each region and disk (49).
    ImageIsWhole = 49,
    /// An image of a disk under a customer's key is under one too (50).
    ImageStaysUnderCustomerKey = 50,
    /// What was encrypted in the guest takes no customer's set (52).
    EncryptedInGuest = 52,
    /// A second layer is neither added nor taken away in place (60).
    LayersStay = 60,
}

impl Rule {
    /// The number, as the C ABI carries it.
    pub const fn code(self) -> u32 {
        self as u32
    }
}
