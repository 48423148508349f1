//! AES-256 in counter mode, on the `ctr` crate.

use aes::Aes256;
use aes::cipher::KeyInit;
use aes::cipher::inout::InOutBuf;
use ctr::CtrCore;
use ctr::cipher::{InnerIvInit, StreamCipher as _, StreamCipherCoreWrapper, StreamCipherSeek};
use ctr::flavors::Ctr128BE;

/// An expanded key. The `aes` crate wipes it on drop.
pub(crate) struct Ctr(Aes256);

impl Ctr {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Ctr(Aes256::new(key.into()))
    }

    /// Not inlined, so that it leaves its data on the stack below its caller. The caller wipes that part.
    #[inline(never)]
    pub(crate) fn apply(&self, counter: u128, skip: usize, data: InOutBuf<'_, '_, u8>) {
        const SHORT: &str = "what memory holds is fewer than the counter has";
        let counter = CtrCore::<_, Ctr128BE>::inner_iv_init(&self.0, &counter.to_be_bytes().into());
        let mut stream = StreamCipherCoreWrapper::from_core(counter);
        stream.try_seek(skip).expect(SHORT);
        stream.try_apply_keystream_inout(data).expect(SHORT);
    }
}
