//! What a handle holds of its vault's file, and how it tells that the file is still that.

use core::ops::Deref;
use std::fs::{File, Metadata, OpenOptions};
use std::path::Path;
use std::sync::Arc;

use super::body::Body;
use crate::fs::{self, Links};

/// Whether a file is trusted that was written to just now. Only in this crate's own tests: they try that the last line tells
/// every change by itself.
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

/// What tells a file from each other one that may take its place.
///
/// **Why that is sound.** A vault's writer replaces the file by a rename, and each of its files has another last line, because
/// the MAC there covers the whole body with its generation. That line is read anew for each use, from the file that the path
/// names at that moment. So a sound file with other content is seen at once, however it came there and whatever its times
/// and its inode are: by a rename, by a copy over it within one tick of the clock, or on another machine. The file is opened,
/// not only looked up, since network file systems ask their server when a file is opened.
///
/// What is left is a file that is no vault's: altered bytes before the same last line. Each write to a file and each rename
/// sets its time of change (`ctime`), which no call can set back. The stamp is only made where that time lies so far back that
/// a later write gets another one ([`is_settled`](Attributes::is_settled)). Until then the file is read and verified for each
/// use. So such a file is refused as ever, but for one whose bytes change without the file system's clock: by stores through a
/// mapping that was written to before, by writes to the disk below, or with the clock set back. Whoever does
/// that gains nothing: the handle goes on by the newest body that it has verified, and reads no byte of theirs.
pub(super) struct Stamp {
    attributes: Attributes,
    /// The last line.
    end: Vec<u8>,
}

impl Stamp {
    /// The stamp of a file whose text was read from one open file with these attributes before and after. `None`: it can't
    /// be told from a file that is written to later.
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

    /// Whether the file at a path is the one that was read. It takes the same time for each length of the file.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        let is_same = |(file, found): (File, Metadata)| {
            let from = self.attributes.len.checked_sub(self.end.len() as u64)?;
            let mut end = vec![0; self.end.len()];
            (Attributes::of(&found)? == self.attributes && fs::read_exact_at(&file, &mut end, from).is_ok())
                .then_some(end)
        };
        // Any doubt, and any error, is for who reads the whole file.
        let found = fs::open_found(OpenOptions::new().read(true), path, Links::Refuse).ok();
        found.and_then(is_same).is_some_and(|end| end == self.end)
    }
}

/// What the operating system tells of an open file.
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
    /// `None`: the system doesn't tell.
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

    /// Whether a write from now on gives the file another time of change. File systems keep it in ticks of their clock:
    /// up to 10 ms on Linux, and 1 or 2 s where nothing finer than a millisecond is stored.
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

/// Other systems tell no time of change: there the file is read for each use.
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
