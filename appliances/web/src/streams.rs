//! Listeners and streams of any stack, and how each sends best.

use core::future::Future;

use edge_nal::{Close, Readable, TcpAccept, TcpShutdown};
use embedded_io_async::{ErrorType, Read, Write};
use mirage_http::io::Stream;

/// Where connections come from. Any number of tasks may accept.
pub trait Listener {
    /// Why there is no connection.
    type Error;
    /// A connection.
    type Stream<'a>: Stream + Readable + TcpShutdown
    where
        Self: 'a;

    /// The next connection.
    ///
    /// # Errors
    ///
    /// The stack's; others may come after it.
    fn accept(&self) -> impl Future<Output = Result<Self::Stream<'_>, Self::Error>>;
}

/// A listener of any stack: all that is sent is written.
#[derive(Debug)]
pub struct AnyTcp<A>(pub A);

impl<A: TcpAccept> Listener for AnyTcp<A> {
    type Error = A::Error;
    type Stream<'a>
        = Sent<A::Socket<'a>, ByWriting>
    where
        A: 'a;

    async fn accept(&self) -> Result<Self::Stream<'_>, A::Error> {
        let (_, stream) = self.0.accept().await?;
        Ok(Sent::new(stream, ByWriting))
    }
}

/// How a kind of stream sends what lies in the program, and what is last: see [`Stream`], whose methods these are.
pub trait Way<S: Write> {
    /// Whether what lies in the program is sent from there.
    fn sends_static(&self) -> bool {
        false
    }

    /// Sends octets that lie in the program.
    ///
    /// # Errors
    ///
    /// The stream's.
    fn write_static(
        &self,
        stream: &mut S,
        octets: &'static [u8],
    ) -> impl Future<Output = Result<usize, S::Error>> {
        stream.write(octets)
    }

    /// Sends octets behind which our side is ended at once.
    ///
    /// # Errors
    ///
    /// The stream's.
    fn write_last(
        &self,
        stream: &mut S,
        octets: &[u8],
    ) -> impl Future<Output = Result<usize, S::Error>> {
        stream.write(octets)
    }
}

/// All is written.
#[derive(Clone, Copy, Debug)]
pub struct ByWriting;

impl<S: Write> Way<S> for ByWriting {}

/// A stream, and the way in which it sends.
#[derive(Debug)]
pub struct Sent<S, W> {
    stream: S,
    way: W,
}

impl<S, W> Sent<S, W> {
    /// Of these.
    pub const fn new(stream: S, way: W) -> Self {
        Self { stream, way }
    }
}

impl<S: Read + Write, W: Way<S>> Stream for Sent<S, W> {
    fn sends_static(&self) -> bool {
        self.way.sends_static()
    }

    async fn write_static(&mut self, octets: &'static [u8]) -> Result<usize, S::Error> {
        self.way.write_static(&mut self.stream, octets).await
    }

    async fn write_last(&mut self, octets: &[u8]) -> Result<usize, S::Error> {
        self.way.write_last(&mut self.stream, octets).await
    }
}

impl<S: ErrorType, W> ErrorType for Sent<S, W> {
    type Error = S::Error;
}

impl<S: Read, W> Read for Sent<S, W> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, S::Error> {
        self.stream.read(buffer).await
    }
}

impl<S: Write, W> Write for Sent<S, W> {
    async fn write(&mut self, octets: &[u8]) -> Result<usize, S::Error> {
        self.stream.write(octets).await
    }

    async fn flush(&mut self) -> Result<(), S::Error> {
        self.stream.flush().await
    }
}

impl<S: Readable, W> Readable for Sent<S, W> {
    async fn readable(&mut self) -> Result<(), S::Error> {
        self.stream.readable().await
    }
}

impl<S: TcpShutdown, W> TcpShutdown for Sent<S, W> {
    async fn close(&mut self, what: Close) -> Result<(), S::Error> {
        self.stream.close(what).await
    }

    async fn abort(&mut self) -> Result<(), S::Error> {
        self.stream.abort().await
    }
}
