//! Whether wrapped bytes or the token are at fault for an answer.
//!
//! The writer of a header chooses the bytes and their algorithm, and must not make the vault look unavailable, or its key disabled:
//! others would wait or stop for it. But libraries have no common answer for altered bytes: SoftHSM gives CKR_GENERAL_ERROR, others
//! CKR_FUNCTION_FAILED or CKR_DEVICE_ERROR. So after an unclear answer the key is tried on bytes that the writer hasn't chosen.

use atrest::key::WrapAlgorithm;
use atrest::{Error, Secret};
use cryptoki_sys::*;
use subtle::ConstantTimeEq;

use crate::fault::{Answer, Fault};
use crate::keys::Version;
use crate::token::Call;
use crate::wrapped::{BY_GCM, Wrapped};

impl Call<'_> {
    /// The fault of an unwrap that ended with this answer.
    pub(crate) fn verdict(&self, version: &Version, key: &str, tried: &Wrapped, answer: Answer) -> Fault {
        if answer.is_lost() || answer.is_stale() {
            return answer.into();
        }
        if !answer.blames_bytes() && !self.works(version, key, tried, answer).unwrap_or(false) {
            return answer.into();
        }
        log::debug!("{key}: {answer} for bytes that are not its own");
        // The key works, but not by this algorithm.
        let is_rsa = matches!(tried.algorithm, WrapAlgorithm::RsaOaep256 | WrapAlgorithm::RsaOaep);
        let unsupported = match answer.rv {
            CKR_MECHANISM_INVALID | CKR_MECHANISM_PARAM_INVALID => tried.algorithm != WrapAlgorithm::Opaque,
            CKR_ARGUMENTS_BAD => is_rsa, // SoftHSM's answer for OAEP with SHA-256
            _ => false,
        };
        if unsupported {
            return Error::UnsupportedAlgorithm(tried.algorithm.name().into()).into();
        }
        Error::UnwrapFailed.into()
    }

    /// Whether a version still works that has answered so for these bytes.
    fn works(&self, version: &Version, key: &str, tried: &Wrapped, answer: Answer) -> Result<bool, Fault> {
        let unwraps = |proof: &Wrapped| self.unwrap(version, proof.algorithm, &proof.bytes).is_ok();
        let proofs = self.proofs(key);
        // It has worked in this way, so that this way must work still.
        if let Some(proof) = proofs.iter().find(|proof| proof.way() == tried.way()) {
            return Ok(unwraps(proof));
        }
        if proofs.iter().any(unwraps) {
            return Ok(true);
        }
        if version.wraps() {
            let trial = Secret::random(32)?;
            match self.wrap(version, &trial, true) {
                Ok((algorithm, bytes)) => {
                    let again = self.unwrap(version, algorithm, &bytes)?;
                    let is_same = bool::from(again.expose().ct_eq(trial.expose()));
                    if is_same {
                        // Forged bytes are to cost one wrap in all, not one each.
                        self.add_proof(key, Wrapped { algorithm, bytes });
                    }
                    return Ok(is_same);
                }
                // It can't wrap, which doesn't say that it can't unwrap.
                Err(Fault::Answer(answer)) if answer.is_unsupported() => {}
                Err(fault) => return Err(fault),
            }
        }
        // There is nothing to try such a key on until it has unwrapped something, so that its state has to do. A token that refuses what the
        // key's attributes allow has another reason than the bytes.
        if !proofs.is_empty() || answer.is_refusal() && is_allowed(tried, version) {
            return Ok(false);
        }
        self.is_there()?;
        log::warn!(
            "{key}: {answer}; bytes to try this key on are missing, and the token is there, so that the wrapped key is at fault"
        );
        Ok(true)
    }
}

/// Whether the attributes of the key allow this way.
fn is_allowed(tried: &Wrapped, version: &Version) -> bool {
    match tried.way() {
        (WrapAlgorithm::RsaOaep256 | WrapAlgorithm::RsaOaep, _) => true,
        (_, Some(BY_GCM)) => version.can_decrypt,
        _ => version.can_unwrap,
    }
}
