//! The keys of a token: objects with one label, distinguished by `CKA_ID`.

use atrest::key::{KeyDescription, KeyId, KeyKind};
use atrest::{Error, KeyRefusal};
use cryptoki_sys::*;

use crate::fault::{Fault, outage};
use crate::session::{Template, Value};
use crate::token::Call;

/// The most objects of one label.
const MOST: usize = 1024;

/// The version of a key whose `CKA_ID` is empty. No other version has this name, since others are hexadecimal.
const NO_ID: &str = "none";

/// One version of a key.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) id: Vec<u8>,
    pub(crate) kind: KeyKind,
    /// The object that wraps: the AES key, or the public half of an RSA key, if the token has it.
    pub(crate) wrapper: Option<CK_OBJECT_HANDLE>,
    pub(crate) can_wrap: bool,
    pub(crate) can_encrypt: bool,
    /// The object that unwraps: the AES key, or the private half of an RSA key.
    pub(crate) unwrapper: CK_OBJECT_HANDLE,
    pub(crate) can_unwrap: bool,
    pub(crate) can_decrypt: bool,
    not_before: Option<u64>,
    expires: Option<u64>,
}

impl Version {
    pub(crate) fn name(&self) -> String {
        name_of(&self.id)
    }

    pub(crate) fn wraps(&self) -> bool {
        self.wrapper.is_some() && (self.can_wrap || self.can_encrypt)
    }

    pub(crate) fn unwraps(&self) -> bool {
        self.can_unwrap || self.can_decrypt
    }

    /// Why it may not be used, if so.
    pub(crate) fn refusal(&self, may: bool, now: u64) -> Option<KeyRefusal> {
        if !may {
            return Some(KeyRefusal::Disabled);
        }
        if self.expires.is_some_and(|expires| now >= expires) {
            return Some(KeyRefusal::Expired);
        }
        self.not_before.is_some_and(|from| now < from).then_some(KeyRefusal::NotYetValid)
    }

    pub(crate) fn describe(&self, vault: &str, key: &str) -> Result<KeyDescription, Error> {
        let mut description = KeyDescription::new(KeyId::new(vault, key, &self.name())?, self.kind);
        description.enabled = self.wraps() && self.unwraps();
        description.not_before = self.not_before;
        description.expires = self.expires;
        // A token doesn't say when a key was made; the start of its validity orders versions as well.
        description.created = self.not_before;
        Ok(description)
    }

    /// By age: the later start is newer. Without dates, or with the same one, the higher id is newer.
    fn age(&self) -> (Option<u64>, usize, &[u8]) {
        let number = self.id.iter().position(|&byte| byte != 0).map_or(&[][..], |first| &self.id[first..]);
        (self.not_before, number.len(), number)
    }
}

/// The latest version that may wrap at `now`.
pub(crate) fn latest(versions: Vec<Version>, key: &str, now: u64) -> Result<Version, Error> {
    let usable = versions.iter().filter(|version| version.refusal(version.wraps(), now).is_none());
    if let Some(latest) = usable.max_by(|a, b| a.age().cmp(&b.age())) {
        return Ok(latest.clone());
    }
    // The newest gives the reason; one that is only out of its dates is more telling than a disabled one.
    let newest = versions.iter().max_by(|a, b| (a.wraps(), a.age()).cmp(&(b.wraps(), b.age())));
    let reason = newest.and_then(|version| version.refusal(version.wraps(), now));
    Err(Error::KeyRefused { key: key.into(), reason: reason.unwrap_or(KeyRefusal::Missing) })
}

/// As [`latest`]; if none may wrap now, the newest enabled one, which has expired or isn't valid yet.
pub(crate) fn to_describe(versions: Vec<Version>, key: &str, now: u64) -> Result<Version, Error> {
    let enabled = versions.iter().filter(|version| version.wraps() && version.unwraps());
    let newest = enabled.max_by(|a, b| a.age().cmp(&b.age())).cloned();
    match latest(versions, key, now) {
        Err(Error::KeyRefused { reason: KeyRefusal::Expired | KeyRefusal::NotYetValid, .. }) if newest.is_some() => {
            newest.ok_or_else(|| Error::KeyRefused { key: key.into(), reason: KeyRefusal::Disabled })
        }
        other => other,
    }
}

pub(crate) fn name_of(id: &[u8]) -> String {
    if id.is_empty() { NO_ID.into() } else { id.iter().map(|byte| format!("{byte:02x}")).collect() }
}

