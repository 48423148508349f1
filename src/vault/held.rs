//! The content of the vault's file that a handle holds, and the check that the file is unchanged.

use core::ops::Deref;
use std::fs::{File, Metadata, OpenOptions};
use std::path::Path;
use std::sync::Arc;

use super::body::Body;
use crate::fs::{self, Links};

/// Whether to trust a file that was written to just now. It is true only in this crate's own tests, which check that the last line
/// alone reveals every change.
#[cfg(unix)]
const TRUST_AT_ONCE: bool = cfg!(test);

/// A verified body. It has no key in clear: the KEKs in it are wrapped, as in the file.
pub(super) struct Held {
    body: Body,
    /// The file that it was read from. `None`: the file must be read again before the next use.
    pub(super) stamp: Option<Arc<Stamp>>,
}

impl Held {
    pub(super) fn new(mut body: Body, stamp: Option<Stamp>) -> Self {
        body.index();
        Held { body, stamp: stamp.map(Arc::new) }
    }
}

impl Deref for Held {
    type Target = Body;

    fn deref(&self) -> &Body {
        &self.body
    }
}

/// Distinguishes a file from any other that may take its place.
///
/// **Why this is sound.** A vault's writer replaces the file by a rename, and each of its files has a different last line, because
/// the MAC there covers the whole body with its generation. That line is read anew for each use, from the file that the path
/// names at that moment. So a sound file with other content is noticed at once, whatever its times and its inode are, and however
/// it came there: by a rename, by a copy over it within one tick of the clock, or on another machine. The file is opened, not only
/// looked up, since network file systems ask their server when a file is opened.
///
/// The remaining case is a file that no vault wrote: altered bytes before the same last line. Each write to a file and each rename
/// sets its time of change (`ctime`), which no call can set back. The stamp is only made if that time lies so far back that a
/// later write gets another one ([`is_settled`](Attributes::is_settled)). Until then the file is read and verified for each use.
/// So such a file is refused as before, except one whose bytes change without the file system's clock: by stores through a mapping
/// that was written to before, by writes to the disk below, or with the clock set back. An attacker who does that gains nothing:
/// the handle goes on with the newest body that it has verified, and reads none of the altered bytes.
pub(super) struct Stamp {
    attributes: Attributes,
    /// The last line.
    end: Vec<u8>,
}

impl Stamp {
    /// The stamp of a text read from one open file with these attributes before and after. `None`: a later write to the file
    /// couldn't be noticed.
    pub(super) fn new(
        before: Option<Attributes>,
        after: Option<Attributes>,
        text: &[u8],
        settled: bool,
    ) -> Option<Self> {
        let attributes =
            before.filter(|before| settled && Some(*before) == after && before.len == text.len() as u64)?;
        let lines = text.strip_suffix(b"\n")?;
        let end = lines.iter().rposition(|&byte| byte == b'\n')? + 1;
        Some(Stamp { attributes, end: text[end..].to_vec() })
    }

    /// Whether the file at a path is the one that was read. The time doesn't depend on the length of the file.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        let is_same = |(file, found): (File, Metadata)| {
            let from = self.attributes.len.checked_sub(self.end.len() as u64)?;
            let mut end = vec![0; self.end.len()];
            (Attributes::of(&found)? == self.attributes && fs::read_exact_at(&file, &mut end, from).is_ok())
                .then_some(end)
        };
        // In any doubt, and after any error, the caller reads the whole file.
        let found = fs::open_found(OpenOptions::new().read(true), path, Links::Refuse).ok();
        found.and_then(is_same).is_some_and(|end| end == self.end)
    }
}

/// The attributes of an open file, from the operating system.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[cfg(unix)]
impl Attributes {
    /// `None`: the system doesn't report them.
    pub(super) fn of(found: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        Some(Attributes {
            device: found.dev(),
            inode: found.ino(),
            len: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// Whether a write from now on gives the file another time of change. File systems round that time to ticks of their clock:
    /// up to 10 ms on Linux, and 1 or 2 s where they store nothing finer than a millisecond.
    pub(super) fn is_settled(&self) -> bool {
        use std::time::{Duration, SystemTime};
        let (seconds, nanos) = self.changed;
        let tick = Duration::from_millis(if nanos % 1_000_000 == 0 { 3000 } else { 100 });
        let changed = || {
            let since = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?);
            SystemTime::UNIX_EPOCH.checked_add(since)?.checked_add(tick)
        };
        TRUST_AT_ONCE || changed().is_some_and(|settled| SystemTime::now() > settled)
    }
}

/// Other systems report no time of change, so the file is read for each use.
#[cfg(not(unix))]
impl Attributes {
    pub(super) fn of(_: &Metadata) -> Option<Self> {
        None
    }

    pub(super) fn is_settled(&self) -> bool {
        false
    }
}

#[cfg(all(test, unix))]
mod tests;
