//! Replaces `rsa` in a build without it: there are no RSA keys.

use crate::key::{KeyKind, WrapAlgorithm};
use crate::{Error, Result, Secret};

pub(super) enum RsaKey {}

impl RsaKey {
    pub(super) fn new(kind: KeyKind, _: &Secret) -> Result<Self> {
        Err(missing(kind.name()))
    }

    pub(super) fn generate(kind: KeyKind) -> Result<Secret> {
        Err(missing(kind.name()))
    }

    pub(super) fn import(_: &Secret) -> Result<(KeyKind, Secret)> {
        Err(missing("RSA"))
    }

    pub(super) fn wrap(&self, _: &Secret) -> Result<(WrapAlgorithm, Vec<u8>)> {
        match *self {}
    }

    pub(super) fn unwrap(&self, _: WrapAlgorithm, _: &[u8]) -> Result<Secret> {
        match *self {}
    }
}

fn missing(what: &str) -> Error {
    Error::UnsupportedAlgorithm(format!("{what} in a build without the feature `rsa`"))
}
