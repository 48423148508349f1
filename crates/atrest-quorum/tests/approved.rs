//! Where approved algorithms only are taken, a part by another one counts for nothing. The switch is of the whole process and for
//! good, so this program has one test.

use std::path::Path;
use std::sync::Arc;

use atrest::approval::{self, Approval, approved_only};
use atrest::key::{KeyId, WrapAlgorithm, WrappedDek};
use atrest::vault::{FileVault, Unlock};
use atrest::{Error, KeyVault, Result, Secret};
use atrest_quorum::{Member, Quorum};

/// Says of what it wraps that it was wrapped by another algorithm.
struct Claims(Arc<FileVault>, WrapAlgorithm);

impl KeyVault for Claims {
    fn id(&self) -> &str {
        self.0.id()
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        let made = self.0.wrap(key, dek)?;
        Ok(WrappedDek::new(made.kek, self.1, made.bytes))
    }

    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        let made = self.0.wrap_version(kek, dek)?;
        Ok(WrappedDek::new(made.kek, self.1, made.bytes))
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.0.unwrap(&WrappedDek::new(wrapped.kek.clone(), WrapAlgorithm::Aes256Kw, wrapped.bytes.clone()))
    }
}

fn vault(folder: &Path, name: &str) -> Arc<FileVault> {
    let key_file = folder.join(format!("{name}.key"));
    FileVault::generate_key_file(&key_file).unwrap();
    let vault = FileVault::create(folder.join(name), Unlock::KeyFile(&key_file)).unwrap();
    vault.create_key("disks").unwrap();
    Arc::new(vault)
}

fn quorum(members: &[&Arc<dyn KeyVault>]) -> Quorum {
    Quorum::new("quorum:board", 2, members.iter().map(|&vault| Member::new(vault.clone()))).unwrap()
}

#[test]
fn a_part_by_an_algorithm_that_is_not_approved_counts_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two, three] = ["one", "two", "three"].map(|name| vault(folder.path(), name));
    let old: Arc<dyn KeyVault> = Arc::new(Claims(one, WrapAlgorithm::RsaOaep));
    let [two, three] = [two, three].map(|vault| vault as Arc<dyn KeyVault>);
    let (approved, enough, too_few) = (quorum(&[&two, &three]), quorum(&[&old, &two, &three]), quorum(&[&old, &two]));
    let dek = Secret::random(64).unwrap();
    let not_approved = WrapAlgorithm::RsaOaep.approval();

    let wrap = |quorum: &Quorum| {
        let (wrapped, said) = approval::observe(|| quorum.wrap("disks", &dek).unwrap());
        let (again, also) = approval::observe(|| quorum.unwrap(&wrapped).unwrap().unwrap());
        assert!(again == dek && said == also);
        (wrapped, said)
    };
    // No vault wraps by an algorithm that has to be named, but the splitting is in no publication of NIST's.
    let (by_approved, said) = wrap(&approved);
    assert_eq!(said, Approval::Elsewhere);
    let (by_enough, said) = wrap(&enough);
    assert_eq!(said, not_approved);
    let (by_too_few, said) = wrap(&too_few);
    assert_eq!(said, not_approved);

    approved_only();
    let refused = |result: Result<()>| match result {
        Err(Error::NotApproved { algorithm, reason }) => {
            assert_eq!(Approval::NotApproved { algorithm, reason }, not_approved);
        }
        other => panic!("{other:?}"),
    };
    assert!(approved.unwrap(&by_approved).unwrap().unwrap() == dek);
    assert!(approved.unwrap(&approved.wrap("disks", &dek).unwrap()).unwrap().unwrap() == dek);
    assert!(enough.unwrap(&by_enough).unwrap().unwrap() == dek);
    refused(enough.wrap("disks", &dek).map(drop));
    refused(too_few.unwrap(&by_too_few).map(drop));
    atrest_quorum::self_test().unwrap();
}
