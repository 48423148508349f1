//! Requests to the blob service.

use std::io;
use std::time::{Duration, SystemTime};

use atrest::OwningProcess;
use atrest_http::{Called, Client, Deadline, Failure, Method, Request, Response, Retries, http_date};

use crate::address::Address;
use crate::credential::{Credential, Kind, Signed};
use crate::failure::{invalid, refused};
use crate::options::PageBlobOptions;

/// The version of the REST interface.
const VERSION: &str = "2022-11-02";
/// The most that an answer without data may hold: an error.
const SMALL: usize = 64 << 10;

/// A container with a credential and connections.
pub(crate) struct Service {
    client: Client,
    pub address: Address,
    credential: Credential,
    deadline: Duration,
}

/// A request, before it is signed.
#[derive(Clone)]
pub(crate) struct Ask<'r> {
    pub method: Method,
    pub blob: Option<&'r str>,
    pub query: Vec<(&'r str, &'r str)>,
    pub headers: Vec<(&'r str, String)>,
    pub body: &'r [u8],
    pub most: usize,
}

impl<'r> Ask<'r> {
    pub fn new(method: Method, blob: Option<&'r str>) -> Self {
        Ask { method, blob, query: Vec::new(), headers: Vec::new(), body: &[], most: SMALL }
    }

    pub fn query(mut self, name: &'r str, value: &'r str) -> Self {
        self.query.push((name, value));
        self
    }

    /// Adds a header; its name is in lower case.
    pub fn header(mut self, name: &'r str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

impl Service {
    pub fn new(url: &str, options: &PageBlobOptions) -> io::Result<Self> {
        if options.deadline.is_zero() {
            return Err(invalid("the deadline is 0; give calls some time"));
        }
        let (client, address) = (Client::new(&options.http)?, Address::parse(url)?);
        Ok(Service { client, address, credential: options.credential.clone(), deadline: options.deadline })
    }

    /// The process that made it.
    pub fn owner(&self) -> OwningProcess {
        self.client.owner()
    }

    /// The deadline of a call that begins now.
    pub fn deadline(&self) -> Deadline {
        Deadline::after(self.deadline)
    }

    pub fn retries(&self, deadline: Deadline) -> Retries<'_> {
        self.client.retries(deadline)
    }

    /// Sends a request once.
    pub fn send(&self, deadline: Deadline, ask: &Ask<'_>) -> Result<Response, Failure> {
        let request = self.signed(ask).map_err(|e| Failure::unsent("signing a request", &e))?;
        self.client.send(deadline, &request)
    }

    /// Sends a request that may be done twice, until there is an answer that isn't transient.
    pub fn call(&self, deadline: Deadline, ask: &Ask<'_>) -> Called {
        self.client.call(deadline, || self.signed(ask))
    }

    /// As [`call`](Self::call), and turns refusals into errors.
    pub fn ask(&self, deadline: Deadline, ask: &Ask<'_>) -> io::Result<Response> {
        let answer = self.call(deadline, ask).answer?;
        if answer.is_success() { Ok(answer) } else { Err(refused(&answer)) }
    }

    fn signed<'r>(&self, ask: &Ask<'r>) -> io::Result<Request<'r>> {
        let mut headers = ask.headers.clone();
        headers.push(("x-ms-date", http_date(SystemTime::now())));
        headers.push(("x-ms-version", VERSION.into()));
        let path = self.address.path(ask.blob);
        let (mut sas, mut authorization) = (None, None);
        match &self.credential.0 {
            Kind::Sas(text) => sas = Some(text.expose()),
            Kind::Key(key) => {
                let (method, account) = (ask.method.name(), self.address.account.as_str());
                let (path, query, length) = (path.as_str(), ask.query.as_slice(), ask.body.len());
                let signed = Signed { method, account, path, query, headers: &headers, length };
                authorization = Some(signed.authorization(key)?);
            }
            Kind::Bearer(token) => authorization = Some(format!("Bearer {}", token()?.expose())),
        }
        let url = self.address.url(&path, &ask.query, sas);
        let mut request = Request::new(ask.method, url, ask.most).body(ask.body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Ok(match authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        })
    }
}
