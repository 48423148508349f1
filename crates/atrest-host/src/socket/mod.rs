//! Sockets that clients come to, and the threads that talk to them.

mod listening;
mod server;
mod stream;

pub(crate) use listening::Listening;
pub(crate) use server::Server;
pub(crate) use stream::{Stream, is_gone};
