//! A listener of a shared stack.

use core::net::SocketAddr;

use super::stream::TcpStream;
use super::wakers::ListenerWakerSlot;
use crate::BindError;
use crate::shell::{SharedStack, again_later};
use crate::tcp::{ListenOptions, ListenerHandle, TcpError};

impl<'a> SharedStack<'a> {
    /// Opens a listener, which is closed when it is dropped: what nobody accepted is reset then.
    ///
    /// # Errors
    /// [`BindError`]; [`BindError::TableFull`] also beyond the slots of [`TcpWakers`](crate::TcpWakers).
    pub fn tcp_listen(&self, options: ListenOptions) -> Result<TcpListener<'_, 'a>, BindError> {
        let now = self.clock.now();
        let mut stack = self.stack.try_borrow_mut().map_err(|_| BindError::InUse)?;
        self.close_dropped(&mut stack, now);
        let handle = stack.tcp_listen(options)?;
        let Some(slot) = self.tcp.listeners.get(handle.index()) else {
            stack.tcp_close_listener(now, handle);
            return Err(BindError::TableFull);
        };
        // What an earlier listener left.
        slot.arrived.take();
        Ok(TcpListener {
            shared: self,
            handle,
        })
    }
}

/// A listener of a [`SharedStack`]; dropped, it is closed. Its connections are not.
///
/// Any number of tasks may wait to accept: they are woken in the order in which they came.
#[derive(Debug)]
pub struct TcpListener<'s, 'a> {
    shared: &'s SharedStack<'a>,
    handle: ListenerHandle,
}

impl<'s, 'a> TcpListener<'s, 'a> {
    /// Address and port; none while the stack is in use (see [`SharedStack::with`]).
    pub fn local(&self) -> Option<SocketAddr> {
        let stack = self.shared.stack.try_borrow().ok()?;
        stack.tcp_listener_local(self.handle)
    }

    /// The next connection, and its peer. Dropping the future loses none.
    ///
    /// # Errors
    /// [`TcpError::TableFull`] when there is no slot in [`TcpWakers`](crate::TcpWakers) for the connection, which was reset.
    pub async fn accept(&self) -> Result<(SocketAddr, TcpStream<'s, 'a>), TcpError> {
        loop {
            match self.try_accept() {
                Err(TcpError::Busy) => again_later().await,
                Ok(None) => match self.slot() {
                    Some(slot) => slot.arrived.wait().await,
                    None => return Err(TcpError::TableFull),
                },
                Ok(Some(accepted)) => return Ok(accepted),
                Err(error) => return Err(error),
            }
        }
    }

    /// The oldest connection that waits, if there is one, and its peer. It does not wait.
    ///
    /// # Errors
    /// As [`accept`](Self::accept); [`TcpError::Busy`].
    // Apart from its callers: see "What an image weighs" in CONTRIBUTING.md.
    #[inline(never)]
    pub fn try_accept(&self) -> Result<Option<(SocketAddr, TcpStream<'s, 'a>)>, TcpError> {
        let mut stack = self
            .shared
            .stack
            .try_borrow_mut()
            .map_err(|_| TcpError::Busy)?;
        let Some(handle) = stack.tcp_accept(self.handle)? else {
            return Ok(None);
        };
        if stack.tcp_waiting(self.handle) > 0
            && let Some(slot) = self.slot()
        {
            slot.arrived.set(());
        }
        let remote = stack.tcp_remote(handle).ok_or(TcpError::NotOpen)?;
        let stream = self.shared.tcp_stream(&mut stack, handle)?;
        Ok(Some((remote, stream)))
    }

    fn slot(&self) -> Option<&'s ListenerWakerSlot> {
        self.shared.tcp.listeners.get(self.handle.index())
    }
}

impl Drop for TcpListener<'_, '_> {
    fn drop(&mut self) {
        match self.shared.stack.try_borrow_mut() {
            Ok(mut stack) => {
                stack.tcp_close_listener(self.shared.clock.now(), self.handle);
            }
            // Dropped inside of `with`: the next turn closes it.
            Err(_) => {
                if let Some(slot) = self.slot() {
                    slot.dropped.set(Some(self.handle));
                    self.shared.dropped.set(true);
                }
            }
        }
        self.shared.changed.set();
    }
}
