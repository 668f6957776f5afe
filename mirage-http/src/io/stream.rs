//! What a server may be told of a stream, beyond how to read and to write.

use embedded_io_async::{ErrorType, Read, Write};

/// A stream that a server serves. Whatever it is told beyond reading and writing is [`Write::write`] by default, which any stream has
/// in [`Written`].
pub trait Stream: Read + Write {
    /// Whether [`write_static`](Self::write_static) sends octets from where they lie. Where it doesn't, short content is put behind the
    /// response's head, and goes with it.
    fn sends_static(&self) -> bool {
        false
    }

    /// As `write`, for octets that lie in the program for as long as it runs: a compiled-in page. Nothing is waited for but room, and
    /// dropping the future sends nothing.
    ///
    /// # Errors
    ///
    /// As `write`.
    fn write_static(
        &mut self,
        octets: &'static [u8],
    ) -> impl Future<Output = Result<usize, Self::Error>> {
        self.write(octets)
    }

    /// As `write`, for octets behind which, once all are written, our side of the stream is ended at once: they may wait for the end, and go
    /// with it.
    ///
    /// # Errors
    ///
    /// As `write`.
    fn write_last(&mut self, octets: &[u8]) -> impl Future<Output = Result<usize, Self::Error>> {
        self.write(octets)
    }
}

/// Any stream, of which all that is sent is written.
#[derive(Debug)]
pub struct Written<S>(pub S);

impl<S: Read + Write> Stream for Written<S> {}

impl<S: ErrorType> ErrorType for Written<S> {
    type Error = S::Error;
}

impl<S: Read> Read for Written<S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, S::Error> {
        self.0.read(buffer).await
    }
}

impl<S: Write> Write for Written<S> {
    async fn write(&mut self, octets: &[u8]) -> Result<usize, S::Error> {
        self.0.write(octets).await
    }

    async fn flush(&mut self) -> Result<(), S::Error> {
        self.0.flush().await
    }
}
