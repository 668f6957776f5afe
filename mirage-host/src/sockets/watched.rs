//! The system's TCP, watched by the platform itself.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::c_int;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use edge_nal::{Close, Readable, TcpAccept, TcpBind, TcpShutdown, TcpSplit};
use embedded_io_async::{ErrorType, Read, Write};
use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{
    RecvFlags, SendFlags, Shutdown, SocketFlags, acceptfrom_with, recv, send, shutdown,
};

use super::option;
use super::tcp::BACKLOG;
use crate::HostPlatform;
use crate::edges::EdgeSource;

/// The system's TCP for a server, watched by the platform itself: no second thread has a part in it, as it has with
/// [`Sockets`](super::Sockets). Each listener and each connection is one of the platform's sources
/// ([`HostPlatformConfig::sources`](crate::HostPlatformConfig)), registered once with epoll(7): a look costs in proportion to those that have
/// something, and what is known not to be there is not asked for. A connection that nobody has to wait for is never registered: see
/// [`with_deferred_accept`](Self::with_deferred_accept).
#[derive(Clone, Copy, Debug)]
pub struct WatchedSockets {
    platform: &'static HostPlatform,
    deferred: Duration,
}

impl WatchedSockets {
    /// Of this platform. A connection is accepted as soon as it is open.
    pub const fn new(platform: &'static HostPlatform) -> Self {
        Self {
            platform,
            deferred: Duration::ZERO,
        }
    }

    /// Accepts a connection once its client has sent something, which mostly is read without a wait then (tcp(7), TCP_DEFER_ACCEPT). For
    /// protocols in which the client speaks first, as HTTP.
    ///
    /// Who has sent nothing for `patience` is accepted at the earliest then, in whole seconds, rounded up, as the system repeats its half of
    /// the handshake (after 1 s, 3 s, 7 s, …) and the client answers; zero defers nothing. An end counts as something sent. Until
    /// then such a client takes no place among the platform's sources, but one in the listener's queue of half-open connections: when
    /// that is full, the system accepts without deferring, or drops. If the listener goes first, it is told when it speaks.
    #[must_use]
    pub const fn with_deferred_accept(mut self, patience: Duration) -> Self {
        self.deferred = patience;
        self
    }
}

impl TcpBind for WatchedSockets {
    type Error = io::Error;
    type Accept<'a> = WatchedAcceptor;

    async fn bind(&self, local: SocketAddr) -> io::Result<WatchedAcceptor> {
        let listener = TcpListener::bind(local)?;
        listener.set_nonblocking(true)?;
        // Once more, with a longer queue than the standard library's: listen(2) allows it.
        rustix::net::listen(&listener, BACKLOG)?;
        if !self.deferred.is_zero() {
            let begun = u64::from(self.deferred.subsec_nanos() > 0);
            let seconds = self.deferred.as_secs().saturating_add(begun);
            let seconds = c_int::try_from(seconds).unwrap_or(c_int::MAX);
            option::set(
                &listener,
                libc::IPPROTO_TCP,
                libc::TCP_DEFER_ACCEPT,
                seconds,
            )?;
        }
        // What Linux accepts from it has this, too.
        set_tcp_nodelay(&listener, true)?;
        let local = listener.local_addr()?;
        let source = self.platform.edge_source(listener.into())?;
        // Whoever can't be told of connections is not to begin.
        source.watch()?;
        Ok(WatchedAcceptor {
            platform: self.platform,
            source,
            local,
            waiting: RefCell::default(),
        })
    }
}

/// A listener of [`WatchedSockets`]. Any number of tasks may accept from it; each connection wakes one.
///
/// What it accepts has TCP_NODELAY: a service writes what belongs together at once, and what it writes is to be sent.
#[derive(Debug)]
pub struct WatchedAcceptor {
    platform: &'static HostPlatform,
    source: EdgeSource,
    local: SocketAddr,
    /// Who waits, in the order in which they came; the first is whom the source wakes.
    waiting: RefCell<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    tasks: VecDeque<(u64, Waker)>,
    last: u64,
}

