//! A page blob under a lease.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use atrest_http::{Deadline, Gate, Method, Response};

use crate::failure::{code, late, refused, unexpected};
use crate::options::Lease;
use crate::sequence::Sequence;
use crate::service::{Ask, Service};

/// The most bytes that one request moves ("Put Page").
pub(crate) const PIECE: u64 = 4 << 20;
/// The unit of page blobs.
pub(crate) const PAGE: u64 = 512;
/// How long a device that is dropped waits for its lease to be released.
const RELEASE: Duration = Duration::from_secs(5);

pub(crate) struct Held {
    pub service: Arc<Service>,
    pub blob: String,
    lease_id: String,
    lost: OnceLock<String>,
    sequence: Sequence,
    /// Held alone while the number is raised.
    raising: Gate,
    /// Shared by writers; held alone while the size is set.
    resizing: Gate,
    /// The blob's size; unknown after a change whose outcome is unknown.
    size: Mutex<Option<u64>>,
}

/// A blob's properties.
pub(crate) struct Properties {
    pub size: u64,
    pub sequence: u64,
}

impl Held {
    /// Takes the lease of a blob. The kind of the error is `ResourceBusy` if another client has it.
    pub fn acquire(service: Arc<Service>, blob: &str, lease: Lease) -> io::Result<Self> {
        let deadline = service.deadline();
        // Its name is chosen here, so that asking twice takes it once.
        let lease_id = uuid::Uuid::new_v4().to_string();
        let seconds = match lease {
            Lease::Renewed(seconds) => seconds.to_string(),
            Lease::Infinite => "-1".into(),
        };
        let ask = Ask::new(Method::Put, Some(blob)).query("comp", "lease").header("x-ms-lease-action", "acquire");
        let ask = ask.header("x-ms-lease-duration", seconds).header("x-ms-proposed-lease-id", &lease_id);
        service.ask(deadline, &ask)?;
        let held = Held {
            service,
            blob: blob.into(),
            lease_id,
            lost: OnceLock::new(),
            sequence: Sequence::new(0),
            raising: Gate::default(),
            resizing: Gate::default(),
            size: Mutex::new(None),
        };
        match held.properties(deadline) {
            Ok(found) => {
                held.sequence.raised(found.sequence);
                *held.size.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.size);
                Ok(held)
            }
            Err(e) => {
                held.release();
                Err(e)
            }
        }
    }

    fn ask(&self, method: Method) -> Ask<'_> {
        Ask::new(method, Some(&self.blob)).header("x-ms-lease-id", &self.lease_id)
    }

    /// Gives the lease back, if that is possible soon. A forked child leaves it to its parent.
    pub fn release(&self) {
        if self.check().is_ok() {
            let ask = self.ask(Method::Put).query("comp", "lease").header("x-ms-lease-action", "release");
            let deadline = self.service.deadline().within(RELEASE);
            let _ = self.service.send(deadline, &ask);
        }
    }

    /// Renews the lease. It is lost if the service says so.
    pub fn renew(&self, deadline: Deadline) -> io::Result<()> {
        let ask = self.ask(Method::Put).query("comp", "lease").header("x-ms-lease-action", "renew");
        let answer = self.service.call(deadline, &ask).answer?;
        match answer.status {
            200..=299 => Ok(()),
            404 | 409 | 412 => Err(self.lose(&format!("{} {}", answer.status, code(&answer)))),
            _ => Err(refused(&answer)),
        }
    }

    /// Ends all reads and writes from here on.
    pub fn lose(&self, reason: &str) -> io::Error {
        let text = || {
            format!("the lease of {} is lost ({reason}): another host may have it; open the device again", self.blob)
        };
        stale(self.lost.get_or_init(text))
    }

    /// Whether it may be used. It takes no lock: call it first.
    pub fn check(&self) -> io::Result<()> {
        self.service.owner().check_io()?;
        self.lost.get().map_or(Ok(()), |text| Err(stale(text)))
    }

    /// Looks at an answer that isn't a success: after `Ok` the request may be sent again.
    fn after_refusal(&self, deadline: Deadline, answer: &Response) -> io::Result<()> {
        match (answer.status, code(answer)) {
            // A lease that has run out, and that no client took since, can be renewed: nothing was written since.
            (409 | 412, code) if code.starts_with("Lease") => self.renew(deadline),
            (404, _) => Err(self.lose("the blob was removed")),
            _ if answer.is_transient() => Ok(()),
            _ => Err(refused(answer)),
        }
    }

    fn properties(&self, deadline: Deadline) -> io::Result<Properties> {
        let answer = self.service.ask(deadline, &self.ask(Method::Head))?;
        properties(&answer)
    }

    /// The blob's size.
    pub fn size(&self, deadline: Deadline) -> io::Result<u64> {
        self.check()?;
        if let Some(size) = *self.size.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(size);
        }
        let _alone = self.resizing.alone(deadline).ok_or_else(|| late("the size of the blob"))?;
        // After that a late change of the size is refused.
        self.settled(deadline)?;
        let found = self.properties(deadline)?;
        *self.size.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.size);
        Ok(found.size)
    }

    /// The number that writes carry, once no earlier write can come late.
    fn settled(&self, deadline: Deadline) -> io::Result<u64> {
        loop {
            if let Ok(number) = self.sequence.current() {
                return Ok(number);
            }
            let _alone = self.raising.alone(deadline).ok_or_else(|| late("settling an earlier write"))?;
            let Err(target) = self.sequence.current() else { continue };
            self.raise(deadline, target)?;
        }
    }

    /// Raises the blob's number at least to `target`, which also gives the blob another ETag. A late or repeated raise changes
    /// nothing, since the number never falls: the action is `max`.
    fn raise(&self, deadline: Deadline, target: u64) -> io::Result<String> {
        let mut retries = self.service.retries(deadline);
        let ask = self.ask(Method::Put).query("comp", "properties");
        let ask = ask.header("x-ms-sequence-number-action", "max").header("x-ms-blob-sequence-number", target);
        loop {
            self.check()?;
            let mut asked = None;
            let failed = match self.service.send(deadline, &ask) {
                Ok(answer) if answer.is_success() => {
                    let number = answer.header("x-ms-blob-sequence-number").and_then(|number| number.parse().ok());
                    let etag = answer.header("etag").map(str::to_owned);
                    let (Some(number), Some(etag)) = (number, etag) else {
                        return Err(unexpected("the service doesn't tell the blob's sequence number and ETag"));
                    };
                    if !self.sequence.raised(number) {
                        return Err(unexpected(format!("the service left the blob's sequence number at {number}")));
                    }
                    return Ok(etag);
                }
                Ok(answer) => {
                    self.after_refusal(deadline, &answer)?;
                    asked = answer.retry_after();
                    refused(&answer)
                }
                Err(failure) => failure.into(),
            };
            if !retries.wait(asked) {
                return Err(failed);
            }
        }
    }

    /// Writes pages, or clears them: at most [`PIECE`] bytes of data.
    pub fn put(&self, deadline: Deadline, offset: u64, len: u64, data: Option<&[u8]>) -> io::Result<()> {
        let _shared = self.resizing.share(deadline).ok_or_else(|| late("a write"))?;
        let mut retries = self.service.retries(deadline);
        loop {
            self.check()?;
            let number = self.settled(deadline)?;
            let mut ask = self.ask(Method::Put).query("comp", "page");
            ask = ask.header("x-ms-page-write", if data.is_some() { "update" } else { "clear" });
            ask = ask.header("x-ms-range", format!("bytes={offset}-{}", offset + len - 1));
            ask = ask.header("x-ms-if-sequence-number-eq", number);
            ask.body = data.unwrap_or_default();
            let mut asked = None;
            let failed = match self.service.send(deadline, &ask) {
                Ok(answer) if answer.is_success() => return Ok(()),
                // This one wasn't done. Another write was in doubt, and the number was raised for it..
                Ok(answer) if code(&answer) == "SequenceNumberConditionNotMet" => {
                    if self.sequence.current() != Ok(number) {
                        continue;
                    }
                    // ..or another client raised it.
                    self.sequence.doubt(number);
                    refused(&answer)
                }
                Ok(answer) => {
                    // `ServerBusy` refuses before anything is done. Of other troubles the server doesn't know the end itself.
                    if answer.status == 408 || answer.status >= 500 && code(&answer) != "ServerBusy" {
                        self.sequence.doubt(number);
                    }
                    self.after_refusal(deadline, &answer)?;
                    asked = answer.retry_after();
                    refused(&answer)
                }
                Err(failure) => {
                    if failure.may_have_happened() {
                        self.sequence.doubt(number);
                    }
                    failure.into()
                }
            };
            if !retries.wait(asked) {
                return Err(failed);
            }
        }
    }

    /// Reads at most [`PIECE`] bytes.
    pub fn get(&self, deadline: Deadline, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut retries = self.service.retries(deadline);
        let range = format!("bytes={offset}-{}", offset + bytes.len() as u64 - 1);
        let mut ask = self.ask(Method::Get).header("x-ms-range", range);
        ask.most = bytes.len().max(64 << 10);
        loop {
            self.check()?;
            let mut asked = None;
            let failed = match self.service.send(deadline, &ask) {
                Ok(answer) if answer.is_success() => return part(&answer, offset, bytes),
                Ok(answer) => {
                    self.after_refusal(deadline, &answer)?;
                    asked = answer.retry_after();
                    refused(&answer)
                }
                Err(failure) => failure.into(),
            };
            if !retries.wait(asked) {
                return Err(failed);
            }
        }
    }

    /// Sets the blob's size.
    pub fn resize(&self, deadline: Deadline, size: u64) -> io::Result<()> {
        self.check()?;
        let _alone = self.resizing.alone(deadline).ok_or_else(|| late("setting the size"))?;
        let known = |size| *self.size.lock().unwrap_or_else(PoisonError::into_inner) = size;
        let mut retries = self.service.retries(deadline);
        loop {
            // The ETag is a new one then: a change that comes late has the old one and is refused.
            let target = self.settled(deadline)? + 1;
            let etag = self.raise(deadline, target)?;
            let found = self.properties(deadline)?;
            known(Some(found.size));
            if found.size == size {
                return Ok(());
            }
            let ask = self.ask(Method::Put).query("comp", "properties").header("if-match", etag);
            let ask = ask.header("x-ms-blob-content-length", size);
            let mut asked = None;
            let failed = match self.service.send(deadline, &ask) {
                Ok(answer) if answer.is_success() => {
                    known(Some(size));
                    return Ok(());
                }
                Ok(answer) if code(&answer) == "ConditionNotMet" => refused(&answer),
                Ok(answer) => {
                    if answer.is_transient() {
                        known(None);
                        self.sequence.doubt_current();
                    }
                    self.after_refusal(deadline, &answer)?;
                    asked = answer.retry_after();
                    refused(&answer)
                }
                Err(failure) => {
                    if failure.may_have_happened() {
                        known(None);
                        self.sequence.doubt_current();
                    }
                    failure.into()
                }
            };
            if !retries.wait(asked) {
                return Err(failed);
            }
        }
    }

    /// Deletes the blob, by the lease.
    pub fn delete(&self) -> io::Result<()> {
        let answer = self.service.call(self.service.deadline(), &self.ask(Method::Delete)).answer?;
        match answer.status {
            200..=299 | 404 => {
                self.lose("the blob was removed");
                Ok(())
            }
            _ => Err(refused(&answer)),
        }
    }
}

