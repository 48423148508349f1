use super::*;

#[test]
fn only_what_a_vault_says_of_a_key_is_a_revocation() {
    let key = || "disks".to_owned();
    for refused in [
        Error::KeyDisabled { key: key() },
        Error::KeyDeleted { key: key() },
        Error::KeyExpired { key: key() },
        Error::KeyNotYetValid { key: key() },
        Error::NoSuchKey { key: key() },
        Error::AccessDenied { identity: "set-1".into(), operation: "unwrapKey".into(), key: key() },
    ] {
        assert!(refused.is_revocation(), "{refused}");
        assert!(refused.to_string().contains("disks"), "{refused}");
    }
    let timeout = std::io::Error::from(std::io::ErrorKind::TimedOut);
    for outage in [
        Error::Vault("no answer".into()),
        Error::DamagedVault("torn".into()),
        Error::io("asking", timeout),
        Error::Busy { what: "the vault".into() },
        Error::NotThisVault { wanted: "another".into() },
        Error::WrongPassphrase,
        Error::UnwrapFailed,
    ] {
        assert!(!outage.is_revocation(), "{outage}");
    }
}
