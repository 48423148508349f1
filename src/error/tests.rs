use super::*;

#[test]
fn only_what_a_vault_says_of_a_key_is_a_revocation() {
    let denied = || KeyRefusal::AccessDenied { identity: "set-1".into(), operation: "unwrapKey".into() };
    for reason in [
        KeyRefusal::Disabled,
        KeyRefusal::Deleted,
        KeyRefusal::Expired,
        KeyRefusal::NotYetValid,
        KeyRefusal::Missing,
        denied(),
    ] {
        let refused = Error::KeyRefused { key: "disks".into(), reason };
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

#[test]
fn a_failure_keeps_its_source_and_nothing_is_told_twice() {
    use core::error::Error as _;
    let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    for error in [
        Error::io("asking the vault", refused()),
        Error::Vault(VaultFailure::new("asking for the key").caused_by(refused())),
    ] {
        let source = error.source().unwrap().to_string();
        assert!(!error.to_string().contains(&source), "{error}");
        assert_eq!(format!("{error:#}"), format!("{error}: {source}"));
    }
    let nested = VaultFailure::new("outer").caused_by(Error::io("inner", refused()));
    assert_eq!(format!("{:#}", Error::Vault(nested)), "the vault failed: outer: inner failed: connection refused");
    let answered = Error::Vault("no such answer".into());
    assert!(answered.source().is_none());
    assert_eq!(format!("{answered:#}"), answered.to_string());
}
