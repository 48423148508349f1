//! A blob that is only read.

use std::io;
use std::sync::Arc;

use atrest::BlockDevice;
use atrest_http::{Method, fan_out};

use crate::failure::{refused, unexpected};
use crate::held::{PIECE, part};
use crate::service::{Ask, Service};

/// A blob of any kind, read without a lease. If it changes meanwhile, reads fail: they ask for the ETag of the beginning.
pub(crate) struct Image {
    service: Arc<Service>,
    blob: String,
    size: u64,
    etag: String,
    parallel: usize,
}

impl Image {
    pub fn open(service: Arc<Service>, blob: &str, parallel: usize) -> io::Result<Self> {
        let found = service.ask(service.deadline(), &Ask::new(Method::Head, Some(blob)))?;
        let size = found.header("content-length").and_then(|size| size.parse().ok());
        let (Some(size), Some(etag)) = (size, found.header("etag")) else {
            return Err(unexpected("the service doesn't tell the blob's size and ETag"));
        };
        Ok(Image { blob: blob.into(), size, etag: etag.into(), service, parallel })
    }
}

impl BlockDevice for Image {
    fn size(&self) -> io::Result<u64> {
        self.service.owner().check_io()?;
        Ok(self.size)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.service.owner().check_io()?;
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let deadline = self.service.deadline();
        let pieces = (offset..).step_by(PIECE as usize).zip(bytes.chunks_mut(PIECE as usize)).collect();
        fan_out(pieces, self.parallel, |(at, piece): (u64, &mut [u8])| {
            let range = format!("bytes={at}-{}", at + piece.len() as u64 - 1);
            let ask = Ask::new(Method::Get, Some(&self.blob)).header("x-ms-range", range);
            let mut ask = ask.header("if-match", &self.etag);
            ask.most = piece.len().max(64 << 10);
            let answer = self.service.call(deadline, &ask).answer?;
            match answer.status {
                206 => part(&answer, at, piece),
                412 => Err(unexpected(format!("{} was changed while it was read; open it again", self.blob))),
                _ => Err(refused(&answer)),
            }
        })
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the image was opened to be read only"))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