impl WatchedAcceptor {
    /// Where it listens; with the actual port, where the system chose one.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    fn try_accept(&self) -> io::Result<Option<(SocketAddr, WatchedStream)>> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accepted = self.source.try_read(|own| acceptfrom_with(own, flags))?;
        let Some((descriptor, remote)) = accepted else {
            return Ok(None);
        };
        let remote = remote.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let remote = remote.try_into().map_err(io::Error::from)?;
        let source = self.platform.edge_source(descriptor)?;
        Ok(Some((remote, WatchedStream { source })))
    }

    /// Has the source wake the first of those who wait.
    fn watch(&self) {
        if let Some((_, waker)) = self.waiting.borrow().tasks.front() {
            self.source
                .wake_when_readable(&mut Context::from_waker(waker));
        }
    }
}

/// A task that waits for a connection.
struct Accepting<'a> {
    acceptor: &'a WatchedAcceptor,
    /// Its number among those who wait; none before it waits.
    number: Option<u64>,
}

impl Accepting<'_> {
    /// It waits no longer: the next in line is woken for what comes.
    fn leave(&mut self) {
        let Some(number) = self.number.take() else {
            return;
        };
        let mut waiting = self.acceptor.waiting.borrow_mut();
        let place = waiting.tasks.iter().position(|(own, _)| *own == number);
        let left = place.and_then(|place| waiting.tasks.remove(place));
        drop(waiting);
        // After the borrow ended: a waker that goes may run the executor's code.
        drop(left);
        self.acceptor.watch();
    }
}

impl Future for Accepting<'_> {
    type Output = io::Result<(SocketAddr, WatchedStream)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.acceptor.try_accept() {
            Ok(None) => {
                let mut waiting = self.acceptor.waiting.borrow_mut();
                let number = self.number.unwrap_or_else(|| {
                    waiting.last += 1;
                    waiting.last
                });
                let own = waiting.tasks.iter_mut().find(|(own, _)| *own == number);
                match own {
                    Some((_, waker)) => waker.clone_from(cx.waker()),
                    None => waiting.tasks.push_back((number, cx.waker().clone())),
                }
                drop(waiting);
                self.number = Some(number);
                self.acceptor.watch();
                Poll::Pending
            }
            Ok(Some(accepted)) => {
                self.leave();
                Poll::Ready(Ok(accepted))
            }
            Err(error) => {
                self.leave();
                Poll::Ready(Err(error))
            }
        }
    }
}

impl Drop for Accepting<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl TcpAccept for WatchedAcceptor {
    type Error = io::Error;
    type Socket<'a> = WatchedStream;

    async fn accept(&self) -> io::Result<(SocketAddr, WatchedStream)> {
        let accepting = Accepting {
            acceptor: self,
            number: None,
        };
        accepting.await
    }
}

/// A connection of [`WatchedSockets`]. One task may read and one may write at a time.
#[derive(Debug)]
pub struct WatchedStream {
    source: EdgeSource,
}

impl WatchedStream {
    /// What `read` gives, once there is something.
    async fn wait_to_read<T>(
        &self,
        mut read: impl FnMut(&OwnedFd) -> Result<T, Errno>,
    ) -> io::Result<T> {
        poll_fn(|cx| match self.source.try_read(&mut read) {
            Ok(None) => {
                self.source.wake_when_readable(cx);
                Poll::Pending
            }
            Ok(Some(output)) => Poll::Ready(Ok(output)),
            Err(error) => Poll::Ready(Err(error.into())),
        })
        .await
    }
}

impl WatchedStream {
    /// Writes octets behind which our side is ended at once, by [`close`](TcpShutdown::close) or by dropping this: those that wait for
    /// that go in one segment with the end. The system waits 200 ms at most (tcp(7), TCP_CORK).
    ///
    /// # Errors
    ///
    /// As `write`.
    pub async fn write_last(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.send(octets, SendFlags::NOSIGNAL | SendFlags::MORE)
            .await
    }

