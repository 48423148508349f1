//! The HTTP client below the stores of `atrest`: blocking, over `ureq` and `rustls`, without an asynchronous runtime.
//!
//! - Each call has a [`Deadline`], each attempt a time limit within it.
//! - Retries wait longer each time, with jitter. They obey `Retry-After`. All calls of a [`Client`] share one budget of
//!   retries, so that a server that recovers isn't run down.
//! - Nothing is sent twice unless the caller asks for it: the client itself repeats a request in [`Client::call`] only.
//! - Answers are bounded: the head to 64 KiB, the body to the caller's limit. Redirects aren't followed.
//! - A forked child can't use its parent's client: both would send by the same connections. It fails with
//!   [`Error::Forked`](atrest::Error::Forked).
//! - Proxies are those of `ALL_PROXY`, `HTTPS_PROXY` and `HTTP_PROXY`, but for the hosts of `NO_PROXY`, and for clients
//!   [without a proxy](HttpOptions::without_proxy).
//! - Errors name the method, the host and the path. They hold no query, no header and no body. At the level `trace`, `ureq`
//!   logs its requests, secrets included: leave that off.
//!
//! ```no_run
//! use atrest_http::{Client, Deadline, HttpOptions, Method, Request};
//! use std::time::Duration;
//!
//! let client = Client::new(&HttpOptions::new())?;
//! let deadline = Deadline::after(Duration::from_secs(30));
//! let called = client.call(deadline, || Ok(Request::new(Method::Get, "https://example.com/disk", 4096)));
//! println!("{} bytes", called.answer?.body.len());
//! # Ok::<(), std::io::Error>(())
//! ```

#![deny(unsafe_code)]

pub mod aws;
mod cached;
mod client;
mod deadline;
mod digest;
mod encode;
mod environment;
mod failure;
mod fan_out;
mod gate;
mod hidden;
mod input;
mod message;
mod options;
mod retry;
mod time;
mod xml;

pub use cached::Cached;
pub use client::{Called, Client};
pub use deadline::Deadline;
pub use digest::{base64, base64_decode, base64url, base64url_decode, crc32c, hex, hmac_sha256, sha256};
pub use encode::{encode_path, encode_query, is_loopback};
pub use environment::Environment;
pub use failure::Failure;
pub use fan_out::fan_out;
pub use gate::{Gate, Inside};
pub use hidden::Hidden;
pub use input::{REPEATS, check_address, invalid, read_secret, repeats, told};
pub use message::{Method, Request, Response};
pub use options::HttpOptions;
pub use retry::Retries;
pub use time::{basic_date, http_date, parse_http_date, parse_iso_date};
pub use xml::xml_elements;
