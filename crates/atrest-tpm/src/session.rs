//! Sessions: they prove authorisation values without telling them, and encrypt one parameter of a command or an answer (TPM 2.0
//! Library, Part 1, 19 and 21).

use std::io;

use atrest::Secret;

use crate::crypt::{LEN, cfb, hmac, kdf_a, sha256, verify};
use crate::fault::Fault;
use crate::wire::{Malformed, Reader, Writer};

/// Attributes of a session (Part 2, 8.4).
const CONTINUES: u8 = 1;
const DECRYPTS: u8 = 1 << 5;
const ENCRYPTS: u8 = 1 << 6;

/// A session that was salted.
pub(crate) struct Session {
    pub(crate) handle: u32,
    key: Secret,
    ours: [u8; LEN],
    of_tpm: Vec<u8>,
    /// Whether its MACs prove the authorisation value: always in an HMAC session, and in a policy session if the policy demands it.
    pub(crate) proves_auth: bool,
    /// Whether the first parameter of the command is encrypted.
    pub(crate) encrypts_command: bool,
    /// Whether the first parameter of the answer is.
    pub(crate) encrypts_answer: bool,
}

pub(crate) fn random() -> io::Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// A TPM leaves zeros at the end of an authorisation value out (Part 1, 17.6.4.3).
pub(crate) fn trimmed(auth: &[u8]) -> &[u8] {
    let end = auth.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &auth[..end]
}

impl Session {
    /// TPM_SE.
    pub(crate) const HMAC: u8 = 0;
    pub(crate) const POLICY: u8 = 1;
    pub(crate) const TRIAL: u8 = 3;

    pub(crate) fn new(handle: u32, salt: &Secret, ours: &[u8; LEN], of_tpm: &[u8], kind: u8) -> Result<Self, Fault> {
        Ok(Session {
            handle,
            key: kdf_a(salt.expose(), b"ATH", of_tpm, ours)?,
            ours: *ours,
            of_tpm: of_tpm.to_vec(),
            proves_auth: kind == Session::HMAC,
            encrypts_command: false,
            encrypts_answer: false,
        })
    }

    fn attributes(&self) -> u8 {
        let on = |flag, bit| if flag { bit } else { 0 };
        CONTINUES | on(self.encrypts_command, DECRYPTS) | on(self.encrypts_answer, ENCRYPTS)
    }

    /// The session's key, followed by the authorisation value.
    fn with_auth(&self, auth: &[u8]) -> Secret {
        let auth = trimmed(auth);
        let mut key = Secret::zeroed(LEN + auth.len());
        let (own, of_auth) = key.expose_mut().split_at_mut(LEN);
        own.copy_from_slice(self.key.expose());
        of_auth.copy_from_slice(auth);
        key
    }

    fn mac_key(&self, auth: &[u8]) -> Secret {
        self.with_auth(if self.proves_auth { auth } else { &[] })
    }

    /// Encrypts or decrypts the first parameter, a list of bytes with its length before it. The key includes the authorisation
    /// value of the authorised entity, even if the MAC doesn't (Part 1, 21.2).
    fn transform(
        &self,
        parameters: &mut [u8],
        auth: &[u8],
        (newer, older): (&[u8], &[u8]),
        encrypts: bool,
    ) -> Result<(), Fault> {
        let len = Reader(parameters).sized()?.len();
        let block = kdf_a(self.with_auth(auth).expose(), b"CFB", newer, older)?;
        let (key, iv) = block.expose().split_at(16);
        let (key, iv) = (<&[u8; 16]>::try_from(key), <&[u8; 16]>::try_from(iv));
        if let (Ok(key), Ok(iv)) = (key, iv) {
            cfb(key, iv, &mut parameters[2..2 + len], encrypts);
        }
        Ok(())
    }

    /// Writes the authorisation area of a command, after encrypting its first parameter if the session does that.
    pub(crate) fn authorise(
        &mut self,
        area: &mut Writer,
        command: u32,
        names: &[&[u8]],
        parameters: &mut [u8],
        auth: &[u8],
    ) -> Result<(), Fault> {
        self.ours = random()?;
        if self.encrypts_command {
            self.transform(parameters, auth, (&self.ours, &self.of_tpm), true)?;
        }
        let code = command.to_be_bytes();
        let parts: Vec<&[u8]> = [&code[..]].into_iter().chain(names.iter().copied()).chain([&*parameters]).collect();
        let attributes = self.attributes();
        let mac = hmac(self.mac_key(auth).expose(), &[&sha256(&parts)?, &self.ours, &self.of_tpm, &[attributes]])?;
        area.u32(self.handle).sized(&self.ours).u8(attributes).sized(&mac);
        Ok(())
    }

    /// Checks the authorisation area of an answer, and decrypts its encrypted parameter.
    pub(crate) fn check(
        &mut self,
        mut area: Reader<'_>,
        command: u32,
        parameters: &mut [u8],
        auth: &[u8],
    ) -> Result<(), Fault> {
        let (of_tpm, attributes, mac) = (area.sized()?.to_vec(), area.u8()?, area.sized()?);
        area.end()?;
        let hash = sha256(&[&0u32.to_be_bytes(), &command.to_be_bytes(), &*parameters])?;
        if !verify(self.mac_key(auth).expose(), &[&hash, &of_tpm, &self.ours, &[attributes]], mac)? {
            return Err(Fault::Forged);
        }
        self.of_tpm = of_tpm;
        if self.encrypts_answer {
            if attributes & ENCRYPTS == 0 {
                return Err(Malformed("the TPM didn't encrypt its answer").into());
            }
            self.transform(parameters, auth, (&self.of_tpm, &self.ours), false)?;
        }
        Ok(())
    }
}
