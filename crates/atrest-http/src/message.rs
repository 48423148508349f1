//! Requests and answers.

use zeroize::Zeroizing;

/// The methods that stores use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // their names are all there is to say
#[non_exhaustive]
pub enum Method {
    Get,
    Head,
    Put,
    Post,
    Delete,
}

impl Method {
    /// Its name, as it is sent and signed.
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        }
    }
}

/// A request. It has no `Debug`: headers and the query may hold secrets.
pub struct Request<'b> {
    pub(crate) method: Method,
    pub(crate) url: Zeroizing<String>,
    pub(crate) headers: Vec<(String, Zeroizing<String>)>,
    pub(crate) body: &'b [u8],
    pub(crate) most: usize,
}

impl<'b> Request<'b> {
    /// A request for a URL, which is encoded already. `most` is how many bytes the answer's body may have.
    pub fn new(method: Method, url: impl Into<String>, most: usize) -> Self {
        Request { method, url: Zeroizing::new(url.into()), headers: Vec::new(), body: &[], most }
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), Zeroizing::new(value.into())));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: &'b [u8]) -> Self {
        self.body = body;
        self
    }

    /// The method, host and path, for errors.
    pub(crate) fn what(&self) -> String {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        let url = url.split_once("://").map_or(url, |(_, rest)| rest);
        format!("{} {url}", self.method.name())
    }
}

/// An answer. Its body may be secret, as a KMS's is; it has no `Debug`.
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    pub(crate) what: String,
}

impl Response {
    /// The first header of a name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A name of the request: the method, the host and the path.
    pub fn what(&self) -> &str {
        &self.what
    }
}
