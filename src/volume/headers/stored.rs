//! [`StoredHeader`]: the interface that volumes use for headers of any format.

use core::any::Any;
use core::ops::Range;
use std::time::Duration;

use super::area::{check_wipeable, rewrite};
use super::keyslot::{Attempts, FirstProtector, Means, NewKeyslot};
use super::new::{NewDecryption, NewEncryption, NewReencryption};
use crate::key::{HashAlgorithm, Kdf};
use crate::ondisk::luks::{Plan, Priority, TOKEN_TYPE, Token, WrittenMap};
use crate::volume::data_area::DataArea;
use crate::volume::moving::Moving;
use crate::volume::{BlockDevice, DigestInfo, HeaderFormat, KeyslotInfo, ProtectorId, SegmentInfo, TokenInfo};
use crate::{Dek, Error, Result, Secret};

/// A header on a device.
///
/// The required methods differ between formats. The provided methods suit a format without tokens, labels, flags,
/// priorities and requirements.
pub(in crate::volume) trait StoredHeader: Any + Send + Sync {
    /// A copy of it.
    fn boxed(&self) -> Box<dyn StoredHeader>;

    fn format(&self) -> HeaderFormat;

    fn uuid(&self) -> &str;

    /// The number of bytes at the start of its device that the header takes with its keyslots.
    fn len(&self) -> u64;

    /// Fails if it can't be backed up: its bytes aren't together at the start of the device.
    fn check_backup(&self) -> Result<()> {
        Ok(())
    }

    /// The place of the data. Fails for features that this library can't read.
    fn data_area(&self, detached: bool) -> Result<DataArea>;

    /// Whether the data may be written.
    fn takes_writes(&self) -> bool {
        true
    }

    /// Refuses to change a header with requirements that this library does not know.
    fn check_requirements(&self) -> Result<()> {
        Ok(())
    }

    /// Checks that nobody else has written the header since it was read or written here; their changes would be lost.
    fn check_unchanged(&mut self, device: &dyn BlockDevice) -> Result<()>;

    /// Writes the header as it is, with a greater sequence number.
    #[cfg(feature = "managed")]
    fn renew(&mut self, _device: &dyn BlockDevice) -> Result<()> {
        Err(self.lacks("a sequence number"))
    }

    /// The map of written chunks, if the volume has one and an owner of the DEK made it.
    fn written_map(&self, _dek: &Dek) -> Result<Option<WrittenMap>> {
        Ok(None)
    }

    // The key. These methods are called only if the data area can be read.

    /// Verifies the volume key by the header's digest.
    fn verify(&self, key: &Secret) -> Result<()>;

    /// Identifies the data's key: the same as long as the key is the same.
    fn key_digest(&self) -> Vec<u8>;

    /// The cost of verifying a key: iterations of PBKDF2, and their time.
    fn digest_cost(&self) -> (u32, Duration);

    // Keyslots.

    /// The keyslots of the data's key that a secret of this kind may open, in the order in which they are tried, or only the one
    /// `named`.
    fn attempts(&self, named: Option<u32>, by: Means) -> Attempts;

    /// Why there are no [attempts](Self::attempts).
    fn no_attempts(&self, named: Option<u32>, by: Means) -> String {
        if by != Means::Passphrase {
            return format!("no keyslot opens by a {by}; that is for BitLocker");
        }
        match named {
            Some(id) => format!("this volume's key has no keyslot {id}"),
            None => match self.ignored().as_slice() {
                [] => "no keyslot opens by a passphrase; this volume takes another credential".into(),
                [id] => format!("keyslot {id} is tried only when it is named (`keyslot`): its priority is 'ignore'"),
                ids => format!("keyslots {ids:?} are tried only when named (`keyslot`): their priority is 'ignore'"),
            },
        }
    }

    /// The error for a secret that was tried and opened nothing.
    fn not_opened(&self, _secret: &[u8], _by: Means) -> Error {
        Error::WrongPassphrase
    }

    /// The keyslots of the data's key that are tried only if they are named.
    fn ignored(&self) -> Vec<u32> {
        Vec::new()
    }

