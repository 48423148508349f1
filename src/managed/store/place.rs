//! The keys of records: a key names the object that its record describes, and orders the records in a store.
//!
//! Each part of a key is a name in which everything but letters, digits, '-', '_' and '.' is written as `%XX`. So '/'
//! only separates parts, and no prefix of one kind of record runs into another's.

use std::fmt::Write as _;

use crate::managed::records::{ResourceKind, ResourceName};

/// The object that a record describes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Set(String),
    Resource(ResourceName),
    /// A device without a resource: being made or removed. By its id.
    Orphan(String),
    /// The platform's keys.
    Platform,
    /// A member of a set.
    Member(String, ResourceName),
    /// The resource of a device, by the device's id.
    Id(String),
    /// An incremental snapshot, by the id of its disk and its place in the chain.
    Increment(String, u64),
    /// A resource that was put into a set but is not surely under its key.
    Joining(ResourceName),
    /// A run of a host's service.
    Host(String),
    /// The host that has a device open, by the device's id.
    Attachment(String),
    /// Marks that an image of this name was made: two makers of one image change this record.
    Image(String),
    /// How many parts of a rotation were given out to hosts, by the set's name.
    Turn(String),
    /// A part that was given out: the set's name, the rotation's number and its own.
    Part(String, u64, u64),
    /// The mark of a run of a host's service. Commits of the run that only make records change it.
    Mark(String),
}

pub(super) const SETS: &str = "set/";
pub(super) const HOSTS: &str = "host/";
pub(super) const ATTACHMENTS: &str = "attachment/";
pub(super) const ORPHANS: &str = "orphan/";
pub(super) const JOINING: &str = "joining/";
pub(super) const RESOURCES: &str = "resource/";

/// The prefixes of the keys of the records for finding resources.
pub(super) const INDICES: [&str; 4] = ["id/", "member/", "increment/", JOINING];

impl Place {
    /// The key of its record.
    pub(super) fn key(&self) -> String {
        match self {
            Place::Set(name) => format!("{SETS}{}", Part(name)),
            Place::Resource(name) => format!("{RESOURCES}{}", named(name)),
            Place::Orphan(id) => format!("{ORPHANS}{}", Part(id)),
            Place::Platform => "platform".into(),
            Place::Member(set, name) => format!("{}{}", members_of(set), named(name)),
            Place::Id(id) => format!("id/{}", Part(id)),
            Place::Increment(disk, place) => format!("{}{place:020}", increments_of(disk)),
            Place::Joining(name) => format!("{JOINING}{}", named(name)),
            Place::Host(run) => format!("{HOSTS}{}", Part(run)),
            Place::Attachment(id) => format!("{ATTACHMENTS}{}", Part(id)),
            Place::Image(name) => format!("image/{}", Part(name)),
            Place::Turn(set) => format!("turn/{}", Part(set)),
            Place::Part(set, round, number) => format!("{}{round:020}/{number:020}", parts_of(set)),
            Place::Mark(run) => format!("mark/{}", Part(run)),
        }
    }

    /// The place of a key; `None` for a kind that this version doesn't know.
    pub(super) fn of_key(key: &str) -> Option<Self> {
        let (kind, rest) = key.split_once('/').unwrap_or((key, ""));
        let place = match kind {
            "set" => Place::Set(plain(rest)?),
            "resource" => Place::Resource(resource(rest)?),
            "orphan" => Place::Orphan(plain(rest)?),
            "platform" => Place::Platform,
            "member" => {
                let (set, name) = rest.split_once('/')?;
                Place::Member(plain(set)?, resource(name)?)
            }
            "id" => Place::Id(plain(rest)?),
            "increment" => {
                let (disk, place) = rest.split_once('/')?;
                Place::Increment(plain(disk)?, place.parse().ok()?)
            }
            "joining" => Place::Joining(resource(rest)?),
            "host" => Place::Host(plain(rest)?),
            "attachment" => Place::Attachment(plain(rest)?),
            "image" => Place::Image(plain(rest)?),
            "turn" => Place::Turn(plain(rest)?),
            "part" => {
                let (set, rest) = rest.split_once('/')?;
                let (round, number) = rest.split_once('/')?;
                Place::Part(plain(set)?, round.parse().ok()?, number.parse().ok()?)
            }
            "mark" => Place::Mark(plain(rest)?),
            _ => return None,
        };
        // One record has one key.
        (place.key() == key).then_some(place)
    }

