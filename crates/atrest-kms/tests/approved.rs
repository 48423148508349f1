//! Where approved algorithms only are taken, Azure Key Vault is not asked by another one. The switch is of the whole process and for
//! good, so this program has one test. No vault answers here: the refusal comes first.

use atrest::approval::approved_only;
use atrest::key::{KeyId, WrapAlgorithm, WrappedDek};
use atrest::{Error, KeyVault, Result, Secret};
use atrest_kms::{AzureIdentity, AzureKeyVault, AzureOptions};

#[test]
fn no_request_asks_for_an_algorithm_that_is_not_approved() {
    let id = "https://contoso.vault.azure.net";
    let vault = AzureKeyVault::new(&AzureOptions::new(id, AzureIdentity::managed(None))).unwrap();
    let kek = KeyId::new(id, "disks", "0123456789abcdef0123456789abcdef").unwrap();
    approved_only();
    let refused = |result: Result<()>| assert!(matches!(result, Err(Error::NotApproved { .. })), "{result:?}");
    for algorithm in [WrapAlgorithm::RsaOaep, WrapAlgorithm::Rsa15] {
        let wrapped = WrappedDek::new(kek.clone(), algorithm, vec![1; 256]);
        refused(vault.wrap_foreign(&kek, algorithm, &Secret::zeroed(32)).map(drop));
        refused(vault.unwrap_foreign(&wrapped).map(drop));
        if algorithm == WrapAlgorithm::RsaOaep {
            refused(vault.unwrap(&wrapped).map(drop));
        }
    }
}
