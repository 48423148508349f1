//! A server's description of an object, and whether the object may be used.

use atrest::key::{KeyDescription, KeyId, KeyKind};
use atrest::{Error, KeyRefusal};

use crate::message::check_identifier;
use crate::tag;
use crate::trouble::Trouble;
use crate::ttlv::{Field, Malformed, Structure};

/// The most names of an object that are read.
const MOST_NAMES: usize = 64;

/// The state of an object (KMIP 1.4, 3.22; KMIP 2.1, 4.57).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    PreActive,
    Active,
    Deactivated,
    Compromised,
    Destroyed,
}

/// A key at the server: one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) uid: String,
    pub(crate) names: Vec<String>,
    pub(crate) is_aes_256: bool,
    pub(crate) state: State,
    usage: u32,
    initial: Option<u64>,
    activation: Option<u64>,
    process_start: Option<u64>,
    protect_stop: Option<u64>,
    deactivation: Option<u64>,
    was_revoked: bool,
    /// Whether the identifier that it was asked for by is another spelling of its own.
    is_alias: bool,
}

/// The purpose for which a key is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Wrap,
    Unwrap,
}

impl Object {
    /// Reads the payload of Get Attributes.
    pub(crate) fn read(payload: Structure<'_>, uid: &str) -> Result<Self, Malformed> {
        check_identifier(payload, uid)?;
        let mut object = Object {
            uid: uid.into(),
            names: Vec::new(),
            is_aes_256: false,
            state: State::PreActive,
            usage: 0,
            initial: None,
            activation: None,
            process_start: None,
            protect_stop: None,
            deactivation: None,
            was_revoked: false,
            is_alias: false,
        };
        let (mut state, mut kind, mut algorithm, mut length) = (None, None, None, None);
        let mut read = |tag: u32, value: Field<'_>| {
            match tag {
                tag::NAME if object.names.len() < MOST_NAMES => {
                    let name = value.structure()?.need(tag::NAME_VALUE, "a name has no value")?.text()?;
                    object.names.push(name.into());
                }
                tag::UNIQUE_IDENTIFIER => object.is_alias = value.text()? != uid,
                tag::OBJECT_TYPE => kind = Some(value.enumeration()?),
                tag::CRYPTOGRAPHIC_ALGORITHM => algorithm = Some(value.enumeration()?),
                tag::CRYPTOGRAPHIC_LENGTH => length = Some(value.integer()?),
                tag::CRYPTOGRAPHIC_USAGE_MASK => object.usage = value.integer()?,
                tag::STATE => state = Some(value.enumeration()?),
                tag::INITIAL_DATE => object.initial = Some(value.date()?),
                tag::ACTIVATION_DATE => object.activation = Some(value.date()?),
                tag::PROCESS_START_DATE => object.process_start = Some(value.date()?),
                tag::PROTECT_STOP_DATE => object.protect_stop = Some(value.date()?),
                tag::DEACTIVATION_DATE => object.deactivation = Some(value.date()?),
                tag::REVOCATION_REASON => object.was_revoked = true,
                _ => {}
            }
            Ok(())
        };
        for field in payload.fields() {
            let field = field?;
            match field.tag {
                // KMIP 1.x: a name and a value.
                tag::ATTRIBUTE => {
                    let attribute = field.structure()?;
                    let name = attribute.need(tag::ATTRIBUTE_NAME, "an attribute has no name")?.text()?;
                    let known = tag::ATTRIBUTE_NAMES.iter().find(|(known, _)| *known == name);
                    let value = attribute.find(tag::ATTRIBUTE_VALUE)?;
                    if let (Some((_, tag)), Some(value)) = (known, value) {
                        read(*tag, value)?;
                    }
                }
                // KMIP 2.x: each under its own tag.
                tag::ATTRIBUTES => {
                    for field in field.structure()?.fields() {
                        let field = field?;
                        read(field.tag, field)?;
                    }
                }
                _ => {}
            }
        }
        object.is_aes_256 = (kind, algorithm, length) == (Some(tag::OF_SYMMETRIC_KEY), Some(tag::AES), Some(256));
        object.state = match state {
            Some(1) => State::PreActive,
            Some(2) => State::Active,
            Some(3) => State::Deactivated,
            Some(4) => State::Compromised,
            Some(5 | 6) => State::Destroyed,
            // What is no key of a DEK needs no state, and some of it has none.
            None if !object.is_aes_256 => State::PreActive,
            // Without a state it is unknown whether the key may be used, and a client shouldn't guess.
            _ => return Err(Malformed("it says no state of the key that is known here")),
        };
        Ok(object)
    }

    /// Whether the object is a version of the key of this name.
    ///
    /// One without names is, too: Re-key moves the name to the new object (KMIP 1.4, 4.4), so that old versions have none.
    pub(crate) fn is_of(&self, key: &str) -> bool {
        // PyKMIP answers for `01` with the object `1`. A version has one name.
        !self.is_alias && (self.names.is_empty() || self.names.iter().any(|name| name == key))
    }

    /// Why it may not be used now, if so. `mask` has the bits of the usage mask that this takes.
    pub(crate) fn refusal(&self, purpose: Use, mask: u32, now: u64) -> Option<KeyRefusal> {
        let past = |date: Option<u64>| date.is_some_and(|date| date <= now);
        match self.state {
            // Without a date it waits to be activated explicitly.
            State::PreActive if self.activation.is_none() => return Some(KeyRefusal::Disabled),
            State::PreActive => return Some(KeyRefusal::NotYetValid),
            // Revoke says why it deactivated a key; a date that came doesn't.
            State::Deactivated if past(self.deactivation) && !self.was_revoked => return Some(KeyRefusal::Expired),
            State::Deactivated | State::Compromised => return Some(KeyRefusal::Disabled),
            State::Destroyed => return Some(KeyRefusal::Deleted),
            State::Active => {}
        }
        // A server changes the state when a date comes; one that is late is not waited for.
        if past(self.deactivation) || (purpose == Use::Wrap && past(self.protect_stop)) {
            return Some(KeyRefusal::Expired);
        }
        // A DEK that is wrapped is unwrapped at once, as a check.
        if self.not_before().is_some_and(|from| now < from) {
            return Some(KeyRefusal::NotYetValid);
        }
        (!self.may(mask)).then_some(KeyRefusal::Disabled)
    }

    /// Whether the usage mask has these bits.
    pub(crate) fn may(&self, mask: u32) -> bool {
        self.usage & mask == mask
    }

    fn not_before(&self) -> Option<u64> {
        self.activation.max(self.process_start)
    }

    /// Orders versions: the one that was activated later is newer; servers that don't say when are asked when it was made. Of
    /// two in one second, the higher identifier is newer, as a number if it is one.
    pub(crate) fn age(&self) -> (Option<u64>, Option<u64>, usize, &str) {
        (self.activation.or(self.initial), self.initial, self.uid.len(), &self.uid)
    }

    pub(crate) fn describe(&self, vault: &str, key: &str, mask: u32) -> Result<KeyDescription, Error> {
        let mut description = KeyDescription::new(KeyId::new(vault, key, &self.uid)?, KeyKind::Aes256);
        // Whether it is out of its dates isn't part of this.
        let enabled = match self.state {
            State::PreActive => self.activation.is_some(),
            State::Active => true,
            State::Deactivated => !self.was_revoked && self.deactivation.is_some(),
            State::Compromised | State::Destroyed => false,
        };
        description.enabled = enabled && self.may(mask);
        description.not_before = self.not_before();
        description.expires = self.deactivation;
        description.created = self.initial;
        Ok(description)
    }
}

