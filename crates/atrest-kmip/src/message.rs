//! Requests and answers: a header and one item (KMIP 1.4, 7; KMIP 2.1, 9).

use atrest::VaultFailure;
use zeroize::Zeroizing;

use crate::options::KmipVersion;
use crate::tag;
use crate::trouble::{Refused, Trouble};
use crate::ttlv::{Malformed, Structure, Writer};

/// The longest answer in bytes that is read.
pub(crate) const LONGEST_ANSWER: usize = 1 << 20;

/// The most of a server's text that an error repeats, in characters.
const MOST_TEXT: usize = 200;

/// The operations that a server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Locate = 0x08,
    Get = 0x0A,
    GetAttributes = 0x0B,
    Encrypt = 0x1F,
    Decrypt = 0x20,
}

/// A request with one operation, whose payload `fill` writes.
pub(crate) fn request(
    version: KmipVersion,
    operation: Operation,
    fill: impl FnOnce(&mut Writer),
) -> Result<Zeroizing<Vec<u8>>, Trouble> {
    let (major, minor) = version.numbers();
    let message = Writer::message(tag::REQUEST_MESSAGE, |w| {
        w.structure(tag::REQUEST_HEADER, |w| {
            w.structure(tag::PROTOCOL_VERSION, |w| {
                w.integer(tag::PROTOCOL_VERSION_MAJOR, major);
                w.integer(tag::PROTOCOL_VERSION_MINOR, minor);
            });
            w.integer(tag::MAXIMUM_RESPONSE_SIZE, LONGEST_ANSWER as u32);
            w.integer(tag::BATCH_COUNT, 1);
        });
        w.structure(tag::BATCH_ITEM, |w| {
            w.enumeration(tag::OPERATION, operation as u32);
            w.structure(tag::REQUEST_PAYLOAD, fill);
        });
    });
    message.ok_or_else(|| Trouble::failed("the request is longer than 16 KiB"))
}

/// The payload of an answer, if the server did the operation.
pub(crate) fn payload(answer: &[u8], operation: Operation) -> Result<Structure<'_>, Trouble> {
    let item = item(answer)?;
    let status = item.need(tag::RESULT_STATUS, "it has no result status")?.enumeration()?;
    // Success, or a failure, or one that was undone; anything else, such as 'pending', was not asked for.
    if status != 0 {
        let reason = item.find(tag::RESULT_REASON)?.map(|field| field.enumeration()).transpose()?;
        return Err(match reason {
            Some(reason) if status == 1 => {
                let text = item.find(tag::RESULT_MESSAGE)?.and_then(|field| field.text().ok()).unwrap_or_default();
                Refused { reason, text: told(text) }.into()
            }
            _ => Trouble::Failed(VaultFailure::new(format!("it answers with the result status {status}"))),
        });
    }
    let done = item.need(tag::OPERATION, "it doesn't say which operation it is of")?.enumeration()?;
    if done != operation as u32 {
        return Err(Malformed("it is of another operation").into());
    }
    Ok(item.need(tag::RESPONSE_PAYLOAD, "it has no payload")?.structure()?)
}

fn item(answer: &[u8]) -> Result<Structure<'_>, Malformed> {
    let message = Structure::message(answer, tag::RESPONSE_MESSAGE)?;
    let header = message.need(tag::RESPONSE_HEADER, "it has no header")?.structure()?;
    header.need(tag::PROTOCOL_VERSION, "it has no protocol version")?;
    if header.need(tag::BATCH_COUNT, "it has no batch count")?.integer()? != 1 {
        return Err(Malformed("it doesn't have one item"));
    }
    message.need(tag::BATCH_ITEM, "it has no item")?.structure()
}

/// That a payload is about the object that was asked for: no DEK is taken from another.
pub(crate) fn check_identifier(payload: Structure<'_>, uid: &str) -> Result<(), Malformed> {
    let found = payload.need(tag::UNIQUE_IDENTIFIER, "it names no object")?.text()?;
    (found == uid).then_some(()).ok_or(Malformed("it is about another object"))
}

/// The part of a server's text that an error may repeat: it is short and has no control characters.
fn told(text: &str) -> String {
    let plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = plain.chars().filter(|c| !c.is_control()).take(MOST_TEXT + 1).collect();
    if short.chars().count() > MOST_TEXT {
        short.pop();
        short.push('…');
    }
    short
}
