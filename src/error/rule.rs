//! The rules of managed disks.

/// A rule of managed disks that a request broke. The number in brackets is its number in `docs/behaviours.md` and its
/// code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// A customer's vault must have soft delete and purge protection (16).
    VaultProtection = 16,
    /// A set, its vault and its resources must be in one region (18).
    OneRegion = 18,
    /// A set can be deleted only when it is empty (19).
    SetInUse = 19,
    /// A resource under the platform's key alone has no set (20).
    PlatformKeyHasNoSet = 20,
    /// After a failed rotation, the set rotates again only once its error is cleared (32).
    RotationFailed = 32,
    /// A set and its vault must belong to one tenant (43).
    OneTenant = 43,
    /// All incremental snapshots of a disk must be in its set (45).
    OneSetForSnapshots = 45,
    /// A set and its resources are in one subscription, and resources under a customer's key stay in it (47).
    OneSubscription = 47,
    /// An image is made and removed as a whole, and names one set or none for each region and disk (49).
    ImageIsWhole = 49,
    /// An image of a disk under a customer's key must be under a customer's key too (50).
    ImageStaysUnderCustomerKey = 50,
    /// A disk that was encrypted in the guest can't be in a customer's set (52).
    EncryptedInGuest = 52,
    /// Encryption at host and encryption in the guest exclude each other (56).
    EncryptedAtHost = 56,
    /// A second layer can't be added or removed in place (60).
    LayersStay = 60,
}

impl Rule {
    /// The number, as the C ABI carries it.
    pub const fn code(self) -> u32 {
        self as u32
    }
}
