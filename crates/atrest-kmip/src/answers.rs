//! The payloads of answers.

use atrest::Secret;

use crate::message::check_identifier;
use crate::sealed::Sealed;
use crate::tag;
use crate::ttlv::{Malformed, Structure};

/// The unique identifiers that Locate found, up to a limit.
pub(crate) fn located(payload: Structure<'_>, most: usize) -> Result<Vec<String>, Malformed> {
    let mut uids = Vec::new();
    for field in payload.fields() {
        let field = field?;
        if field.tag == tag::UNIQUE_IDENTIFIER && uids.len() < most {
            uids.push(field.text()?.to_owned());
        }
    }
    Ok(uids)
}

/// The result of Encrypt for `len` bytes with this nonce.
pub(crate) fn encrypted(payload: Structure<'_>, uid: &str, nonce: &[u8], len: usize) -> Result<Sealed, Malformed> {
    check_identifier(payload, uid)?;
    // A server returns its nonce if it used another one.
    let nonce = payload.find(tag::IV_COUNTER_NONCE)?.map_or(Ok(nonce), |field| field.bytes())?;
    let data = payload.need(tag::DATA, "it has no ciphertext")?.bytes()?;
    let mac = payload.need(tag::AUTHENTICATION_TAG, "it has no authentication tag")?.bytes()?;
    let sealed = Sealed::new(nonce, mac, data).filter(|_| data.len() == len);
    sealed.ok_or(Malformed("its nonce, tag or ciphertext has another length than AES-GCM's"))
}

/// The result of Decrypt for a ciphertext of `len` bytes.
pub(crate) fn decrypted(payload: Structure<'_>, uid: &str, len: usize) -> Result<Secret, Malformed> {
    check_identifier(payload, uid)?;
    let data = payload.need(tag::DATA, "it has no plaintext")?.bytes()?;
    let whole = (data.len() == len).then(|| Secret::copy_from(data));
    whole.ok_or(Malformed("its plaintext has another length than the ciphertext"))
}

/// The KEK that Get hands out.
pub(crate) fn key(payload: Structure<'_>, uid: &str) -> Result<Secret, Malformed> {
    check_identifier(payload, uid)?;
    let key = payload.need(tag::SYMMETRIC_KEY, "it isn't a symmetric key")?.structure()?;
    let block = key.need(tag::KEY_BLOCK, "the key has no key block")?.structure()?;
    if block.find(tag::KEY_WRAPPING_DATA)?.is_some() {
        return Err(Malformed("the key is itself wrapped"));
    }
    if block.need(tag::KEY_FORMAT_TYPE, "the key has no format")?.enumeration()? != tag::RAW {
        return Err(Malformed("the key isn't in the format Raw"));
    }
    let value = block.need(tag::KEY_VALUE, "the key has no value")?.structure()?;
    let material = value.need(tag::KEY_MATERIAL, "the key has no material")?.bytes()?;
    (material.len() == 32).then(|| Secret::copy_from(material)).ok_or(Malformed("the key hasn't 32 bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::{Operation, payload};
    use crate::object::{Object, State};
    use crate::trouble::Trouble;

    /// Answers of PyKMIP 0.11.
    const ANSWERS: [(&str, &str); 7] = [
        ("locate", include_str!("../tests/answers/locate-1.4.hex")),
        ("attributes", include_str!("../tests/answers/attributes-1.4.hex")),
        ("attributes 2.0", include_str!("../tests/answers/attributes-2.0.hex")),
        ("encrypt", include_str!("../tests/answers/encrypt.hex")),
        ("decrypt", include_str!("../tests/answers/decrypt.hex")),
        ("refused", include_str!("../tests/answers/decrypt-refused.hex")),
        ("get", include_str!("../tests/answers/get.hex")),
    ];

    fn answer(name: &str) -> Vec<u8> {
        let text = ANSWERS.iter().find(|(known, _)| *known == name).unwrap().1;
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    /// Reads an answer in all ways. They only have to end.
    fn read(answer: &[u8]) {
        let all = |operation| payload(answer, operation).ok();
        let _ = all(Operation::Locate).map(|payload| located(payload, 8));
        let _ = all(Operation::GetAttributes).map(|payload| Object::read(payload, "1"));
        let _ = all(Operation::Encrypt).map(|payload| encrypted(payload, "1", &[0; 12], 64));
        let _ = all(Operation::Decrypt).map(|payload| decrypted(payload, "1", 64));
        let _ = all(Operation::Get).map(|payload| key(payload, "1"));
    }

    #[test]
    fn answers_of_a_server() {
        let locate = answer("locate");
        assert_eq!(located(payload(&locate, Operation::Locate).unwrap(), 8).unwrap(), ["1"]);
        assert!(located(payload(&locate, Operation::Locate).unwrap(), 0).unwrap().is_empty());
        for name in ["attributes", "attributes 2.0"] {
            let bytes = answer(name);
            let object = Object::read(payload(&bytes, Operation::GetAttributes).unwrap(), "1").unwrap();
            assert_eq!((object.state, object.is_aes_256, &*object.names), (State::Active, true, &["disks".into()][..]));
            assert!(object.refusal(crate::object::Use::Wrap, tag::MAY_ENCRYPT | tag::MAY_DECRYPT, 0).is_none());
            assert!(Object::read(payload(&bytes, Operation::GetAttributes).unwrap(), "2").is_err(), "another object");
        }
        let decrypt = answer("decrypt");
        let dek = decrypted(payload(&decrypt, Operation::Decrypt).unwrap(), "1", 64).unwrap();
        assert!(dek.expose().starts_with(b"these sixty-four bytes"));
        assert!(decrypted(payload(&decrypt, Operation::Decrypt).unwrap(), "1", 63).is_err());
        assert!(matches!(payload(&decrypt, Operation::Encrypt), Err(Trouble::Malformed(_))), "another operation");
        let refused = answer("refused");
        let Err(Trouble::Refused(refused)) = payload(&refused, Operation::Decrypt) else { panic!() };
        assert_eq!(refused.reason, 0x100);
        let bytes = answer("get");
        assert_eq!(key(payload(&bytes, Operation::Get).unwrap(), "1").unwrap().len(), 32);
    }

    #[test]
    fn answers_that_are_cut_off_make_no_sense() {
        for (name, _) in ANSWERS {
            let whole = answer(name);
            for len in 0..whole.len() {
                assert!(matches!(payload(&whole[..len], Operation::Get), Err(Trouble::Malformed(_))), "{name}, {len}");
                read(&whole[..len]);
            }
        }
    }

    proptest! {
        #[test]
        fn altered_answers_are_read_without_a_panic(
            which in 0..ANSWERS.len(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = answer(ANSWERS[which].0);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            read(&bytes);
        }

        #[test]
        fn spliced_answers_are_read_without_a_panic(
            (one, two) in (0..ANSWERS.len(), 0..ANSWERS.len()),
            (head, tail) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        ) {
            let (one, two) = (answer(ANSWERS[one].0), answer(ANSWERS[two].0));
            read(&[&one[..head.index(one.len())], &two[tail.index(two.len())..]].concat());
        }

        #[test]
        fn random_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            read(&bytes);
        }
    }
}