/// The latest version that may wrap at `now`.
pub(crate) fn latest(objects: Vec<Object>, mask: u32, now: u64) -> Result<Object, Trouble> {
    let age = |a: &&Object, b: &&Object| a.age().cmp(&b.age());
    let usable = objects.iter().filter(|object| object.refusal(Use::Wrap, mask, now).is_none());
    if let Some(latest) = usable.max_by(age) {
        return Ok(latest.clone());
    }
    // The newest gives the reason.
    let reason = objects.iter().max_by(age).and_then(|object| object.refusal(Use::Wrap, mask, now));
    Err(Trouble::Key(reason.unwrap_or(KeyRefusal::Missing)))
}

/// As [`latest`]; if none may wrap now, the newest that is only out of its dates.
pub(crate) fn to_describe(objects: Vec<Object>, mask: u32, now: u64) -> Result<Object, Trouble> {
    let dated = |object: &&Object| {
        matches!(object.refusal(Use::Wrap, mask, now), Some(KeyRefusal::Expired | KeyRefusal::NotYetValid))
    };
    let newest = objects.iter().filter(dated).max_by(|a, b| a.age().cmp(&b.age())).cloned();
    match (latest(objects, mask, now), newest) {
        (Err(_), Some(newest)) => Ok(newest),
        (other, _) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: u32 = tag::MAY_ENCRYPT | tag::MAY_DECRYPT;

    fn object(uid: &str, state: State) -> Object {
        Object {
            uid: uid.into(),
            names: vec!["disks".into()],
            is_aes_256: true,
            state,
            usage: BOTH,
            initial: Some(100),
            activation: None,
            process_start: None,
            protect_stop: None,
            deactivation: None,
            was_revoked: false,
            is_alias: false,
        }
    }

    fn reason(object: &Object, purpose: Use) -> &'static str {
        object.refusal(purpose, BOTH, 1000).map_or("", |reason| reason.name())
    }

    #[test]
    fn states_and_dates() {
        let of = |state, change: fn(&mut Object)| {
            let mut object = object("1", state);
            change(&mut object);
            [reason(&object, Use::Wrap), reason(&object, Use::Unwrap)]
        };
        let both = |reason| [reason; 2];
        assert_eq!(of(State::Active, |_| {}), both(""));
        assert_eq!(of(State::Active, |o| o.usage = tag::MAY_DECRYPT), both("key-disabled"));
        assert_eq!(of(State::Active, |o| o.protect_stop = Some(1000)), ["key-expired", ""]);
        assert_eq!(of(State::Active, |o| o.protect_stop = Some(1001)), both(""));
        assert_eq!(of(State::Active, |o| o.process_start = Some(1001)), both("key-not-yet-valid"));
        assert_eq!(of(State::Active, |o| o.process_start = Some(1000)), both(""));
        assert_eq!(of(State::Active, |o| o.deactivation = Some(1000)), both("key-expired"));
        assert_eq!(of(State::Active, |o| o.deactivation = Some(1001)), both(""));
        assert_eq!(of(State::PreActive, |_| {}), both("key-disabled"));
        assert_eq!(of(State::PreActive, |o| o.activation = Some(1001)), both("key-not-yet-valid"));
        assert_eq!(of(State::Deactivated, |_| {}), both("key-disabled"));
        assert_eq!(of(State::Deactivated, |o| o.deactivation = Some(1000)), both("key-expired"));
        let revoked = |o: &mut Object| (o.deactivation, o.was_revoked) = (Some(1000), true);
        assert_eq!(of(State::Deactivated, revoked), both("key-disabled"));
        assert_eq!(of(State::Compromised, |_| {}), both("key-disabled"));
        assert_eq!(of(State::Destroyed, |_| {}), both("key-deleted"));
    }

    #[test]
    fn the_latest_version() {
        let name = |objects: &[Object]| match latest(objects.to_vec(), BOTH, 1000) {
            Ok(object) => object.uid,
            Err(Trouble::Key(reason)) => reason.name().into(),
            Err(trouble) => panic!("{trouble:?}"),
        };
        let (old, nine, ten) = (object("8", State::Active), object("9", State::Active), object("10", State::Active));
        assert_eq!(name(&[]), "no-such-key");
        assert_eq!(name(&[ten.clone(), nine.clone()]), "10");
        // A later activation is newer than a later creation.
        let activated = Object { activation: Some(900), ..old };
        let made = Object { initial: Some(500), ..nine };
        assert_eq!(name(&[activated.clone(), made.clone(), ten.clone()]), "8");
        assert_eq!(name(&[made, ten.clone()]), "9");
        // An object that may not wrap isn't the latest, but tells why there is none.
        let expired = Object { deactivation: Some(1000), ..activated };
        assert_eq!(name(&[expired.clone(), ten]), "10");
        assert_eq!(name(core::slice::from_ref(&expired)), "key-expired");
        assert_eq!(name(&[object("1", State::Compromised)]), "key-disabled");
        let described = to_describe(vec![object("1", State::Compromised), expired], BOTH, 1000).unwrap();
        let described = described.describe("kmip://h:1", "disks", BOTH).unwrap();
        assert_eq!((described.id.version(), described.enabled, described.expires), ("8", true, Some(1000)));
    }

    #[test]
    fn names() {
        let mut object = object("1", State::Active);
        assert!(object.is_of("disks") && !object.is_of("disk"));
        // Re-key took the name away.
        object.names.clear();
        assert!(object.is_of("disks"));
    }
}