    async fn send(&self, octets: &[u8], flags: SendFlags) -> io::Result<usize> {
        poll_fn(|cx| {
            let write = |source: &OwnedFd| send(source, octets, flags);
            match self.source.try_write(write) {
                Ok(None) => {
                    self.source.wake_when_writable(cx);
                    Poll::Pending
                }
                Ok(Some(length)) => Poll::Ready(Ok(length)),
                Err(error) => Poll::Ready(Err(error.into())),
            }
        })
        .await
    }
}

impl ErrorType for WatchedStream {
    type Error = io::Error;
}

impl ErrorType for &WatchedStream {
    type Error = io::Error;
}

impl Read for &WatchedStream {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len();
        let read = |source: &OwnedFd| {
            recv(source, &mut *buffer, RecvFlags::empty()).map(|(length, _)| length)
        };
        let length = self.wait_to_read(read).await?;
        // An end stays one.
        if 0 < length && length < room {
            self.source.took_all();
        }
        Ok(length)
    }
}

impl Write for &WatchedStream {
    async fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.send(octets, SendFlags::NOSIGNAL).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Readable for &WatchedStream {
    async fn readable(&mut self) -> io::Result<()> {
        let mut octet = [0];
        let look = |source: &OwnedFd| recv(source, &mut octet, RecvFlags::PEEK).map(drop);
        self.wait_to_read(look).await
    }
}

impl Read for WatchedStream {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut &*self, buffer).await
    }
}

impl Write for WatchedStream {
    async fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        Write::write(&mut &*self, octets).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Readable for WatchedStream {
    async fn readable(&mut self) -> io::Result<()> {
        Readable::readable(&mut &*self).await
    }
}

impl TcpSplit for WatchedStream {
    type Read<'a> = &'a Self;
    type Write<'a> = &'a Self;

    fn split(&mut self) -> (&Self, &Self) {
        (self, self)
    }
}

impl TcpShutdown for WatchedStream {
    async fn close(&mut self, what: Close) -> io::Result<()> {
        let how = match what {
            Close::Read => Shutdown::Read,
            Close::Write => Shutdown::Write,
            Close::Both => Shutdown::Both,
        };
        Ok(shutdown(&self.source, how)?)
    }

