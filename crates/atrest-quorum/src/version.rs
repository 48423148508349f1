//! The versions of a quorum's key: which versions of its members' keys stand behind them.

use atrest::Result;
use atrest::key::{KeyId, sha256};

/// The most bytes of a version's name.
const MOST: usize = 127;

/// The name of a version: those of the members' keys, in order, with dots between them; or a digest of their full names if that
/// would be too long or unclear. The names of the members' vaults and keys are not in it.
pub(crate) fn name(keys: &[KeyId]) -> Result<String> {
    let versions: Vec<_> = keys.iter().map(KeyId::version).collect();
    let joined = versions.join(".");
    if joined.len() <= MOST && versions.iter().all(|version| !version.contains('.')) {
        return Ok(joined);
    }
    let names: String = keys.iter().map(|key| format!("{key}\n")).collect();
    let hash = sha256(&[names.as_bytes()])?;
    Ok(hash[..16].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The members' versions of a name, if it has as many as there are members.
pub(crate) fn parts(name: &str, members: usize) -> Option<Vec<&str>> {
    let parts: Vec<_> = name.split('.').collect();
    (parts.len() == members).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(versions: &[&str]) -> Vec<KeyId> {
        versions.iter().map(|version| KeyId::new("memory:one", "disks", version).unwrap()).collect()
    }

    #[test]
    fn short_versions_are_told_apart_by_sight_and_others_by_a_digest() {
        assert_eq!(name(&keys(&["1", "v2", "0f3a"])).unwrap(), "1.v2.0f3a");
        assert_eq!(parts("1.v2.0f3a", 3), Some(vec!["1", "v2", "0f3a"]));
        assert_eq!(parts("1.v2", 3), None);
        let (long, dotted) = ("a".repeat(70), "1.2");
        for versions in [[&*long, &*long], [dotted, "3"], ["1", "2.3"]] {
            let digest = name(&keys(&versions)).unwrap();
            assert!(digest.len() == 32 && parts(&digest, 2).is_none(), "{digest}");
        }
        assert_ne!(name(&keys(&[dotted, "3"])).unwrap(), name(&keys(&["1", "2.3"])).unwrap());
    }
}
