//! Bodies of requests and of answers.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::trouble::Trouble;

/// The longest body of a request, in bytes: it is made in a buffer that never moves, since it may hold a secret.
const LONGEST_BODY: usize = 128 << 10;

/// A body in a buffer that is wiped, and never moved.
pub(crate) fn json(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Trouble> {
    let mut body = Zeroizing::new(vec![0; LONGEST_BODY]);
    let mut rest = body.as_mut_slice();
    serde_json::to_writer(&mut rest, value).map_err(|_| Trouble::failed("the request is longer than 128 KiB"))?;
    let len = LONGEST_BODY - rest.len();
    body.truncate(len);
    Ok(body)
}

/// Parses an answer. An error doesn't repeat the body: it may hold a secret.
pub(crate) fn parse<'b, T: Deserialize<'b>>(body: &'b [u8], what: &str) -> Result<T, Trouble> {
    serde_json::from_slice(body).map_err(|e| {
        let (line, column) = (e.line(), e.column());
        Trouble::failed(format!("the answer of {what} makes no sense at line {line}, column {column}"))
    })
}
