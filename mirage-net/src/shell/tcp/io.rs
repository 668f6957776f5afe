//! `embedded-io-async`'s traits over connections.
//!
//! `Read::read` copies once, from the received pages into the caller's buffer; `BufRead::fill_buf` does not: it gives the bytes where
//! they lie, a page's worth at most. `Write::write` copies once, into the pages that are sent. `Write::flush` does not wait, for
//! nothing is held back here: what was written is in the stack's queue, and goes out as fast as the peer and the network
//! take it. It says if the connection has failed. Whoever wants to know that it arrived waits for [`TcpStream::delivered`].

use core::future::poll_fn;

use embedded_io_async::{BufRead, Error, ErrorKind, ErrorType, Read, Write};
use mirage_core::Segment;

use super::stream::{Connection, TcpReader, TcpStream, TcpWriter, consume};
use crate::tcp::TcpError;

impl Error for TcpError {
    fn kind(&self) -> ErrorKind {
        match self {
            TcpError::NotOpen | TcpError::NotConnected => ErrorKind::NotConnected,
            TcpError::Full | TcpError::TableFull => ErrorKind::OutOfMemory,
            TcpError::Closing => ErrorKind::BrokenPipe,
            TcpError::Refused => ErrorKind::ConnectionRefused,
            TcpError::Reset => ErrorKind::ConnectionReset,
            TcpError::TimedOut => ErrorKind::TimedOut,
            TcpError::BadAddress => ErrorKind::InvalidInput,
            TcpError::UnsupportedFamily => ErrorKind::Unsupported,
            TcpError::InUse => ErrorKind::AddrInUse,
            TcpError::NoPort => ErrorKind::AddrNotAvailable,
            TcpError::Unreachable(_) | TcpError::NoRoute | TcpError::Busy => ErrorKind::Other,
        }
    }
}

impl ErrorType for TcpStream<'_, '_> {
    type Error = TcpError;
}

impl ErrorType for &TcpStream<'_, '_> {
    type Error = TcpError;
}

impl ErrorType for TcpReader<'_, '_, '_> {
    type Error = TcpError;
}

impl ErrorType for TcpWriter<'_, '_, '_> {
    type Error = TcpError;
}

impl Read for &TcpStream<'_, '_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TcpError> {
        TcpStream::read(self, buffer).await
    }
}

impl Read for TcpStream<'_, '_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TcpError> {
        TcpStream::read(self, buffer).await
    }
}

impl Read for TcpReader<'_, '_, '_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TcpError> {
        TcpReader::read(self, buffer).await
    }
}

impl BufRead for TcpStream<'_, '_> {
    async fn fill_buf(&mut self) -> Result<&[u8], TcpError> {
        fill(&self.connection, self.held.get_mut()).await
    }

    fn consume(&mut self, amount: usize) {
        consume(self.held.get_mut(), amount);
    }
}

impl BufRead for TcpReader<'_, '_, '_> {
    async fn fill_buf(&mut self) -> Result<&[u8], TcpError> {
        fill(self.connection, self.held).await
    }

    fn consume(&mut self, amount: usize) {
        consume(self.held, amount);
    }
}

async fn fill<'h>(
    connection: &Connection<'_, '_>,
    held: &'h mut Option<Segment>,
) -> Result<&'h [u8], TcpError> {
    poll_fn(|context| connection.poll_fill(context, held)).await?;
    Ok(held.as_deref().unwrap_or_default())
}

impl Write for &TcpStream<'_, '_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, TcpError> {
        TcpStream::write(self, bytes).await
    }

    async fn flush(&mut self) -> Result<(), TcpError> {
        flush(&self.connection).await
    }
}

impl Write for TcpStream<'_, '_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, TcpError> {
        TcpStream::write(self, bytes).await
    }

    async fn flush(&mut self) -> Result<(), TcpError> {
        flush(&self.connection).await
    }
}

impl Write for TcpWriter<'_, '_, '_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, TcpError> {
        TcpWriter::write(self, bytes).await
    }

    async fn flush(&mut self) -> Result<(), TcpError> {
        flush(self.connection).await
    }
}

async fn flush(connection: &Connection<'_, '_>) -> Result<(), TcpError> {
    poll_fn(|context| connection.poll_error(context)).await
}