/// The `CKA_ID` of a version; `None` if no id has this name.
pub(crate) fn id_of(version: &str) -> Option<Vec<u8>> {
    if version == NO_ID {
        return Some(Vec::new());
    }
    let digits = version.as_bytes();
    let lower = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if !lower || digits.is_empty() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

impl Call<'_> {
    /// All versions of the key of this label.
    ///
    /// An empty answer is `Missing`, which stops I/O. So it must come from a token that is still there, with its user logged
    /// in, because tokens hide private objects otherwise.
    pub(crate) fn versions(&self, key: &str) -> Result<Vec<Version>, Fault> {
        self.find(key, &[(CKA_LABEL, Value::Bytes(key.as_bytes()))])
    }

    fn find(&self, key: &str, template: &Template<'_>) -> Result<Vec<Version>, Fault> {
        let versions = self.read(key, self.session.find(template, MOST)?)?;
        if versions.is_empty() {
            self.is_there()?;
        }
        Ok(versions)
    }

    /// One version of a key.
    pub(crate) fn version(&self, key: &str, version: &str) -> Result<Version, Fault> {
        let missing = || Fault::Final(Error::KeyRefused { key: key.into(), reason: KeyRefusal::Missing });
        let id = id_of(version).ok_or_else(missing)?;
        let template = [(CKA_LABEL, Value::Bytes(key.as_bytes())), (CKA_ID, Value::Bytes(&id))];
        self.find(key, &template)?.into_iter().find(|version| version.id == id).ok_or_else(missing)
    }

    fn read(&self, key: &str, objects: Vec<CK_OBJECT_HANDLE>) -> Result<Vec<Version>, Fault> {
        let mut versions: Vec<Version> = Vec::new();
        let mut publics = Vec::new();
        for object in objects {
            let [class, kind, id, wrap, unwrap, encrypt, decrypt, start, end, len, modulus] = self.session.attributes(
                object,
                [
                    CKA_CLASS,
                    CKA_KEY_TYPE,
                    CKA_ID,
                    CKA_WRAP,
                    CKA_UNWRAP,
                    CKA_ENCRYPT,
                    CKA_DECRYPT,
                    CKA_START_DATE,
                    CKA_END_DATE,
                    CKA_VALUE_LEN,
                    CKA_MODULUS_BITS,
                ],
            )?;
            let (class, kind, id) = (number(class), number(kind), id.unwrap_or_default());
            let (wrap, unwrap, encrypt, decrypt) = (yes(wrap), yes(unwrap), yes(encrypt), yes(decrypt));
            if 2 * id.len() > 126 {
                log::warn!("{}: a key {key:?} has an id of {} bytes, too long for a version", self.token.id, id.len());
                continue;
            }
            if class == Some(CKO_PUBLIC_KEY) && kind == Some(CKK_RSA) {
                publics.push((id, object, wrap, encrypt, number(modulus)));
                continue;
            }
            let (not_before, ends) = (date(start.as_deref(), key)?, date(end.as_deref(), key)?);
            let kind = match (class, kind, number(len)) {
                (Some(CKO_SECRET_KEY), Some(CKK_AES), Some(32)) => KeyKind::Aes256,
                (Some(CKO_PRIVATE_KEY), Some(CKK_RSA), _) => KeyKind::Rsa2048, // until its modulus is seen
                (Some(CKO_SECRET_KEY | CKO_PRIVATE_KEY), ..) => {
                    log::warn!("{}: a key {key:?} is neither AES-256 nor RSA, and isn't used", self.token.id);
                    continue;
                }
                _ => continue,
            };
            let is_aes = kind == KeyKind::Aes256;
            versions.push(Version {
                id,
                kind,
                wrapper: is_aes.then_some(object),
                can_wrap: is_aes && wrap,
                can_encrypt: is_aes && encrypt && self.token.options.encrypt,
                unwrapper: object,
                can_unwrap: unwrap,
                can_decrypt: decrypt && (!is_aes || self.token.options.encrypt),
                not_before,
                // The key may be used on its last day.
                expires: ends.map(|day| day + 86_400),
            });
        }
        let mut sound = Vec::with_capacity(versions.len());
        for mut version in versions {
            if version.kind != KeyKind::Aes256 {
                let public = publics.iter().find(|public| public.0 == version.id);
                let bits = match public.and_then(|public| public.4) {
                    None => self.modulus_bits(version.unwrapper)?,
                    bits => bits,
                };
                version.kind = match bits {
                    Some(2048) => KeyKind::Rsa2048,
                    Some(3072) => KeyKind::Rsa3072,
                    Some(4096) => KeyKind::Rsa4096,
                    _ => {
                        log::warn!(
                            "{}: an RSA key {key:?} hasn't 2048, 3072 or 4096 bits, and isn't used",
                            self.token.id
                        );
                        continue;
                    }
                };
                if let Some((_, object, wrap, encrypt, _)) = public {
                    (version.wrapper, version.can_wrap, version.can_encrypt) = (Some(*object), *wrap, *encrypt);
                }
            }
            sound.push(version);
        }
        let mut versions = sound;
        versions.sort_by(|a, b| a.id.cmp(&b.id));
        if let Some(pair) = versions.windows(2).find(|pair| pair[0].id == pair[1].id) {
            let name = pair[0].name();
            return Err(outage(format!(
                "the token has two keys of label {key:?} and id {name}; give one of them another id"
            )));
        }
        Ok(versions)
    }

    fn modulus_bits(&self, object: CK_OBJECT_HANDLE) -> Result<Option<CK_ULONG>, Fault> {
        let mut bytes = [0; 1024];
        let modulus = self.session.attribute(object, CKA_MODULUS, &mut bytes)?;
        let modulus = modulus.map(|len| &bytes[..len]).unwrap_or_default();
        let first = modulus.iter().position(|&byte| byte != 0);
        Ok(first.map(|first| 8 * (modulus.len() - first) as CK_ULONG - CK_ULONG::from(modulus[first].leading_zeros())))
    }
}