    /// The connection is reset when this is dropped.
    async fn abort(&mut self) -> io::Result<()> {
        let at_once = Some(Duration::ZERO);
        Ok(rustix::net::sockopt::set_socket_linger(
            &self.source,
            at_once,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirage_core::executor::Executor;
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpStream};
    use std::rc::Rc;

    fn listener() -> (&'static Executor, &'static WatchedAcceptor) {
        deferring(Duration::ZERO)
    }

    fn deferring(patience: Duration) -> (&'static Executor, &'static WatchedAcceptor) {
        let platform = HostPlatform::leak().unwrap();
        let executor = Executor::leak(platform);
        let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let sockets = WatchedSockets::new(platform).with_deferred_accept(patience);
        let acceptor = executor.run_until(sockets.bind(any));
        (executor, Box::leak(Box::new(acceptor.unwrap())))
    }

    #[test]
    fn octets_go_both_ways_and_the_end_is_seen() {
        let (executor, acceptor) = listener();
        let mut client = TcpStream::connect(acceptor.local_address()).unwrap();
        let from = client.local_addr().unwrap();
        // More than the system keeps for us: the writer has to wait.
        let large = vec![7; 8 << 20];
        let expected = large.len();
        let peer = std::thread::spawn(move || {
            client.write_all(b"question").unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            answer.len()
        });
        executor.run_until(async {
            let (remote, mut stream) = acceptor.accept().await.unwrap();
            assert_eq!(remote, from);
            let mut question = [0; 8];
            stream.read_exact(&mut question).await.unwrap();
            assert_eq!(&question, b"question");
            stream.write_all(&large).await.unwrap();
            stream.close(Close::Write).await.unwrap();
            assert_eq!(stream.read(&mut question).await.unwrap(), 0);
        });
        assert_eq!(peer.join().unwrap(), expected);
    }

    #[test]
    fn who_speaks_is_accepted_before_who_came_first_and_is_silent() {
        let (executor, acceptor) = deferring(Duration::from_secs(60));
        let _silent = TcpStream::connect(acceptor.local_address()).unwrap();
        let mut speaks = TcpStream::connect(acceptor.local_address()).unwrap();
        speaks.write_all(b"question").unwrap();
        let (remote, mut stream) = executor.run_until(acceptor.accept()).unwrap();
        assert_eq!(remote, speaks.local_addr().unwrap());
        let mut question = [0; 16];
        let read = executor.run_until(async {
            // Nothing is waited for.
            poll_fn(|cx| Poll::Ready(std::pin::pin!(stream.read(&mut question)).poll(cx))).await
        });
        assert!(matches!(read, Poll::Ready(Ok(8))));
    }

    #[test]
    fn who_is_silent_is_accepted_all_the_same() {
        let (executor, acceptor) = deferring(Duration::from_nanos(1));
        let silent = TcpStream::connect(acceptor.local_address()).unwrap();
        let (remote, _stream) = executor.run_until(acceptor.accept()).unwrap();
        assert_eq!(remote, silent.local_addr().unwrap());
    }

    #[test]
    fn each_connection_wakes_one_of_those_who_wait_and_none_is_forgotten() {
        let (executor, acceptor) = listener();
        let accepted = Rc::new(RefCell::new(Vec::new()));
        for task in 0..4 {
            let accepted = Rc::clone(&accepted);
            let accepting = executor.spawn(async move {
                let (remote, stream) = acceptor.accept().await.unwrap();
                accepted.borrow_mut().push((task, remote));
                // It is busy from now on.
                std::future::pending::<()>().await;
                drop(stream);
            });
            accepting.unwrap().detach();
        }
        executor.run_until(executor.sleep(Duration::from_millis(1)));
        // One who waited, first of all that come later, and gave up.
        let given_up = executor.timeout(Duration::from_millis(1), acceptor.accept());
        assert!(executor.run_until(given_up).is_err());
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let client = TcpStream::connect(acceptor.local_address()).unwrap();
                executor.run_until(executor.sleep(Duration::from_millis(5)));
                client
            })
            .collect();
        let end = executor.now() + Duration::from_secs(30);
        while accepted.borrow().len() < clients.len() && executor.now() < end {
            executor.run_until(executor.sleep(Duration::from_millis(5)));
        }
        let accepted = accepted.borrow();
        let tasks: Vec<_> = accepted.iter().map(|(task, _)| *task).collect();
        assert_eq!(tasks, [0, 1, 2, 3]);
        for (client, (_, remote)) in clients.iter().zip(accepted.iter()) {
            assert_eq!(client.local_addr().unwrap(), *remote);
        }
    }

    #[test]
    fn what_is_last_arrives_with_the_end_or_without_it() {
        let (executor, acceptor) = listener();
        for drops in [true, false] {
            let mut client = TcpStream::connect(acceptor.local_address()).unwrap();
            let (_, mut stream) = executor.run_until(acceptor.accept()).unwrap();
            let written = executor.run_until(stream.write_last(b"that was all"));
            assert_eq!(written.unwrap(), 12);
            if drops {
                drop(stream);
                let mut all = Vec::new();
                client.read_to_end(&mut all).unwrap();
                assert_eq!(all, b"that was all");
            } else {
                // Late, but nothing is lost of an owner who forgets.
                let mut all = [0; 12];
                client.read_exact(&mut all).unwrap();
                assert_eq!(&all, b"that was all");
            }
        }
    }

    #[test]
    fn what_is_aborted_is_reset() {
        let (executor, acceptor) = listener();
        let mut client = TcpStream::connect(acceptor.local_address()).unwrap();
        executor.run_until(async {
            let (_, mut stream) = acceptor.accept().await.unwrap();
            stream.abort().await.unwrap();
        });
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
