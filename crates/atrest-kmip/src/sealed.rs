//! The format of ciphertexts that a server made.

/// The length of a nonce of AES-GCM, in bytes.
pub(crate) const NONCE: usize = 12;
/// The length of its tag.
pub(crate) const TAG: usize = 16;

/// The start of every wrapped key: a name, and the version of this format.
const MAGIC: &[u8; 4] = b"KMI\x01";

/// The longest ciphertext in bytes, so that nothing longer than a request is sent.
const LONGEST: usize = atrest::key::MAX_WRAPPED - MAGIC.len() - NONCE - TAG;

/// A ciphertext of AES-GCM with its nonce and tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) nonce: [u8; NONCE],
    pub(crate) mac: [u8; TAG],
    pub(crate) data: Vec<u8>,
}

impl Sealed {
    /// `None` for lengths that AES-GCM doesn't have here.
    pub(crate) fn new(nonce: &[u8], mac: &[u8], data: &[u8]) -> Option<Self> {
        let sound = (1..=LONGEST).contains(&data.len());
        sound.then_some(Sealed { nonce: nonce.try_into().ok()?, mac: mac.try_into().ok()?, data: data.to_vec() })
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        [&MAGIC[..], &self.nonce, &self.mac, &self.data].concat()
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (nonce, rest) = bytes.strip_prefix(MAGIC)?.split_at_checked(NONCE)?;
        let (mac, data) = rest.split_at_checked(TAG)?;
        Sealed::new(nonce, mac, data)
    }
}