fn number(value: Option<Vec<u8>>) -> Option<CK_ULONG> {
    Some(CK_ULONG::from_ne_bytes(value?.try_into().ok()?))
}

fn yes(value: Option<Vec<u8>>) -> bool {
    value.is_some_and(|value| value.len() == 1 && value[0] != CK_FALSE)
}

/// The first second of a CK_DATE in UTC: eight digits, or nothing, which some libraries write as blanks or zeros.
fn date(value: Option<&[u8]>, key: &str) -> Result<Option<u64>, Fault> {
    let Some(value) = value.filter(|value| !value.iter().all(|byte| matches!(byte, 0 | b' ' | b'0'))) else {
        return Ok(None);
    };
    let bad = || outage(format!("the key {key:?} has a date that is none; set CKA_START_DATE and CKA_END_DATE anew"));
    if value.len() != 8 || !value.iter().all(u8::is_ascii_digit) {
        return Err(bad());
    }
    let number = |digits: &[u8]| digits.iter().fold(0u64, |sum, digit| 10 * sum + u64::from(digit - b'0'));
    let (year, month, day) = (number(&value[..4]), number(&value[4..6]), number(&value[6..]));
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if year < 1970 || !(1..=12).contains(&month) || !(1..=days[month as usize - 1]).contains(&day) {
        return Err(bad());
    }
    let before = year - 1;
    let leaps = before / 4 - before / 100 + before / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    let of_year: u64 = days[..month as usize - 1].iter().sum();
    Ok(Some(((year - 1970) * 365 + leaps + of_year + day - 1) * 86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // Seconds by `date -u -d DAY +%s`.
        for (text, seconds) in [
            ("19700101", 0),
            ("20000229", 951_782_400),
            ("20000301", 951_868_800),
            ("20240229", 1_709_164_800),
            ("20261129", 1_795_910_400),
            ("21000301", 4_107_542_400),
        ] {
            assert_eq!(date(Some(text.as_bytes()), "k").unwrap(), Some(seconds), "{text}");
        }
        for none in [None, Some(&b""[..]), Some(b"        "), Some(b"\0\0\0\0\0\0\0\0"), Some(b"00000000")] {
            assert_eq!(date(none, "k").unwrap(), None);
        }
        for bad in ["2023022", "20230229", "20231301", "20230100", "19691231", "2023-1-1", "+2023101", "20231032"] {
            assert!(date(Some(bad.as_bytes()), "k").is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_versions() {
        for (id, name) in [(&b""[..], "none"), (b"\x01", "01"), (b"\xab\x00", "ab00")] {
            assert_eq!(name_of(id), name);
            assert_eq!(id_of(name).as_deref(), Some(id));
        }
        for bad in ["", "0", "AB", "0x01", "+1", "zz", "latest"] {
            assert_eq!(id_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_latest_version() {
        let version = |id: &[u8], not_before, expires, can_wrap| Version {
            id: id.into(),
            kind: KeyKind::Aes256,
            wrapper: Some(1),
            can_wrap,
            can_encrypt: false,
            unwrapper: 1,
            can_unwrap: true,
            can_decrypt: false,
            not_before,
            expires,
        };
        let name = |versions: &[Version], now| match latest(versions.to_vec(), "k", now) {
            Ok(version) => version.name(),
            Err(Error::KeyRefused { reason, .. }) => reason.name().into(),
            Err(error) => panic!("{error}"),
        };
        let (one, nine, big) =
            (version(b"\x01", None, None, true), version(b"\x00\x09", None, None, true), b"\x01\x00");
        assert_eq!(name(&[one.clone(), nine.clone()], 5), "0009");
        assert_eq!(name(&[nine.clone(), one.clone()], 5), "0009");
        assert_eq!(name(&[nine.clone(), version(big, None, None, true)], 5), "0100");
        // A date is newer than no date, and a date in the future doesn't count yet.
        let dated = version(b"\x00", Some(5), Some(9), true);
        assert_eq!(name(&[nine.clone(), dated.clone()], 5), "00");
        assert_eq!(name(&[nine.clone(), dated.clone()], 4), "0009");
        assert_eq!(name(&[nine, dated.clone()], 9), "0009");
        assert_eq!(name(core::slice::from_ref(&dated), 4), "key-not-yet-valid");
        assert_eq!(name(core::slice::from_ref(&dated), 9), "key-expired");
        assert_eq!(name(&[version(b"\x02", None, None, false)], 9), "key-disabled");
        assert_eq!(name(&[], 9), "no-such-key");
        assert_eq!(to_describe(vec![dated.clone()], "k", 9).unwrap().name(), "00");
        assert_eq!(to_describe(vec![dated], "k", 4).unwrap().name(), "00");
    }
}