    /// The name in errors, after "the record of the ".
    pub(super) fn name(&self) -> String {
        match self {
            Place::Set(name) => format!("set {name:?}"),
            Place::Resource(name) => name.to_string(),
            Place::Orphan(id) => format!("device {id:?}, which is to be removed"),
            Place::Platform => "platform's keys".into(),
            Place::Member(set, name) => format!("{name} as a member of the set {set:?}"),
            Place::Id(id) => format!("device {id:?}"),
            Place::Increment(disk, place) => format!("incremental snapshot {place} of the disk with the id {disk:?}"),
            Place::Joining(name) => format!("{name}, which is moving into a set"),
            Place::Host(run) => format!("host with the run {run:?}"),
            Place::Attachment(id) => format!("device {id:?}, as attached to a host"),
            Place::Image(name) => format!("image {name:?}"),
            Place::Turn(set) => format!("rotation of {set:?}"),
            Place::Part(set, _, number) => format!("part {number} of the rotation of {set:?}"),
            Place::Mark(run) => format!("commits of the host with the run {run:?}"),
        }
    }
}

/// The prefix of the keys of all resources of a kind.
pub(super) fn resources_of(kind: ResourceKind) -> String {
    format!("{RESOURCES}{}/", kind.name())
}

/// The prefix of the keys of an image's copies.
pub(super) fn copies_of(image: &str) -> String {
    format!("{}{}/", resources_of(ResourceKind::Image), Part(image))
}

/// The prefix of the keys of a set's members.
pub(super) fn members_of(set: &str) -> String {
    format!("member/{}/", Part(set))
}

/// The prefix of the keys of the parts of a rotation.
pub(super) fn parts_of(set: &str) -> String {
    format!("part/{}/", Part(set))
}

/// A string right before a key: no other key is between the two.
pub(super) fn before(key: &str) -> String {
    let mut before = key.to_owned();
    // Keys are ASCII without tildes, and a tilde sorts after every character in them.
    let last = before.pop().and_then(|last| char::from_u32(u32::from(last).saturating_sub(1)));
    before.extend(last);
    before + "~"
}

/// The prefix of the keys of a disk's incremental snapshots, by the disk's id.
pub(super) fn increments_of(disk: &str) -> String {
    format!("increment/{}/", Part(disk))
}

/// A part of a key.
struct Part<'n>(&'n str);

impl core::fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.0.bytes().all(is_plain) {
            return f.write_str(self.0);
        }
        self.0.bytes().try_for_each(|byte| match byte {
            byte if is_plain(byte) => f.write_char(byte.into()),
            _ => write!(f, "%{byte:02X}"),
        })
    }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
}

/// The name of a part, unless it was written in another way than [`Part`] does.
fn plain(part: &str) -> Option<String> {
    if !part.contains('%') {
        return Some(part.into());
    }
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(core::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A resource's kind and name. The name of an image's copy has several parts.
fn named(name: &ResourceName) -> String {
    let mut key = name.kind.name().to_owned();
    for part in name.name.split('/') {
        // Writing to a string can't fail.
        let _ = write!(key, "/{}", Part(part));
    }
    key
}

fn resource(key: &str) -> Option<ResourceName> {
    let (kind, name) = key.split_once('/')?;
    let kind = ResourceKind::from_name(kind)?;
    let parts: Option<Vec<_>> = name.split('/').map(plain).collect();
    Some(ResourceName { kind, name: parts?.join("/") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_its_place_and_no_prefix_runs_into_anothers() {
        let disk = ResourceName::disk("d");
        let odd = "a/b %\u{1}\u{e4}";
        let places = [
            Place::Set("s".into()),
            Place::Set(odd.into()),
            Place::Resource(disk.clone()),
            Place::Resource(ResourceName::image("i", "north", 3)),
            Place::Orphan("o".into()),
            Place::Platform,
            Place::Member("s".into(), disk.clone()),
            Place::Member(odd.into(), ResourceName::snapshot(odd)),
            Place::Id(odd.into()),
            Place::Increment("d".into(), 7),
            Place::Joining(disk),
            Place::Image("i".into()),
            Place::Turn(odd.into()),
            Place::Part(odd.into(), 3, u64::MAX),
            Place::Mark("h".into()),
            Place::Host("h".into()),
            Place::Attachment("a".into()),
        ];
        for place in &places {
            let key = place.key();
            assert_eq!(Place::of_key(&key).as_ref(), Some(place), "{key}");
            assert!(key.bytes().all(|byte| byte.is_ascii_graphic()), "{key}");
        }
        assert!(!Place::Member("set/disk".into(), ResourceName::disk("d")).key().starts_with(&members_of("set")));
        assert!(Place::Increment("d".into(), 9).key() < Place::Increment("d".into(), 10).key());
        let key = Place::Resource(ResourceName::disk("b-")).key();
        for (name, is_after) in
            [("a", false), ("b", false), ("b-", true), ("b-0", true), ("b,", false), ("b--", true), ("b.", true)]
        {
            assert_eq!(Place::Resource(ResourceName::disk(name)).key() > before(&key), is_after, "{name}");
        }
        for key in ["set/%2f", "set/%zz", "increment/d/7", "resource/none/a", "other/a", "set/a%", "platform/"] {
            assert_eq!(Place::of_key(key), None, "{key}");
        }
    }
}