    /// The `kind` of a keyslot for a passphrase.
    fn passphrase_kind(&self) -> &'static str;

    /// Refuses a new keyslot by such a secret.
    fn check_means(&self, by: Means) -> Result<()> {
        if by == Means::Passphrase {
            return Ok(());
        }
        Err(Error::UnsupportedHeader(format!("{} has no place for a {by}, which BitLocker has", self.format())))
    }

    /// The key derivation of every keyslot, if the format has only one.
    fn fixed_kdf(&self) -> Option<Kdf> {
        None
    }

    /// The number of a keyslot once another was removed.
    fn number_after(&self, number: u32, _removed: u32) -> u32 {
        number
    }

    /// Whether a keyslot opens the volume, by the right passphrase or another secret that it takes.
    fn is_way_in(&self, keyslot: &KeyslotInfo) -> bool {
        keyslot.kind == self.passphrase_kind() && keyslot.holds_data_key && !self.token_keyslots().contains(&keyslot.id)
    }

    /// The hash that a new keyslot with PBKDF2 must use.
    fn required_hash(&self) -> Option<HashAlgorithm> {
        None
    }

    /// Writes the header of a new volume, with its first way in.
    fn store_new(&mut self, device: &dyn BlockDevice, dek: &Dek, protector: FirstProtector<'_>) -> Result<()>;

    /// Stores `key` in a new keyslot.
    fn add_keyslot(&mut self, device: &dyn BlockDevice, key: &Secret, new: &NewKeyslot<'_>) -> Result<u32>;

    /// Destroys a keyslot and the content of its area.
    fn remove_keyslot(&mut self, device: &dyn BlockDevice, id: u32) -> Result<()>;

    /// Sets the priority of a keyslot.
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

    /// Verifies by its MAC that an owner of the DEK wrote this token and this header.
    fn proves(&self, _token: &Token, _dek: &Dek) -> Result<()> {
        Err(Error::TamperedHeader)
    }

    /// Fails if the format can't hold a vault's token.
    fn check_takes_tokens(&self) -> Result<()> {
        Err(self.lacks("a vault's token"))
    }

    /// Seals tokens and stores them, each replacing the one of its number.
    fn put_tokens(&mut self, _device: &dyn BlockDevice, _dek: &Dek, _tokens: Vec<(u32, Token)>) -> Result<()> {
        Err(self.lacks("a vault's token"))
    }

    /// Seals a token, stores it under a free number and returns that number. The same write removes the tokens in
    /// `instead_of`.
    fn add_token(&mut self, _device: &dyn BlockDevice, _dek: &Dek, _new: Token, _instead_of: &[u32]) -> Result<u32> {
        Err(self.lacks("a vault's token"))
    }

    /// Fails as [`add_token`](Self::add_token) would for lack of room. Nothing is written.
    #[cfg(feature = "managed")]
    fn check_token_fits(&self, _dek: &Dek, _new: Token, _instead_of: &[u32]) -> Result<()> {
        Err(self.lacks("a vault's token"))
    }

    /// The keyslots that tokens of type `atrest` name. Their passphrase comes from the DEK, so they are no ways in of their own.
    fn token_keyslots(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Stores the key in a new keyslot that all genuine tokens name, by one write of the header.
    fn bind_tokens(&mut self, _device: &dyn BlockDevice, _dek: &Dek, _new: &NewKeyslot<'_>) -> Result<u32> {
        Err(self.lacks("a vault's token"))
    }

    /// Stores another program's token, given as JSON, and returns its number.
    fn import_token(&mut self, _device: &dyn BlockDevice, _json: &[u8]) -> Result<u32> {
        Err(self.lacks("tokens"))
    }

    /// Removes a token of any type.
    fn remove_token(&mut self, _device: &dyn BlockDevice, _id: u32) -> Result<()> {
        Err(self.lacks("tokens"))
    }

    /// The error for features that the format doesn't have.
    fn lacks(&self, what: &str) -> Error {
        let what = format!("{} has no place for {what}", self.format());
        let is_luks = matches!(self.format(), HeaderFormat::Luks(_));
        Error::UnsupportedHeader(if is_luks { format!("{what}; convert the volume to LUKS2") } else { what })
    }

    // The remains of killed processes, damage and other programs.

    /// Whether a copy of the header must be rewritten.
    fn needs_repair(&self) -> bool {
        false
    }

    /// The removed or unfinished keyslots whose areas still must be wiped, with their ranges on the device in bytes.
    fn unwiped(&self) -> Vec<(u32, Range<u64>)>;

    /// Rewrites such a copy, and wipes such areas.
    fn repair_and_wipe(&mut self, device: &dyn BlockDevice) -> Result<()>;

    /// Refuses to write over foreign data.
    fn check_foreign(&self) -> Result<()> {
        Ok(())
    }

    /// Allows the next repair to overwrite foreign data.
    fn overwrite_foreign(&mut self) {}

    /// Writes this header, read from a backup, and the keyslots of the backup over the `current` header.
    fn restore(&mut self, device: &dyn BlockDevice, backup: &[u8], current: Option<&dyn StoredHeader>) -> Result<()>;

    /// Replaces it on the device by a header of LUKS2, and returns that one; `None` if it is of LUKS2.
    fn convert_to_luks2(&mut self, _device: &dyn BlockDevice) -> Result<Option<Box<dyn StoredHeader>>> {
        Ok(None)
    }

    // Re-encryption.

    /// This header, asked about the old key of a re-encryption.
    fn of_previous_key(&self) -> Option<Box<dyn StoredHeader>> {
        None
    }

    /// The old key, if the header has it wrapped under the new one. It is not proven yet.
    fn previous_key(&self, _new: &Dek) -> Result<Option<Secret>> {
        Ok(None)
    }

    /// Verifies that an owner of both keys has begun the re-encryption.
    fn verify_reencryption(&self, _plan: &Plan, _old: Option<&Secret>, _new: Option<&Secret>) -> Result<()> {
        Err(Error::TamperedHeader)
    }

    /// Records that a re-encryption begins.
    fn begin_reencryption(&mut self, _device: &dyn BlockDevice, _new: NewReencryption<'_>) -> Result<Plan> {
        Err(self.lacks("a re-encryption"))
    }

    /// Writes the header of plain data that is to be encrypted in place, with its first way in.
    fn store_encryption(
        &mut self,
        _device: &dyn BlockDevice,
        _dek: &Dek,
        _protector: FirstProtector<'_>,
        _new: NewEncryption,
    ) -> Result<()> {
        Err(self.lacks("an encryption in place"))
    }

    /// Records that a decryption in place begins.
    fn begin_decryption(&mut self, _: &dyn BlockDevice, _dek: &Dek, _: NewDecryption) -> Result<Plan> {
        Err(self.lacks("a decryption in place"))
    }

    /// Destroys the header of data that is plain again, one copy after the other: if this is killed, the second copy is whole
    /// until the first is gone.
    fn wipe(&self, device: &dyn BlockDevice) -> Result<()> {
        let failed = |e| Error::io("destroying the header", e);
        let copy = self.metadata_size();
        for part in [0..copy, copy..2 * copy, 2 * copy..self.len()] {
            rewrite(device, part, failed, true, |block| {
                block.fill(0);
                Ok(())
            })?;
            device.sync().map_err(failed)?;
        }
        Ok(())
    }

    /// Records how far it is, of a volume of `size` bytes.
    fn record_progress(&mut self, _: &dyn BlockDevice, _dek: &Dek, _moving: &Moving, _size: u64) -> Result<()> {
        Err(self.lacks("a re-encryption"))
    }

    /// Records that it is recovered as the plan says.
    fn set_resilience(&mut self, _: &dyn BlockDevice, _dek: &Dek, _plan: &Plan, _old: Option<&Dek>) -> Result<()> {
        Err(self.lacks("a re-encryption"))
    }

    /// Records its end, and wipes the areas that only it used.
    fn finish_reencryption(&mut self, _device: &dyn BlockDevice, _dek: &Dek, _plan: &Plan) -> Result<()> {
        Err(self.lacks("a re-encryption"))
    }

    // Descriptions for people and programs.

    /// The label and the second label.
    fn labels(&self) -> (&[u8], &[u8]) {
        (&[], &[])
    }

    /// Replaces the volume's labels.
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

    fn metadata_json(&self) -> Option<&[u8]> {
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

/// Functions built on the trait, for every format.
impl dyn StoredHeader {
    /// The tokens with a correct MAC. Anybody can put other tokens into a header, and sealing one of those would make
    /// it genuine.
    pub(in crate::volume) fn genuine_tokens(&self, dek: &Dek) -> Vec<(u32, Token)> {
        // Opening the volume already refused unsound tokens.
        let tokens = self.tokens().unwrap_or_default();
        tokens.into_iter().filter(|(_, token)| self.proves(token, dek).is_ok()).collect()
    }

    /// The priority of a keyslot.
    pub(in crate::volume) fn priority(&self, id: u32) -> Result<Priority> {
        let none = || Error::NoSuchProtector(format!("there is no keyslot {id}"));
        self.keyslot(id).map(|keyslot| keyslot.priority).ok_or_else(none)
    }

    /// Whether the protector of this number can open the volume; `None` if the number is unused.
    pub(in crate::volume) fn is_a_way_in(&self, id: ProtectorId) -> Option<bool> {
        match id {
            // Some formats can't mark such a keyslot, and don't list it.
            ProtectorId::Keyslot(id) if self.unwiped().iter().any(|(unwiped, _)| *unwiped == id) => Some(false),
            ProtectorId::Keyslot(id) => self.keyslot(id).map(|keyslot| self.is_way_in(&keyslot)),
            ProtectorId::Token(id) => self.token(id).map(|token| token.kind == TOKEN_TYPE),
        }
    }

    /// The number of ways in: keyslots for passphrases, and tokens of type `atrest`.
    pub(in crate::volume) fn ways_in(&self) -> usize {
        let tokens = self.token_infos().iter().filter(|token| token.kind == TOKEN_TYPE).count();
        self.keyslot_infos().iter().filter(|keyslot| self.is_way_in(keyslot)).count() + tokens
    }

    /// Whether the keyslot or token is the same in `other`, another state of this header, or missing in both.
    pub(in crate::volume) fn has_same(&self, id: ProtectorId, other: &dyn StoredHeader) -> bool {
        match id {
            ProtectorId::Keyslot(id) => self.keyslot(id) == other.keyslot(id),
            ProtectorId::Token(id) => self.token(id) == other.token(id),
        }
    }

    /// Whether a killed process or damage left work to do.
    pub(in crate::volume) fn needs_recovery(&self) -> bool {
        self.needs_repair() || !self.unwiped().is_empty()
    }

    /// Does that work: repairs a damaged or older copy, and finishes the removal of keyslots. It refuses if somebody
    /// else has written the header since, because another keyslot may be where one was to be wiped. It also refuses to
    /// write over foreign data unless `overwrite` is set.
    pub(in crate::volume) fn recover(&mut self, device: &dyn BlockDevice, overwrite: bool) -> Result<()> {
        if overwrite {
            self.overwrite_foreign();
        }
        self.check_unchanged(device)?;
        if !overwrite {
            self.check_recoverable(device)?;
        }
        self.repair_and_wipe(device)
    }

    /// Refuses to write over foreign data.
    pub(in crate::volume) fn check_recoverable(&self, device: &dyn BlockDevice) -> Result<()> {
        self.check_foreign()?;
        self.unwiped().into_iter().try_for_each(|(_, area)| check_wipeable(device, area))
    }

    fn keyslot(&self, id: u32) -> Option<KeyslotInfo> {
        self.keyslot_infos().into_iter().find(|keyslot| keyslot.id == id)
    }

    fn token(&self, id: u32) -> Option<TokenInfo> {
        self.token_infos().into_iter().find(|token| token.id == id)
    }
}
