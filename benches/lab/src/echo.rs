//! A server on this host that sends each query back as its answer: what is left is what the client itself can do.

use core::net::{Ipv4Addr, SocketAddr};
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often it looks whether it should end.
const LOOK: Duration = Duration::from_millis(50);

/// The third byte of a DNS message has QR as its highest bit (RFC 1035 §4.1.1): an answer, no query.
const FLAGS: usize = 2;
const QR: u8 = 0x80;

/// The server; it ends when it is dropped.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts it on a free port of the loopback address.
    ///
    /// # Errors
    ///
    /// Those of making a socket.
    pub fn start() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(LOOK))?;
        let address = socket.local_addr()?;
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            let mut bytes = [0; 2048];
            while !seen.load(Ordering::Relaxed) {
                // Without a query it looks whether it should end; an error is some client's.
                let Ok((length, from)) = socket.recv_from(&mut bytes) else {
                    continue;
                };
                if let Some(flags) = bytes[..length].get_mut(FLAGS) {
                    *flags |= QR;
                    let _ = socket.send_to(&bytes[..length], from);
                }
            }
        });
        Ok(Self {
            address,
            ended,
            thread: Some(thread),
        })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It can't panic; if it did, there is nothing to do about it.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_comes_back_as_an_answer() {
        let echo = Echo::start().unwrap();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        // Too short for a message: nothing comes back, and the server goes on.
        socket.send_to(&[1, 2], echo.address()).unwrap();
        let query = [0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
        socket.send_to(&query, echo.address()).unwrap();
        let mut bytes = [0; 64];
        let (length, from) = socket.recv_from(&mut bytes).unwrap();
        assert_eq!(from, echo.address());
        assert_eq!(bytes[..4], [0x12, 0x34, 0x81, 0x00]);
        assert_eq!(length, query.len());
    }
}