fn stale(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::StaleNetworkFileHandle, text.to_owned())
}

/// Takes the requested range out of an answer, or nothing.
pub(crate) fn part(answer: &Response, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    let range = format!("bytes {offset}-{}/", offset + bytes.len() as u64 - 1);
    let told = answer.header("content-range").is_some_and(|told| told.starts_with(&range));
    if answer.status != 206 || !told || answer.body.len() != bytes.len() {
        let (status, len) = (answer.status, answer.body.len());
        return Err(unexpected(format!("the service answers with another range ({status}, {len} bytes) than {range}")));
    }
    bytes.copy_from_slice(&answer.body);
    Ok(())
}

/// Reads a blob's properties, if it is a page blob.
fn properties(answer: &Response) -> io::Result<Properties> {
    let number = |name| answer.header(name).and_then(|value| value.parse::<u64>().ok());
    if answer.header("x-ms-blob-type") != Some("PageBlob") {
        return Err(unexpected(format!("{} isn't a page blob", answer.what())));
    }
    let (size, sequence) = (number("content-length"), number("x-ms-blob-sequence-number"));
    let (Some(size), Some(sequence)) = (size, sequence) else {
        return Err(unexpected("the service doesn't tell the blob's size and sequence number"));
    };
    if !size.is_multiple_of(PAGE) {
        return Err(unexpected(format!("the blob's size of {size} bytes isn't a multiple of 512")));
    }
    Ok(Properties { size, sequence })
}
