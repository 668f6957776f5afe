//! The owners' calls, by handle.

use core::net::SocketAddr;

use mirage_core::{Instant, PageMut, Segment};

use super::{Engine, PathMtu, TcpHandle};
use crate::tcp::config::ConnectionOptions;
use crate::tcp::connection::{Connection, Context, Opening, Received, TcpState};
use crate::tcp::error::TcpError;
use crate::tcp::four_tuple::FourTuple;
use crate::tcp::listen::{ListenOptions, ListenerHandle};
use crate::tcp::table::END;
use crate::udp::BindError;

impl<'a> Engine<'a> {
    /// OPEN, passive (mutator). That the address is ours, or unspecified, has been checked.
    pub(crate) fn listen(&mut self, options: ListenOptions) -> Result<ListenerHandle, BindError> {
        if options.local.port() == 0 {
            return Err(BindError::NoPort);
        }
        if self.listeners.collides(options.local) {
            return Err(BindError::AddressInUse);
        }
        self.listeners.open(options).ok_or(BindError::TableFull)
    }

    /// Closes a listener (mutator). What is half open is forgotten; what waits to be accepted is reset. Says whether it was open.
    pub(crate) fn close_listener(&mut self, now: Instant, handle: ListenerHandle) -> bool {
        let Some(listener) = self.listeners.close(handle) else {
            return false;
        };
        self.shared.counters.half_open_dropped += self.half_open.remove_all(handle);
        let mut index = listener.head;
        while let Some(slot) = self.slots.get_mut(index as usize) {
            let next = slot.next_accept;
            slot.waiting = false;
            let cx = &mut self.shared.context(now);
            if let Some(connection) = &mut slot.connection {
                connection.close(cx);
                connection.abort(cx);
            }
            self.touched(now, index as usize);
            index = next;
        }
        true
    }

    /// What a listener was opened with (getter).
    pub(crate) fn listener_options(&self, handle: ListenerHandle) -> Option<&ListenOptions> {
        Some(&self.listeners.get(handle)?.options)
    }

