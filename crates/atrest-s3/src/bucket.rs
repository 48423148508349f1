//! Requests to the object store.

use std::io;
use std::time::{Duration, SystemTime};

use atrest::OwningProcess;
use atrest_http::aws::Signing;
use atrest_http::{
    Called, Client, Deadline, Failure, Method, Request, Response, Retries, basic_date, hex, sha256, xml_elements,
};

use crate::address::Address;
use crate::failure::{invalid, refused, unexpected};
use crate::manifest::LONGEST;
use crate::options::{Credential, S3Options};

/// The most that an answer without data may hold: an error.
const SMALL: usize = 64 << 10;
/// The largest page of a list, in bytes: 1000 keys of 1024 bytes, each of which may be escaped, and their attributes.
const LIST: usize = 16 << 20;

/// A bucket with a credential and connections.
pub(crate) struct Bucket {
    client: Client,
    pub address: Address,
    region: String,
    credential: Credential,
    deadline: Duration,
}

/// A request, before it is signed.
pub(crate) struct Ask<'r> {
    method: Method,
    key: Option<&'r str>,
    query: Vec<(&'r str, &'r str)>,
    headers: Vec<(&'r str, String)>,
    body: &'r [u8],
    most: usize,
}

/// When a write is to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Only<'c> {
    /// If there is no such object.
    New,
    /// While the object has this ETag.
    Match(&'c str),
}

/// The outcome of a conditional write.
pub(crate) enum Swapped {
    /// It was done; the object has this ETag.
    Done(String),
    /// It wasn't done: this object is there instead.
    Other(Option<Object>),
}

/// An object that was read.
pub(crate) struct Object {
    pub body: Vec<u8>,
    pub etag: String,
    /// Its age by the service's own clock, if the answer gives one.
    pub age: Option<Duration>,
}

impl<'r> Ask<'r> {
    fn new(method: Method, key: Option<&'r str>) -> Self {
        Ask { method, key, query: Vec::new(), headers: Vec::new(), body: &[], most: SMALL }
    }
}

impl Bucket {
    pub fn new(url: &str, options: &S3Options) -> io::Result<Self> {
        if options.deadline.is_zero() {
            return Err(invalid("the deadline is 0; give calls some time"));
        }
        let address = Address::parse(url)?;
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let region = address.region.clone().or_else(|| options.region.clone());
        let region = region.or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
        Ok(Bucket {
            client: Client::new(&options.http)?,
            region: region.unwrap_or_else(|| "us-east-1".into()),
            credential: options.credential.clone(),
            deadline: options.deadline,
            address,
        })
    }

    /// The process that made it.
    pub fn owner(&self) -> OwningProcess {
        self.client.owner()
    }

    /// The deadline of a call that begins now.
    pub fn deadline(&self) -> Deadline {
        Deadline::after(self.deadline)
    }

