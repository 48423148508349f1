//! Which of it is approved.

use atrest::Credential;
use atrest::approval::{Approval, observe};

use super::model::{self, Model};
use super::volumes::open;

#[test]
fn a_password_is_stretched_in_a_way_that_is_not_approved() {
    let approval = |method, protector, credential: Credential<'_>| {
        let mut model = Model::new(method, 512);
        model.protectors = vec![protector];
        let image = model.image(&model::plain(), |_| true);
        let (volume, observed) = observe(|| open(image, credential));
        assert_eq!(volume.unwrap().approval(), observed);
        observed
    };
    assert_eq!(approval(0x8004, model::clear_key(), Credential::ClearKey), Approval::Approved);
    let password = Credential::Passphrase(model::PASSWORD.as_bytes());
    for (method, protector, credential, name) in [
        (0x8005, model::password(0), password, "chain of SHA-256"),
        (0x8002, model::clear_key(), Credential::ClearKey, "AES-CBC"),
        (0x8000, model::clear_key(), Credential::ClearKey, "AES-CBC"),
    ] {
        let approval = approval(method, protector, credential);
        assert!(matches!(approval, Approval::NotApproved { algorithm, .. } if algorithm.contains(name)), "{approval}");
    }
}
