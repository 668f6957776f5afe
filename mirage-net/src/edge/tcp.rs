//! TCP.
//!
//! Errors are [`TcpError`]s. Options can't be said through these traits: what is opened has those of [`ConnectionOptions::DEFAULT`], but for
//! Nagle's algorithm, which is off: whoever writes through them writes whole messages, and should. Listeners with other
//! options, [`SharedStack::tcp_listen`]'s, are [`TcpAccept`] too.
//!
//! `close` does as the traits say: of our direction it waits until the peer has acknowledged the end, of the peer's it throws away
//! what comes until the end. Neither has a bound of its own but the connection's user time-out.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use edge_nal::{Close, Readable, TcpAccept, TcpBind, TcpConnect, TcpShutdown, TcpSplit};

use crate::tcp::{ConnectionOptions, ListenOptions, TcpError};
use crate::{BindError, SharedStack, TcpListener, TcpReader, TcpStream, TcpWriter};

const OPTIONS: ConnectionOptions = ConnectionOptions {
    no_delay: true,
    ..ConnectionOptions::DEFAULT
};

impl From<BindError> for TcpError {
    fn from(error: BindError) -> Self {
        match error {
            BindError::AddressInUse => TcpError::InUse,
            BindError::AddressNotAvailable | BindError::BadRemote => TcpError::BadAddress,
            BindError::NoPort => TcpError::NoPort,
            BindError::TableFull | BindError::NoQueue => TcpError::TableFull,
            BindError::UnsupportedFamily => TcpError::UnsupportedFamily,
            BindError::InUse => TcpError::Busy,
        }
    }
}

impl<'a> TcpBind for SharedStack<'a> {
    type Error = TcpError;
    type Accept<'s>
        = TcpListener<'s, 'a>
    where
        Self: 's;

    async fn bind(&self, local: SocketAddr) -> Result<TcpListener<'_, 'a>, TcpError> {
        let mut options = ListenOptions::bind(local);
        options.connection = OPTIONS;
        Ok(self.tcp_listen(options)?)
    }
}

impl<'a> TcpConnect for SharedStack<'a> {
    type Error = TcpError;
    type Socket<'s>
        = TcpStream<'s, 'a>
    where
        Self: 's;

    async fn connect(&self, remote: SocketAddr) -> Result<TcpStream<'_, 'a>, TcpError> {
        let any: SocketAddr = match remote {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        self.tcp_connect(any, remote, OPTIONS).await
    }
}

impl<'h, 'a> TcpAccept for TcpListener<'h, 'a> {
    type Error = TcpError;
    type Socket<'s>
        = TcpStream<'h, 'a>
    where
        Self: 's;

    async fn accept(&self) -> Result<(SocketAddr, TcpStream<'h, 'a>), TcpError> {
        TcpListener::accept(self).await
    }
}

impl<'h, 'a> TcpSplit for TcpStream<'h, 'a> {
    type Read<'s>
        = TcpReader<'s, 'h, 'a>
    where
        Self: 's;
    type Write<'s>
        = TcpWriter<'s, 'h, 'a>
    where
        Self: 's;

    fn split(&mut self) -> (Self::Read<'_>, Self::Write<'_>) {
        TcpStream::split(self)
    }
}

impl TcpShutdown for TcpStream<'_, '_> {
    async fn close(&mut self, what: Close) -> Result<(), TcpError> {
        if matches!(what, Close::Write | Close::Both) {
            match self.shutdown() {
                Ok(()) | Err(TcpError::Closing) => {}
                Err(error) => return Err(error),
            }
            self.delivered().await?;
        }
        if matches!(what, Close::Read | Close::Both) {
            while self.receive().await?.is_some() {}
        }
        Ok(())
    }

    async fn abort(&mut self) -> Result<(), TcpError> {
        TcpStream::abort(self);
        Ok(())
    }
}

impl Readable for TcpStream<'_, '_> {
    async fn readable(&mut self) -> Result<(), TcpError> {
        TcpStream::readable(self).await;
        Ok(())
    }
}

impl Readable for &TcpStream<'_, '_> {
    async fn readable(&mut self) -> Result<(), TcpError> {
        TcpStream::readable(self).await;
        Ok(())
    }
}

impl Readable for TcpReader<'_, '_, '_> {
    async fn readable(&mut self) -> Result<(), TcpError> {
        TcpReader::readable(self).await;
        Ok(())
    }
}
