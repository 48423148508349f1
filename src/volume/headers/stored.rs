//! [`StoredHeader`]: what volumes ask of a header, whatever its format.

use core::any::Any;
use core::ops::Range;
use std::time::Duration;

use super::area::check_wipeable;
use super::keyslot::{Attempt, FirstProtector, NewKeyslot};
use crate::key::HashAlgorithm;
use crate::ondisk::luks::{LuksVersion, Priority, TOKEN_TYPE, Token};
use crate::volume::data_area::DataArea;
use crate::volume::{BlockDevice, DigestInfo, KeyslotInfo, ProtectorId, SegmentInfo, TokenInfo};
use crate::{Dek, Error, Result, Secret};

/// A header as a device has it.
///
/// A format implements what it does in its own way. What no format has to have is given here: a header without tokens,
/// labels, flags, priorities and requirements.
pub(in crate::volume) trait StoredHeader: Any + Send + Sync {
    /// A copy of it.
    fn boxed(&self) -> Box<dyn StoredHeader>;

    fn version(&self) -> LuksVersion;

    fn uuid(&self) -> &str;

    /// How many bytes at the start of its device the header takes with its keyslots.
    fn len(&self) -> u64;

    /// Where the data is; refuses what this library can't read.
    fn data_area(&self, detached: bool) -> Result<DataArea>;

    /// Refuses to change a header that demands what this library does not know.
    fn check_requirements(&self) -> Result<()> {
        Ok(())
    }

    /// Makes sure that nobody else has written the header since it was read or written here; theirs would be lost.
    fn check_unchanged(&mut self, device: &dyn BlockDevice) -> Result<()>;

    // The key: these are asked where the data area is one that can be read.

    /// Proves the volume key by the header's digest.
    fn verify(&self, key: &Secret) -> Result<()>;

    /// What proves the data's key: the same as long as the key is.
    fn key_digest(&self) -> Vec<u8>;

    /// What it takes to prove a key: iterations of PBKDF2, and the time that they cost.
    fn digest_cost(&self) -> (u32, Duration);

    // Keyslots.

    /// The keyslots of the data's key in the order in which they are tried, or the one that is `named`; for each how to
    /// try it, or why that can't be done.
    fn attempts(&self, named: Option<u32>) -> Vec<(u32, Result<Attempt, String>)>;

    /// The keyslots of the data's key that are tried only when they are named.
    fn ignored(&self) -> Vec<u32> {
        Vec::new()
    }

    /// The `kind` of a keyslot that a passphrase opens.
    fn passphrase_kind(&self) -> &'static str;

    /// The hash that a new keyslot of PBKDF2 has to have.
    fn required_hash(&self) -> Option<HashAlgorithm> {
        None
    }

