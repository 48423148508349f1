//! Re-wraps the DEK. No sector is read or written.

use super::headers::StoredHeader;
use super::unlock::ways_in;
use super::{BlockDevice, Volume};
#[cfg(feature = "managed")]
use crate::Dek;
use crate::arch::on_wiped_stack;
use crate::key::{EncryptionType, KeyId, KeyVault, WrappedDek};
use crate::ondisk::luks::Token;
use crate::{Error, Result};

impl<D: BlockDevice> Volume<D> {
    /// Asks `vault` to wrap the DEK again, under the latest version of the key that wraps it now. Returns that version.
    ///
    /// Reads and writes continue meanwhile. The old version must stay enabled until this returns; afterwards this
    /// volume doesn't need it. If this is killed at any instant, the volume opens with the old version or the new one.
    ///
    /// # Errors
    /// [`Error::NotThisVault`] if no token names `vault`; [`Error::ReadOnly`]; the vault's errors; [`Error::Busy`] if
    /// another program has changed the header since the volume was opened; [`Error::Io`], after which the volume opens
    /// with the old version or the new one.
    pub fn rotate_kek(&self, vault: &dyn KeyVault) -> Result<KeyId> {
        on_wiped_stack(|| {
            self.check_writable()?;
            // No lock is held while a vault answers. If another rotation finished first, this answer may be under a
            // version that the other's caller is free to destroy. So ask again.
            let (new_tokens, mut header) = loop {
                let old = self.tokens_of(&**self.locked_header(), vault.id())?;
                let wrap = |(id, old): &(u32, Token)| Ok((*id, self.rewrapped(old, vault)?));
                let new = old.iter().map(wrap).collect::<Result<Vec<_>>>()?;
                let header = self.locked_header();
                if self.tokens_of(&**header, vault.id())? == old {
                    break (new, header);
                }
            };
            let kek = new_tokens[0].1.wrapped.kek.clone();
            header.put_tokens(self.header_device(), &self.dek(), new_tokens)?;
            Ok(kek)
        })
    }

    /// Moves the volume to one key of one vault, whatever keys it had: one token replaces all its genuine tokens.
    /// Returns the version of the key. Passphrases stay.
    ///
    /// Reads and writes continue meanwhile, and no sector is touched. If this is killed at any instant, the volume
    /// opens with the old keys or the new one.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::UnsupportedHeader`] on LUKS1; the vault's errors; [`Error::Busy`] if another
    /// program has changed the header since the volume was opened; [`Error::Io`].
    pub fn replace_keks(&self, vault: &dyn KeyVault, key: &str, encryption_type: EncryptionType) -> Result<KeyId> {
        self.replace_all(vault, key, encryption_type, None)
    }

    /// As [`replace_keks`](Self::replace_keks), and binds the volume to a context in place of any earlier one.
    #[cfg(feature = "managed")]
    pub(crate) fn put_under(
        &self,
        vault: &dyn KeyVault,
        key: &str,
        encryption_type: EncryptionType,
        context: &[u8],
        reencrypt: bool,
    ) -> Result<KeyId> {
        self.replace_all(vault, key, encryption_type, Some((context, reencrypt)))
    }

    fn replace_all(
        &self,
        vault: &dyn KeyVault,
        key: &str,
        encryption_type: EncryptionType,
        bound: Option<(&[u8], bool)>,
    ) -> Result<KeyId> {
        on_wiped_stack(|| {
            self.check_writable()?;
            let wrapped = WrappedDek::wrap(vault, key, &self.dek())?;
            let kek = wrapped.kek.clone();
            let mut header = self.locked_header();
            let (token, old) = self.only_token(&**header, wrapped, encryption_type, bound);
            header.add_token(self.header_device(), &self.dek(), token, &old)?;
            Ok(kek)
        })
    }

    /// Fails as [`put_under`](Self::put_under) would for lack of room. `vault` wraps another key of the same length, and nothing is
    /// written.
    #[cfg(feature = "managed")]
    pub(crate) fn check_put_under(
        &self,
        vault: &dyn KeyVault,
        key: &str,
        encryption_type: EncryptionType,
        context: &[u8],
        reencrypt: bool,
    ) -> Result<()> {
        on_wiped_stack(|| {
            let trial = WrappedDek::wrap(vault, key, &Dek::generate(self.dek().algorithm())?)?;
            let header = self.locked_header();
            let (token, old) = self.only_token(&**header, trial, encryption_type, Some((context, reencrypt)));
            header.check_token_fits(&self.dek(), token, &old)
        })
    }

    /// The token that will be the only one of a vault, and the numbers of the tokens that it replaces. `bound` is its context, and
    /// whether a new DEK is ordered; if `None`, it takes both from the replaced tokens.
    fn only_token(
        &self,
        header: &dyn StoredHeader,
        wrapped: WrappedDek,
        encryption_type: EncryptionType,
        bound: Option<(&[u8], bool)>,
    ) -> (Token, Vec<u32>) {
        let old = header.genuine_tokens(&self.dek());
        let (known, data_size) = match old.first() {
            Some((_, token)) => (token.context.clone(), token.data_size.max(self.size())),
            None => (Vec::new(), self.size()),
        };
        let ordered = old.iter().any(|(_, token)| token.reencrypt);
        let (context, reencrypt) =
            bound.map_or((known, ordered), |(context, reencrypt)| (context.to_vec(), reencrypt || ordered));
        let token = Token::new(encryption_type, &self.dek(), wrapped, context, data_size).reencrypt(reencrypt);
        (token, old.into_iter().map(|(id, _)| id).collect())
    }

