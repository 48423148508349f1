//! [`StoreCheck`]: the report of a store's check.

/// The result of checking a whole store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreCheck {
    /// How many changes were ever made to the store. If the number shrinks, an older store was put back; keep it
    /// elsewhere to find out. 0 if it can't be read.
    pub changes: u64,
    /// The number of sets. In a store that can't be opened, the number of sets with a readable record.
    pub sets: u64,
    /// The number of disks, snapshots, and copies of images' disks, counted the same way.
    pub resources: u64,
    /// The defects, as texts: each damaged or missing record that can be named. Empty if the store is sound.
    pub defects: Vec<String>,
}

impl StoreCheck {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.defects.is_empty()
    }
}