    /// Writes the header of a new volume, with the one way in that it has.
    fn store_new(&mut self, device: &dyn BlockDevice, dek: &Dek, protector: FirstProtector<'_>) -> Result<()>;

    /// Puts `key` into a new keyslot.
    fn add_keyslot(&mut self, device: &dyn BlockDevice, key: &Secret, new: &NewKeyslot<'_>) -> Result<u32>;

    /// Destroys a keyslot: what it is, and what its area holds.
    fn remove_keyslot(&mut self, device: &dyn BlockDevice, id: u32) -> Result<()>;

    /// Says when a keyslot is tried.
    fn set_priority(&mut self, _device: &dyn BlockDevice, _id: u32, _priority: Priority) -> Result<()> {
        Err(self.lacks("priorities"))
    }

    /// Destroys every way in.
    fn erase(&mut self, device: &dyn BlockDevice) -> Result<()>;

    // Tokens.

    /// The tokens of type `atrest` with their numbers.
    fn tokens(&self) -> Result<Vec<(u32, Token)>> {
        Ok(Vec::new())
    }

    /// Proves by its MAC that whoever has the DEK wrote a token of this header, and this header.
    fn proves(&self, _token: &Token, _dek: &Dek) -> Result<()> {
        Err(Error::TamperedHeader)
    }

    /// Refuses where no token of a vault can be added.
    fn check_takes_tokens(&self) -> Result<()> {
        Err(self.lacks("a vault's token"))
    }

    /// Seals tokens and puts them in, each in place of the one of its number.
    fn put_tokens(&mut self, _device: &dyn BlockDevice, _dek: &Dek, _tokens: Vec<(u32, Token)>) -> Result<()> {
        Err(self.lacks("a vault's token"))
    }

    /// Seals a token and puts it in under a free number, which it returns. Others are taken out with the same write.
    fn add_token(&mut self, _device: &dyn BlockDevice, _dek: &Dek, _new: Token, _instead_of: &[u32]) -> Result<u32> {
        Err(self.lacks("a vault's token"))
    }

    /// Puts in a token of another program, given as JSON, and returns its number.
    fn import_token(&mut self, _device: &dyn BlockDevice, _json: &[u8]) -> Result<u32> {
        Err(self.lacks("tokens"))
    }

    /// Takes a token out, of whatever type.
    fn remove_token(&mut self, _device: &dyn BlockDevice, _id: u32) -> Result<()> {
        Err(self.lacks("tokens"))
    }

    /// The error for what the format has no place for.
    fn lacks(&self, what: &str) -> Error {
        let version = self.version();
        Error::UnsupportedHeader(format!("{version} has no place for {what}; convert the volume to LUKS2"))
    }

    // What a killed process, damage or another program has left.

    /// Whether a copy of the header is to be written anew.
    fn needs_repair(&self) -> bool {
        false
    }

    /// The keyslots that were removed, or not finished, and whose areas are still to be wiped: bytes on the device.
    fn unwiped(&self) -> Vec<(u32, Range<u64>)>;

    /// Writes such a copy, and wipes such areas.
    fn repair_and_wipe(&mut self, device: &dyn BlockDevice) -> Result<()>;

    /// Refuses to write where something stands that is no header's.
    fn check_foreign(&self) -> Result<()> {
        Ok(())
    }

    /// Lets the next repair write over whatever is there.
    fn overwrite_foreign(&mut self) {}

    /// Writes this header, which was read from a backup, with the keyslots of the backup, over the `current` one.
    fn restore(&mut self, device: &dyn BlockDevice, backup: &[u8], current: Option<&dyn StoredHeader>) -> Result<()>;

    // What it says, for a person or a program to look at.

    /// The label and the second label.
    fn labels(&self) -> (&[u8], &[u8]) {
        (&[], &[])
    }

    /// Gives the volume other labels.
    fn set_labels(&mut self, _device: &dyn BlockDevice, _label: &str, _subsystem: &str) -> Result<()> {
        Err(self.lacks("labels"))
    }

    fn requirements(&self) -> Vec<String> {
        Vec::new()
    }

    fn flags(&self) -> Vec<String> {
        Vec::new()
    }

    fn epoch(&self) -> Option<u64> {
        None
    }

    /// The size of one copy of the header without its keyslots.
    fn metadata_size(&self) -> u64;

    fn keyslots_size(&self) -> u64;

    fn keyslot_infos(&self) -> Vec<KeyslotInfo>;

    fn token_infos(&self) -> Vec<TokenInfo> {
        Vec::new()
    }

    fn segment_infos(&self) -> Vec<SegmentInfo>;

    fn digest_infos(&self) -> Vec<DigestInfo>;
}

/// What follows from that for every format.
impl dyn StoredHeader {
    /// The tokens whose MAC is right. Anybody can put others into a header: to seal one of those would make them genuine.
    pub(in crate::volume) fn genuine_tokens(&self, dek: &Dek) -> Vec<(u32, Token)> {
        // Tokens that aren't sound were refused when the volume was opened.
        let tokens = self.tokens().unwrap_or_default();
        tokens.into_iter().filter(|(_, token)| self.proves(token, dek).is_ok()).collect()
    }

    /// When a keyslot is tried.
    pub(in crate::volume) fn priority(&self, id: u32) -> Result<Priority> {
        let none = || Error::NoSuchProtector(format!("there is no keyslot {id}"));
        self.keyslot(id).map(|keyslot| keyslot.priority).ok_or_else(none)
    }

    /// Whether the protector opens the volume, or is something else with a number; `None` where there is none.
    pub(in crate::volume) fn is_a_way_in(&self, id: ProtectorId) -> Option<bool> {
        match id {
            // Some formats have no word for it, and don't list it.
            ProtectorId::Keyslot(id) if self.unwiped().iter().any(|(unwiped, _)| *unwiped == id) => Some(false),
            ProtectorId::Keyslot(id) => self.keyslot(id).map(|keyslot| self.is_opened_by_passphrase(&keyslot)),
            ProtectorId::Token(id) => self.token(id).map(|token| token.kind == TOKEN_TYPE),
        }
    }

    /// How many ways in there are: keyslots for passphrases, and tokens of ours.
    pub(in crate::volume) fn ways_in(&self) -> usize {
        let tokens = self.token_infos().iter().filter(|token| token.kind == TOKEN_TYPE).count();
        self.keyslot_infos().iter().filter(|keyslot| self.is_opened_by_passphrase(keyslot)).count() + tokens
    }

    /// Whether a keyslot or token is what another state of this header has under that number, or in neither.
    pub(in crate::volume) fn has_same(&self, id: ProtectorId, other: &dyn StoredHeader) -> bool {
        match id {
            ProtectorId::Keyslot(id) => self.keyslot(id) == other.keyslot(id),
            ProtectorId::Token(id) => self.token(id) == other.token(id),
        }
    }

    /// Whether a killed process, or damage, has left something to be done.
    pub(in crate::volume) fn needs_recovery(&self) -> bool {
        self.needs_repair() || !self.unwiped().is_empty()
    }

    /// Does it: repairs a copy that is damaged or older, finishes the removal of keyslots. Not where somebody else has
    /// written the header since: they may have put another keyslot where one was to be wiped. Nor where something stands
    /// that is no header's, unless told to `overwrite` it.
    pub(in crate::volume) fn recover(&mut self, device: &dyn BlockDevice, overwrite: bool) -> Result<()> {
        if overwrite {
            self.overwrite_foreign();
        }
        self.check_unchanged(device)?;
        if !overwrite {
            self.check_foreign()?;
            self.unwiped().into_iter().try_for_each(|(_, area)| check_wipeable(device, area))?;
        }
        self.repair_and_wipe(device)
    }

    fn keyslot(&self, id: u32) -> Option<KeyslotInfo> {
        self.keyslot_infos().into_iter().find(|keyslot| keyslot.id == id)
    }

    fn token(&self, id: u32) -> Option<TokenInfo> {
        self.token_infos().into_iter().find(|token| token.id == id)
    }

    /// Whether a passphrase opens the volume by this keyslot, if it is the right one.
    fn is_opened_by_passphrase(&self, keyslot: &KeyslotInfo) -> bool {
        keyslot.kind == self.passphrase_kind() && keyslot.holds_data_key
    }
}