    /// Moves the volume from one vault to another: one token for a key of `vault` replaces those of the vault with the id
    /// `from`. Returns the version of the key. Ways in by other vaults, and passphrases, stay.
    ///
    /// `from` isn't asked, and may be gone. Reads and writes continue meanwhile, and no sector is touched. If this is killed
    /// at any instant, the volume opens with `from` or with `vault`.
    ///
    /// # Errors
    /// [`Error::NotThisVault`] if no token names `from`; otherwise as [`replace_keks`](Self::replace_keks).
    pub fn move_kek(&self, from: &str, vault: &dyn KeyVault, key: &str) -> Result<KeyId> {
        on_wiped_stack(|| {
            self.check_writable()?;
            self.tokens_of(&**self.locked_header(), from)?;
            let wrapped = WrappedDek::wrap(vault, key, &self.dek())?;
            let kek = wrapped.kek.clone();
            let mut header = self.locked_header();
            let old = self.tokens_of(&**header, from)?;
            let like = &old[0].1;
            let data_size = like.data_size.max(self.size());
            let token = Token::new(like.encryption_type, &self.dek(), wrapped, like.context.clone(), data_size)
                .reencrypt(like.reencrypt);
            let old: Vec<u32> = old.into_iter().map(|(id, _)| id).collect();
            header.add_token(self.header_device(), &self.dek(), token, &old)?;
            Ok(kek)
        })
    }

    /// Records the current size of the volume, and returns it in bytes. Use it after the device was enlarged, or was
    /// shrunk on purpose and opened with [`hazmat_allow_truncated`](crate::OpenOptions::hazmat_allow_truncated). From
    /// then on the volume opens without that option. Credentials and data don't change. If this is killed at any
    /// instant, the volume has the old or the new size recorded.
    ///
    /// Only a vault's token records the size. Without one, this does nothing.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Busy`] if another program has changed the header since the volume was opened;
    /// [`Error::Io`].
    pub fn record_size(&self) -> Result<u64> {
        on_wiped_stack(|| {
            self.check_writable()?;
            self.forget_cut_off()?;
            self.recorded_size()
        })
    }

    pub(super) fn recorded_size(&self) -> Result<u64> {
        let mut header = self.locked_header();
        let (dek, size) = (self.dek(), self.size());
        let mut tokens = header.genuine_tokens(&dek);
        tokens.retain(|(_, token)| token.data_size != size);
        if !tokens.is_empty() {
            tokens.iter_mut().for_each(|(_, token)| token.data_size = size);
            header.put_tokens(self.header_device(), &dek, tokens)?;
        }
        Ok(size)
    }

    /// The keys that can unwrap this volume's DEK.
    pub fn keks(&self) -> Vec<KeyId> {
        let tokens = self.locked_header().genuine_tokens(&self.dek());
        tokens.into_iter().map(|(_, token)| token.wrapped.kek).collect()
    }

    /// Writes the header again, with a greater sequence number. Another instance that has the volume open refuses to change the
    /// header from then on, as after any change by somebody else.
    #[cfg(feature = "managed")]
    pub(crate) fn renew_header(&self) -> Result<()> {
        self.check_writable()?;
        self.locked_header().renew(self.header_device())
    }

    /// The tokens written by an owner of the DEK.
    #[cfg(feature = "managed")]
    pub(crate) fn genuine_tokens(&self) -> Vec<crate::ondisk::luks::Token> {
        self.locked_header().genuine_tokens(&self.dek()).into_iter().map(|(_, token)| token).collect()
    }

    /// The numbers of those tokens.
    #[cfg(feature = "managed")]
    pub(crate) fn genuine_token_ids(&self) -> Vec<u32> {
        self.locked_header().genuine_tokens(&self.dek()).into_iter().map(|(id, _)| id).collect()
    }

    /// Refuses foreign data that opening it for writing would refuse to repair over. Nothing is written.
    #[cfg(feature = "managed")]
    pub(crate) fn check_recoverable(&self) -> Result<()> {
        self.locked_header().check_recoverable(self.header_device())
    }

    /// The DEK as wrapped by each vault.
    pub fn wrapped_deks(&self) -> Vec<WrappedDek> {
        let tokens = self.locked_header().genuine_tokens(&self.dek());
        tokens.into_iter().map(|(_, token)| token.wrapped).collect()
    }

    /// The volume's UUID, as text.
    pub fn uuid(&self) -> String {
        self.locked_header().uuid().to_owned()
    }

    /// A copy of a token with a newly wrapped DEK, still without its MAC.
    fn rewrapped(&self, old: &Token, vault: &dyn KeyVault) -> Result<Token> {
        let wrapped = WrappedDek::wrap(vault, old.wrapped.kek.key(), &self.dek())?;
        // If the volume was opened although its device is truncated, it stays recorded as truncated.
        let data_size = old.data_size.max(self.size());
        let token = Token::new(old.encryption_type, &self.dek(), wrapped, old.context.clone(), data_size);
        Ok(token.reencrypt(old.reencrypt))
    }

    /// The genuine tokens that name the vault of this id, with their numbers: at least one.
    fn tokens_of(&self, header: &dyn StoredHeader, vault: &str) -> Result<Vec<(u32, Token)>> {
        let genuine = header.genuine_tokens(&self.dek());
        let wanted = ways_in(&genuine);
        let ours: Vec<_> = genuine.into_iter().filter(|(_, token)| token.wrapped.kek.vault() == vault).collect();
        if ours.is_empty() { Err(Error::NotThisVault { wanted }) } else { Ok(ours) }
    }
}
