//! The known-answer test of the splitting.

use atrest::approval::Approval;
use atrest::{Result, Secret, SelfTest};

use crate::split::{at, combine};

const NAME: &str = "Shamir's secret sharing";

/// No publication of NIST's has it, and no claim is made for it: it splits a key, and each part is wrapped by its own vault, whose
/// algorithm has to be approved where others are refused.
static SHAMIR: SelfTest = SelfTest::new(NAME, || is_right() && !is_spoilt()).approval(Approval::Elsewhere);

/// Tests the splitting of keys against published vectors, even if it was tested before.
///
/// It is tested before its first use in a process anyway. [`atrest::self_test`] tests the other algorithms of a quorum: HMAC,
/// SHA-256 and AES-KWP.
///
/// # Errors
/// [`Error::SelfTest`](atrest::Error::SelfTest). From then on all algorithms of the process are refused.
pub fn self_test() -> Result<()> {
    SHAMIR.run()
}

/// Tests it unless it has passed.
pub(crate) fn check() -> Result<()> {
    SHAMIR.check()
}

/// Splitting: the products of FIPS 197, 4.2 and 4.2.1. Combining: the first vector of `bc-shamir` by Blockchain Commons, whose secret
/// is the value at 255, which is that at 0 if 255 is taken from each place. Both: any two of three.
fn is_right() -> bool {
    const SECRET: [u8; 16] = SelfTest::unhex(b"0ff784df000c4380a5ed683f7e6e3dcf");
    const PARTS: [(u8, [u8; 16]); 3] = [
        (1, SelfTest::unhex(b"d43099fe444807c46921a4f33a2a798b")),
        (2, SelfTest::unhex(b"d9ad4e3bec2e1a7485698823abf05d36")),
        (4, SelfTest::unhex(b"1aa7fe3199bc5092ef3816b074cabdf2")),
    ];
    let product = |a: u8, b: u8| at(b, &Secret::zeroed(1), &Secret::copy_from(&[a])).expose()[0];
    let multiplies = product(0x57, 0x83) == 0xc1 && product(0x57, 0x13) == 0xfe;
    let parts = PARTS.map(|(x, part)| (usize::from(x ^ 255) - 1, Secret::copy_from(&part)));
    let combines = combine(&parts).is_ok_and(|secret| secret.expose() == SECRET);
    let secret = Secret::copy_from(&SECRET);
    let mut splits = true;
    for (one, other) in [(1, 2), (1, 3), (2, 3)] {
        let parts = [one, other].map(|x| (usize::from(x) - 1, at(x, &secret, &Secret::copy_from(&PARTS[0].1))));
        splits &= combine(&parts).is_ok_and(|again| again == secret);
    }
    multiplies && combines && splits
}

/// A unit test makes it fail, in a process of its own. No other build can do this.
fn is_spoilt() -> bool {
    cfg!(test) && std::env::var("ATREST_SPOIL").is_ok_and(|spoilt| spoilt == NAME)
}

#[cfg(test)]
#[path = "../../../tests/common/spoilt.rs"]
mod spoilt;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use atrest::key::WrappedDek;
    use atrest::vault::{FileVault, Unlock};
    use atrest::{Error, KeyVault};

    use super::*;
    use crate::{Member, Quorum};

    #[test]
    fn it_passes() {
        self_test().unwrap();
    }

    #[test]
    fn a_failure_latches_and_refuses_everything_by_name() {
        spoilt::passes("self_test::tests::a_spoilt_process", NAME);
    }

    /// A vault in which the first failure of a process is found while a quorum asks.
    struct Late(Arc<FileVault>);

    static LATE: SelfTest = SelfTest::new(LATE_NAME, || false);
    const LATE_NAME: &str = "an algorithm of a member";

    impl KeyVault for Late {
        fn id(&self) -> &str {
            self.0.id()
        }

        fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
            self.0.wrap(key, dek)
        }

        fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
            let unwrapped = self.0.unwrap(wrapped);
            let _ = LATE.run();
            unwrapped
        }
    }

    #[test]
    fn a_failure_while_vaults_are_asked_is_no_outage() {
        spoilt::passes("self_test::tests::a_process_that_is_spoilt_late", LATE_NAME);
    }

    #[test]
    #[ignore = "run by the test above, in a process of its own"]
    fn a_process_that_is_spoilt_late() {
        let folder = tempfile::tempdir().unwrap();
        let vaults = [member(folder.path(), "a"), member(folder.path(), "b")];
        let quorum = Quorum::new("quorum:board", 2, vaults.clone().map(|vault| Member::new(vault))).unwrap();
        let wrapped = quorum.wrap("disks", &Secret::zeroed(64)).unwrap();
        let quorum = Quorum::new("quorum:board", 2, vaults.map(|vault| Member::new(Arc::new(Late(vault))))).unwrap();
        for _ in 0..2 {
            let unwrapped = quorum.unwrap(&wrapped);
            assert!(matches!(unwrapped, Err(Error::SelfTest { algorithm: LATE_NAME })), "{unwrapped:?}");
        }
    }

    fn member(folder: &Path, name: &str) -> Arc<FileVault> {
        let key_file = folder.join(format!("{name}.key"));
        FileVault::generate_key_file(&key_file).unwrap();
        let vault = FileVault::create(folder.join(name), Unlock::KeyFile(&key_file)).unwrap();
        vault.create_key("disks").unwrap();
        Arc::new(vault)
    }

    #[test]
    #[ignore = "run by the test above, in a process where the self-test fails"]
    fn a_spoilt_process() {
        let refused = |result: Result<()>| match result {
            Err(Error::SelfTest { algorithm }) => assert_eq!(algorithm, NAME),
            other => panic!("{other:?}"),
        };
        let folder = tempfile::tempdir().unwrap();
        let vaults = [member(folder.path(), "a"), member(folder.path(), "b")];
        let quorum = Quorum::new("quorum:board", 2, vaults.clone().map(|vault| Member::new(vault))).unwrap();
        let dek = Secret::zeroed(64);
        // The members work until the quorum is used.
        let wrapped = vaults[0].wrap("disks", &dek).unwrap();
        refused(quorum.wrap("disks", &dek).map(drop));
        refused(vaults[0].unwrap(&wrapped).map(drop));
        refused(self_test());
        refused(atrest::self_test());
    }
}
