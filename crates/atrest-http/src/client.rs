//! The client.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use atrest::OwningProcess;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::http;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::message::{Method, Request, Response};
use crate::options::HttpOptions;
use crate::retry::{Budget, Retries};
use crate::{Deadline, Failure};

/// The longest head of an answer.
const LONGEST_HEAD: usize = 64 << 10;

/// The room for an answer of undeclared length, in bytes.
const USUAL_ANSWER: u64 = 16 << 10;

/// A client with its connections. Many threads may use it at once. In a forked child each call fails at once, and
/// nothing is sent by the parent's connections: make another one there.
pub struct Client {
    owner: OwningProcess,
    agent: ureq::Agent,
    options: HttpOptions,
    budget: Budget,
}

/// The result of a call.
#[non_exhaustive]
pub struct Called {
    /// The last answer, or the reason why there is none.
    pub answer: Result<Response, Failure>,
    /// Whether an attempt before the last may have happened, or may happen later: it had no answer, or the server failed.
    pub uncertain: bool,
}

impl Client {
    /// A client. Nothing is connected yet.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for certificates or a private key that aren't in PEM.
    pub fn new(options: &HttpOptions) -> io::Result<Self> {
        let mut tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        if let Some(pem) = &options.roots {
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates(pem)?));
        }
        if let Some((chain, key)) = &options.client {
            let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "the client's key isn't a private key in PEM");
            let key = PrivateKey::from_pem(key.expose().as_bytes()).map_err(|_| invalid())?;
            tls = tls.client_cert(Some(ClientCert::new_with_certs(&certificates(chain)?, key)));
        }
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("atrest/", env!("CARGO_PKG_VERSION")))
            .max_response_header_size(LONGEST_HEAD)
            .max_idle_connections(options.connections)
            .max_idle_connections_per_host(options.connections)
            .timeout_connect(Some(options.connect))
            .timeout_resolve(Some(options.connect))
            .tls_config(tls.build());
        if options.direct {
            config = config.proxy(None);
        }
        let agent = config.build().new_agent();
        Ok(Client { owner: OwningProcess::current(), agent, budget: Budget::new(options), options: options.clone() })
    }

    /// The process that made it, for its users: they have locks of their own, and ask before they take one.
    pub fn owner(&self) -> OwningProcess {
        self.owner
    }

    /// Sends a request once.
    ///
    /// # Errors
    /// [`Failure`] if there is no whole answer by the deadline, or within the time of an attempt; at once in a forked child,
    /// as an error of I/O whose inner error is [`Error::Forked`](atrest::Error::Forked).
    pub fn send(&self, deadline: Deadline, request: &Request<'_>) -> Result<Response, Failure> {
        let what = request.what();
        if !self.owner.is_current() {
            return Err(Failure::forked(what));
        }
        let Some(left) = deadline.left() else { return Err(Failure::late(what)) };
        self.exchange(left.min(self.options.attempt), request).map_err(|e| match e {
            ureq::Error::BodyExceedsLimit(_) => Failure::too_long(what, request.most),
            e => Failure::from_ureq(what, e),
        })
    }

    /// Sends a request, and repeats it while there is no answer or a transient one, until the deadline. `request` is called for
    /// each attempt: signatures include the time. Use it only for requests that may be done twice.
    pub fn call<'b>(&self, deadline: Deadline, mut request: impl FnMut() -> io::Result<Request<'b>>) -> Called {
        if !self.owner.is_current() {
            return Called { answer: Err(Failure::forked("asking a server")), uncertain: false };
        }
        let (mut retries, mut uncertain) = (self.retries(deadline), false);
        loop {
            let answer = match request() {
                Ok(request) => self.send(deadline, &request),
                Err(e) => return Called { answer: Err(Failure::unsent("signing a request", &e)), uncertain },
            };
            let asked = match &answer {
                Ok(answer) if answer.is_transient() => answer.retry_after(),
                Ok(_) => return Called { answer, uncertain },
                Err(failure) if failure.is_final() => return Called { answer, uncertain },
                Err(_) => None,
            };
            if !retries.wait(asked) {
                return Called { answer: answer.map_err(|e| e.after(retries.attempts())), uncertain };
            }
            uncertain |= match &answer {
                Ok(answer) => answer.status >= 500,
                Err(failure) => failure.may_have_happened(),
            };
        }
    }

    /// The retries of a call whose attempts the caller sends itself.
    pub fn retries(&self, deadline: Deadline) -> Retries<'_> {
        Retries::new(&self.budget, &self.options, deadline)
    }

    fn exchange(&self, time: Duration, request: &Request<'_>) -> Result<Response, ureq::Error> {
        let mut built = http::Request::builder().method(request.method.name()).uri(request.url.as_str());
        for (name, value) in &request.headers {
            let mut value = http::HeaderValue::from_str(value).map_err(http::Error::from)?;
            // Logs of `ureq` leave it out.
            value.set_sensitive(true);
            built = built.header(name, value);
        }
        let mut answer = match request.method {
            Method::Put | Method::Post => {
                let built = built.body(request.body)?;
                self.agent.run(self.agent.configure_request(built).timeout_global(Some(time)).build())?
            }
            Method::Get | Method::Head | Method::Delete => {
                let built = built.body(())?;
                self.agent.run(self.agent.configure_request(built).timeout_global(Some(time)).build())?
            }
        };
        let text = |value: &http::HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
        let headers = answer.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        // The server's Content-Length is bounded before it is used. Without one, there is room for an answer of a key service:
        // a buffer that grows leaves copies of its content behind.
        let told = answer.body().content_length().unwrap_or(USUAL_ANSWER);
        body.reserve(usize::try_from(told).unwrap_or(usize::MAX).min(request.most));
        let most = request.most as u64;
        answer.body_mut().with_config().limit(most.saturating_add(1)).reader().read_to_end(&mut body)?;
        if body.len() > request.most {
            return Err(ureq::Error::BodyExceedsLimit(0));
        }
        Ok(Response { status, headers, body, what: request.what() })
    }
}

fn certificates(pem: &[u8]) -> io::Result<Vec<Certificate<'static>>> {
    let invalid =
        || io::Error::new(io::ErrorKind::InvalidInput, "the roots or the client's chain aren't certificates in PEM");
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| invalid())?;
    if found.is_empty() {
        return Err(invalid());
    }
    Ok(found.iter().map(|der| Certificate::from_der(der).to_owned()).collect())
}