    /// The oldest connection that waits to be accepted (mutator). One that was reset meanwhile is among them: its first use says so.
    pub(crate) fn accept(&mut self, handle: ListenerHandle) -> Result<Option<TcpHandle>, TcpError> {
        let listener = self.listeners.get_mut(handle).ok_or(TcpError::NotOpen)?;
        let index = listener.head;
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return Ok(None);
        };
        listener.head = slot.next_accept;
        if listener.head == END {
            listener.tail = END;
        }
        listener.waiting -= 1;
        slot.waiting = false;
        slot.next_accept = END;
        slot.events = Default::default();
        Ok(Some(TcpHandle {
            index,
            generation: slot.generation,
        }))
    }

    /// Connections that wait to be accepted (getter).
    pub(crate) fn waiting(&self, handle: ListenerHandle) -> usize {
        self.listeners
            .get(handle)
            .map_or(0, |listener| listener.waiting.into())
    }

    /// OPEN, active (mutator). That the addresses are possible has been checked; port 0 of `local` asks for an ephemeral one.
    pub(crate) fn connect(
        &mut self,
        now: Instant,
        mut local: SocketAddr,
        remote: SocketAddr,
        options: ConnectionOptions,
        path_mtu: PathMtu<'_>,
    ) -> Result<TcpHandle, TcpError> {
        if self.free == END {
            self.shared.counters.table_full += 1;
            return Err(TcpError::TableFull);
        }
        if local.port() == 0 {
            let mut ports = self.ports.clone();
            let port = ports.choose(local.ip(), remote, |port| {
                self.listeners.has_port(local.ip(), port)
                    || self.is_taken(&FourTuple::new((local.ip(), port).into(), remote))
            });
            self.ports = ports;
            local.set_port(port.ok_or(TcpError::NoPort)?);
        }
        let tuple = FourTuple::new(local, remote);
        if self.is_taken(&tuple) {
            return Err(TcpError::InUse);
        }
        let (sequence, clock) = self.numbers.number_and_clock(now, &tuple);
        let opening = Opening {
            tuple,
            options,
            sequence,
            clock,
            path_mtu: path_mtu(remote.ip()),
            interface_mtu: self.interface_mtu,
        };
        let congestion = options.congestion.start();
        let cx = &mut self.shared.context(now);
        let connection = Connection::active(cx, &opening, congestion);
        let hash = self.hash(&tuple);
        let index = self.place(connection, hash).ok_or(TcpError::TableFull)?;
        self.shared.counters.active_opens += 1;
        self.touched(now, index);
        Ok(TcpHandle {
            index: index as u32,
            generation: self.slots[index].generation,
        })
    }

    /// Whether a four-tuple is a connection's, open, half open or in TIME-WAIT.
    fn is_taken(&self, tuple: &FourTuple) -> bool {
        let hash = self.hash(tuple);
        self.find_hashed(hash, tuple).is_some()
            || self.time_waits.find(hash, tuple).is_some()
            || self.half_open.find(hash, tuple).is_some()
    }

    #[inline(always)]
    pub(crate) fn get(&self, handle: TcpHandle) -> Option<&Connection> {
        let slot = self.slots.get(handle.index())?;
        let own = slot.generation == handle.generation && !slot.waiting;
        slot.connection
            .as_ref()
            .filter(|connection| own && !connection.is_orphan())
    }

    /// Carries a call out.
    fn with<R>(
        &mut self,
        now: Instant,
        handle: TcpHandle,
        call: impl FnOnce(&mut Connection, &mut Context<'_, 'a>) -> R,
    ) -> Option<R> {
        self.get(handle)?;
        let index = handle.index();
        let cx = &mut self.shared.context(now);
        let connection = self.slots.get_mut(index)?.connection.as_mut()?;
        let result = call(connection, cx);
        self.touched(now, index);
        Some(result)
    }

    /// Carries a call out that reads: all that may come of it is that the peer is to be told of its window.
    fn reading<R>(
        &mut self,
        now: Instant,
        handle: TcpHandle,
        call: impl FnOnce(&mut Connection, &mut Context<'_, 'a>) -> R,
    ) -> Option<R> {
        self.get(handle)?;
        let index = handle.index();
        let cx = &mut self.shared.context(now);
        let slot = self.slots.get_mut(index)?;
        let connection = slot.connection.as_mut()?;
        let result = call(connection, cx);
        if !slot.ready && connection.owes_acknowledgement(now) {
            self.touched(now, index);
        }
        Some(result)
    }

    pub(crate) fn send(
        &mut self,
        now: Instant,
        handle: TcpHandle,
        segment: Segment,
    ) -> Result<(), (TcpError, Segment)> {
        let mut segment = Some(segment);
        let result = self.with(now, handle, |connection, cx| match segment.take() {
            Some(segment) => connection.send(cx, segment),
            None => Ok(()),
        });
        match (result, segment) {
            (Some(result), _) => result,
            (None, Some(segment)) => Err((TcpError::NotOpen, segment)),
            (None, None) => Ok(()),
        }
    }

    /// A page to be filled and sent.
    pub(crate) fn page(
        &mut self,
        now: Instant,
        handle: TcpHandle,
    ) -> Result<Option<PageMut>, TcpError> {
        if self.get(handle).is_none() {
            return Err(TcpError::NotOpen);
        }
        let index = handle.index();
        let cx = &mut self.shared.context(now);
        let connection = self.slots.get_mut(index);
        let Some(connection) = connection.and_then(|slot| slot.connection.as_mut()) else {
            return Err(TcpError::NotOpen);
        };
        let page = connection.page(cx);
        // One that was given changes nothing.
        if !matches!(page, Ok(Some(_))) {
            self.touched(now, index);
        }
        page
    }

    /// What was to be sent found no page: the owner is told to try again soon.
    pub(crate) fn try_again(&mut self, now: Instant, handle: TcpHandle) {
        self.with(now, handle, |connection, cx| connection.try_again(cx));
    }

    pub(crate) fn write(
        &mut self,
        now: Instant,
        handle: TcpHandle,
        bytes: &[u8],
    ) -> Result<usize, TcpError> {
        self.with(now, handle, |connection, cx| connection.write(cx, bytes))
            .unwrap_or(Err(TcpError::NotOpen))
    }

    pub(crate) fn receive(
        &mut self,
        now: Instant,
        handle: TcpHandle,
    ) -> Result<Received, TcpError> {
        self.reading(now, handle, |connection, cx| connection.receive(cx))
            .unwrap_or(Err(TcpError::NotOpen))
    }

    pub(crate) fn read(
        &mut self,
        now: Instant,
        handle: TcpHandle,
        bytes: &mut [u8],
    ) -> Result<usize, TcpError> {
        self.reading(now, handle, |connection, cx| connection.read(cx, bytes))
            .unwrap_or(Err(TcpError::NotOpen))
    }

    /// The next bytes, where they lie (getter).
    pub(crate) fn peek(&self, handle: TcpHandle) -> &[u8] {
        match self.get(handle) {
            Some(connection) => connection.peek(&self.shared.segments),
            None => &[],
        }
    }

    pub(crate) fn consume(&mut self, now: Instant, handle: TcpHandle, count: usize) {
        self.reading(now, handle, |connection, cx| connection.consume(cx, count));
    }

    pub(crate) fn shutdown(&mut self, now: Instant, handle: TcpHandle) -> Result<(), TcpError> {
        self.with(now, handle, |connection, cx| connection.shutdown(cx))
            .unwrap_or(Err(TcpError::NotOpen))
    }

    /// Gives a handle back; the connection goes on by itself until it has ended. Says whether the handle named one.
    pub(crate) fn close(&mut self, now: Instant, handle: TcpHandle) -> bool {
        self.with(now, handle, |connection, cx| connection.close(cx))
            .is_some()
    }

    /// Gives a handle back, and resets the connection. Says whether the handle named one.
    pub(crate) fn abort(&mut self, now: Instant, handle: TcpHandle) -> bool {
        self.with(now, handle, |connection, cx| {
            connection.abort(cx);
            connection.close(cx);
        })
        .is_some()
    }

    /// Whether a connection that is there can be written to, or is over (getter).
    pub(crate) fn state(&self, handle: TcpHandle) -> Option<TcpState> {
        Some(self.get(handle)?.state())
    }
}
