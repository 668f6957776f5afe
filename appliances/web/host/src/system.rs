//! The system's connections, as they send best.

use std::io;

use edge_nal::TcpAccept;
use mirage_host::{WatchedAcceptor, WatchedStream};
use web_appliance::{Listener, Sent, Way};

/// A listener of the system's TCP.
pub(crate) struct SystemTcp(pub(crate) WatchedAcceptor);

impl Listener for SystemTcp {
    type Error = io::Error;
    type Stream<'a> = Sent<WatchedStream, WithTheEnd>;

    async fn accept(&self) -> io::Result<Self::Stream<'_>> {
        let (_, stream) = self.0.accept().await?;
        Ok(Sent::new(stream, WithTheEnd))
    }
}

/// What is last goes in one segment with the end.
pub(crate) struct WithTheEnd;

impl Way<WatchedStream> for WithTheEnd {
    async fn write_last(&self, stream: &mut WatchedStream, octets: &[u8]) -> io::Result<usize> {
        stream.write_last(octets).await
    }
}
