//! The encoding of structures of TPM 2.0: numbers big-endian, lists of bytes with a length of 16 bits before them (TPM 2.0 Library,
//! Part 2). Nothing that is read is longer than [`LONGEST`].

use zeroize::Zeroizing;

/// The longest command or answer in bytes. TPMs take no more than 4096.
pub(crate) const LONGEST: usize = 4096;

/// Bytes that aren't the structure that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Reads from the front.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

const SHORT: Malformed = Malformed("it is shorter than it says");

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A list of bytes with its length before it: a TPM2B.
    pub(crate) fn sized(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("it is longer than it says")) }
    }
}

/// Writes into a buffer that never moves and is wiped when it is dropped.
pub(crate) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    pub(crate) fn new() -> Self {
        Writer(Zeroizing::new(Vec::with_capacity(LONGEST)))
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        // Beyond its capacity the buffer would move, and leave its bytes behind. No command of this crate is that long: the lists of
        // bytes that come from files are checked when they are read.
        assert!(bytes.len() <= LONGEST - self.0.len(), "a command of a TPM has at most {LONGEST} bytes");
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// A TPM2B.
    pub(crate) fn sized(&mut self, bytes: &[u8]) -> &mut Self {
        self.u16(bytes.len() as u16).bytes(bytes)
    }

    pub(crate) fn done(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}