    fn retries(&self, deadline: Deadline) -> Retries<'_> {
        self.client.retries(deadline)
    }

    /// Reads a whole object of at most `most` bytes; `None` if it doesn't exist.
    pub fn get(&self, deadline: Deadline, key: &str, most: usize) -> io::Result<Option<Object>> {
        let mut ask = Ask::new(Method::Get, Some(key));
        ask.most = most.max(SMALL);
        let answer = self.call(deadline, &ask).answer?;
        match answer.status {
            200 if answer.body.len() > most => {
                Err(unexpected(format!("{} is larger than {most} bytes", answer.what())))
            }
            200 => {
                let etag = etag(&answer)?;
                let time = |name| answer.header(name).and_then(atrest_http::parse_http_date);
                let age = time("date").zip(time("last-modified"));
                let age = age.map(|(now, then)| now.duration_since(then).unwrap_or_default());
                Ok(Some(Object { body: answer.body, etag, age }))
            }
            404 if crate::failure::code(&answer) == "NoSuchKey" => Ok(None),
            _ => Err(refused(&answer)),
        }
    }

    /// Reads a part of an object. False if it doesn't exist.
    pub fn get_part(&self, deadline: Deadline, key: &str, offset: u64, bytes: &mut [u8]) -> io::Result<bool> {
        let (end, mut ask) = (offset + bytes.len() as u64 - 1, Ask::new(Method::Get, Some(key)));
        ask.headers.push(("range", format!("bytes={offset}-{end}")));
        ask.most = bytes.len().max(SMALL);
        let answer = self.call(deadline, &ask).answer?;
        match answer.status {
            206 => {
                let range = format!("bytes {offset}-{end}/");
                let told = answer.header("content-range").is_some_and(|told| told.starts_with(&range));
                if !told || answer.body.len() != bytes.len() {
                    return Err(unexpected(format!("{}: the answer isn't {range}", answer.what())));
                }
                bytes.copy_from_slice(&answer.body);
                Ok(true)
            }
            404 if crate::failure::code(&answer) == "NoSuchKey" => Ok(false),
            _ => Err(refused(&answer)),
        }
    }

    /// Writes an object whose name no other writer uses, and which has the same content each time.
    pub fn put(&self, deadline: Deadline, key: &str, body: &[u8]) -> io::Result<()> {
        let mut ask = Ask::new(Method::Put, Some(key));
        ask.body = body;
        let answer = self.call(deadline, &ask).answer?;
        if answer.is_success() { Ok(()) } else { Err(refused(&answer)) }
    }

    /// Writes an object once, if the condition holds.
    fn put_only(&self, deadline: Deadline, key: &str, body: &[u8], only: Only<'_>) -> Result<Response, Failure> {
        let mut ask = Ask::new(Method::Put, Some(key));
        ask.headers.push(match only {
            Only::New => ("if-none-match", "*".into()),
            Only::Match(etag) => ("if-match", etag.into()),
        });
        ask.body = body;
        let request = self.signed(&ask).map_err(|e| Failure::unsent("signing a request", &e))?;
        self.client.send(deadline, &request)
    }

    /// Writes an object if the condition holds, and finds out whether it did if an answer is lost. No other writer may ever
    /// write the same bytes.
    pub fn swap(&self, deadline: Deadline, key: &str, body: &[u8], only: Only<'_>) -> io::Result<Swapped> {
        let mut retries = self.retries(deadline);
        loop {
            let mut asked = None;
            let failed = match self.put_only(deadline, key, body, only) {
                Ok(answer) if answer.is_success() => return Ok(Swapped::Done(etag(&answer)?)),
                // The condition doesn't hold, maybe since an earlier attempt succeeded.
                Ok(answer) if answer.status == 412 || crate::failure::code(&answer) == "NoSuchKey" => {
                    return Ok(match self.get(deadline, key, LONGEST)? {
                        Some(found) if found.body == body => Swapped::Done(found.etag),
                        found => Swapped::Other(found),
                    });
                }
                // 409: another writer is writing it right now ("Conditional writes" in the user guide).
                Ok(answer) if answer.is_transient() || answer.status == 409 => {
                    asked = answer.retry_after();
                    refused(&answer)
                }
                Ok(answer) => return Err(refused(&answer)),
                Err(failure) => failure.into(),
            };
            if !retries.wait(asked) {
                return Err(failed);
            }
        }
    }

    /// Deletes an object, if it exists.
    pub fn delete(&self, deadline: Deadline, key: &str) -> io::Result<()> {
        let answer = self.call(deadline, &Ask::new(Method::Delete, Some(key))).answer?;
        if answer.is_success() || answer.status == 404 { Ok(()) } else { Err(refused(&answer)) }
    }

    /// Calls `each` with the keys below a prefix, a page at a time; with `folders`, with the part of each up to the next slash.
    /// Each page has the deadline of a call.
    pub fn list(
        &self,
        prefix: &str,
        folders: bool,
        mut each: impl FnMut(Vec<String>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut token = None::<String>;
        loop {
            let mut ask = Ask::new(Method::Get, None);
            ask.query = vec![("list-type", "2"), ("prefix", prefix)];
            if folders {
                ask.query.push(("delimiter", "/"));
            }
            if let Some(token) = &token {
                ask.query.push(("continuation-token", token));
            }
            ask.most = LIST;
            let answer = self.call(self.deadline(), &ask).answer?;
            if !answer.is_success() {
                return Err(refused(&answer));
            }
            let (names, next) = listed(&answer.body, folders)?;
            each(names)?;
            match next {
                None => return Ok(()),
                Some(next) if Some(&next) == token.as_ref() => {
                    return Err(unexpected("the service's list of objects doesn't end"));
                }
                next => token = next,
            }
        }
    }

    fn call(&self, deadline: Deadline, ask: &Ask<'_>) -> Called {
        self.client.call(deadline, || self.signed(ask))
    }

    fn signed<'r>(&self, ask: &Ask<'r>) -> io::Result<Request<'r>> {
        let (key, date) = (self.credential.key()?, basic_date(SystemTime::now()));
        let (path, body) = (self.address.path(ask.key), hex(&sha256(ask.body)?));
        let mut headers = ask.headers.clone();
        headers.push(("host", self.address.host.clone()));
        headers.push(("x-amz-date", date.clone()));
        headers.push(("x-amz-content-sha256", body.clone()));
        if let Some(token) = key.token() {
            headers.push(("x-amz-security-token", token.expose().to_owned()));
        }
        let signing =
            Signing { method: ask.method.name(), path: &path, query: &ask.query, headers: &headers, body: &body };
        let authorization = signing.authorization(&key, &self.region, "s3", &date)?;
        let mut request = Request::new(ask.method, self.address.url(&path, &ask.query), ask.most).body(ask.body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Ok(request.header("authorization", authorization))
    }
}

/// The ETag of an answer.
fn etag(answer: &Response) -> io::Result<String> {
    let etag = answer.header("etag").filter(|etag| !etag.is_empty());
    etag.map(str::to_owned).ok_or_else(|| unexpected("the service tells no ETag; conditional writes need it"))
}

/// Reads `ListBucketResult`.
fn listed(body: &[u8], folders: bool) -> io::Result<(Vec<String>, Option<String>)> {
    let (mut names, mut next, mut more) = (Vec::new(), None, false);
    xml_elements(body, |path, text| match path {
        ["ListBucketResult", "Contents", "Key"] if !folders => names.push(text.to_owned()),
        ["ListBucketResult", "CommonPrefixes", "Prefix"] if folders => names.push(text.to_owned()),
        ["ListBucketResult", "NextContinuationToken"] => next = Some(text.to_owned()),
        ["ListBucketResult", "IsTruncated"] => more = text == "true",
        _ => {}
    })?;
    if more && next.is_none() {
        return Err(unexpected("the service's list of objects is cut off"));
    }
    Ok((names, next.filter(|_| more)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let body = "<ListBucketResult><Prefix>a</Prefix><IsTruncated>true</IsTruncated><Contents><Key>a/1</Key></Contents>\
            <CommonPrefixes><Prefix>a/b/</Prefix></CommonPrefixes><NextContinuationToken>t==</NextContinuationToken>\
            </ListBucketResult>";
        assert_eq!(listed(body.as_bytes(), false).unwrap(), (vec!["a/1".into()], Some("t==".into())));
        assert_eq!(listed(body.as_bytes(), true).unwrap(), (vec!["a/b/".into()], Some("t==".into())));
        let cut = "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>";
        assert!(listed(cut.as_bytes(), false).is_err());
    }
}
