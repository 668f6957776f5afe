//! Requests, alone or several together: one small future moves any number of them.

use core::fmt;
use core::future::{Future, poll_fn};
use core::task::{Context, Poll};

use super::Store;
use super::error::StoreError;
use super::key::Key;
use super::places::Places;
use super::text::Decimal;
use crate::abi::xs_wire::{MessageType, XENSTORE_PAYLOAD_MAX};
use crate::hypervisor::Hypervisor;

/// Bytes of a reply that says no more than that it was done, at most.
const ACKNOWLEDGEMENT: usize = 8;

/// One of the requests that [`Store::carry_out`] or [`Transaction::carry_out`](super::Transaction::carry_out) sends
/// together, and what came of it.
pub struct Request<'k, 'b> {
    kind: MessageType,
    key: Option<Key<'k>>,
    rest: Rest<'k>,
    /// Where the reply goes. `None`: it is an acknowledgement.
    room: Option<&'b mut [u8]>,
    state: State,
}

/// What follows the key in the payload.
#[derive(Clone, Copy)]
pub(super) enum Rest<'k> {
    Bytes(&'k [u8]),
    Decimal(u64),
    /// With a NUL behind it.
    DecimalString(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not begun.
    New,
    /// In this place of the protocol's.
    Outstanding(usize),
    /// The length of the reply.
    Done(Result<usize, StoreError>),
}

impl<'k, 'b> Request<'k, 'b> {
    /// `XS_READ`: the value, in `room`.
    pub fn read(key: impl Into<Key<'k>>, room: &'b mut [u8]) -> Self {
        Self::new(MessageType::Read, key.into()).with_room(room)
    }

    /// `XS_WRITE`.
    pub fn write(key: impl Into<Key<'k>>, value: &'k [u8]) -> Self {
        Self::new(MessageType::Write, key.into()).with_rest(Rest::Bytes(value))
    }

    /// `XS_WRITE` of a decimal number.
    pub fn write_decimal(key: impl Into<Key<'k>>, value: u64) -> Self {
        Self::new(MessageType::Write, key.into()).with_rest(Rest::Decimal(value))
    }

    /// The value that was read; of what is not a question, nothing. [`StoreError::Interrupted`], if it was not carried out
    /// to its end.
    ///
    /// # Errors
    ///
    /// As of [`Store::read`] and [`Store::write`].
    pub fn result(&self) -> Result<&[u8], StoreError> {
        let length = self.length()?;
        let room = self.room.as_deref().unwrap_or_default();
        Ok(room.get(..length).unwrap_or_default())
    }

    pub(super) fn new(kind: MessageType, key: impl Into<Option<Key<'k>>>) -> Self {
        Self {
            kind,
            key: key.into(),
            rest: Rest::Bytes(b""),
            room: None,
            state: State::New,
        }
    }

    pub(super) fn with_rest(self, rest: Rest<'k>) -> Self {
        Self { rest, ..self }
    }

    pub(super) fn with_room(self, room: &'b mut [u8]) -> Self {
        Self {
            room: Some(room),
            ..self
        }
    }

    fn into_result(self) -> Result<&'b [u8], StoreError> {
        let length = self.length()?;
        let room: &'b [u8] = self.room.unwrap_or_default();
        Ok(room.get(..length).unwrap_or_default())
    }

    fn length(&self) -> Result<usize, StoreError> {
        match self.state {
            State::Done(result) => result,
            State::New | State::Outstanding(_) => Err(StoreError::Interrupted),
        }
    }

    /// The longest reply that there is room for.
    fn room_length(&self) -> usize {
        self.room
            .as_deref()
            .map_or(ACKNOWLEDGEMENT, |room| room.len())
    }
}

impl fmt::Debug for Request<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("kind", &self.kind)
            .field("key", &self.key)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Where requests are carried out: in a transaction, or in none.
pub(super) struct Scope<'s, H: Hypervisor> {
    pub(super) store: &'s Store<H>,
    pub(super) transaction: Option<usize>,
}

impl<H: Hypervisor> Clone for Scope<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: Hypervisor> Copy for Scope<'_, H> {}

impl<'s, H: Hypervisor> Scope<'s, H> {
    /// Sends all, in order, as there are places for them, and waits until each is answered.
    // A block instead of an `async fn`: what it captures is in its future once, an argument twice.
    pub(super) fn carry_out<'r, 'k, 'b>(
        self,
        requests: &'r mut [Request<'k, 'b>],
    ) -> impl Future<Output = ()> + use<'s, 'r, 'k, 'b, H> {
        for request in requests.iter_mut() {
            request.state = State::New;
        }
        let mut group = Group {
            scope: self,
            requests,
            begun: 0,
        };
        async move {
            while let Some(large) = group.begin() {
                if group.is_waiting() {
                    // Places that they give back are enough. Whoever waits for one meanwhile comes first.
                    poll_fn(|context| group.poll(context, false)).await;
                    continue;
                }
                group.scope.store.places(large).take().await;
                group.begin_next(large);
            }
            poll_fn(|context| group.poll(context, true)).await
        }
    }

    /// Carries out one; what is made of its result.
    #[expect(
        clippy::manual_async_fn,
        reason = "what a block captures is in its future once, an argument of a function twice"
    )]
    pub(super) fn ask<'k, 'b, T>(
        self,
        mut request: Request<'k, 'b>,
        finish: impl FnOnce(Result<&'b [u8], StoreError>) -> T,
    ) -> impl Future<Output = T> {
        async move {
            self.carry_out(core::slice::from_mut(&mut request)).await;
            finish(request.into_result())
        }
    }

    /// Has something done.
    pub(super) fn order<'k>(
        self,
        request: Request<'k, 'static>,
    ) -> impl Future<Output = Result<(), StoreError>> + use<'s, 'k, H> {
        self.ask(request, |result| result.map(|_| ()))
    }
}

/// Requests whose replies somebody waits for. If it's dropped, nobody does any more.
struct Group<'s, 'r, 'k, 'b, H: Hypervisor> {
    scope: Scope<'s, H>,
    requests: &'r mut [Request<'k, 'b>],
    /// How many of them were begun.
    begun: usize,
}

impl<H: Hypervisor> Group<'_, '_, '_, '_, H> {
    /// Begins those for which there are places now. If one is left: whether it needs the large place.
    fn begin(&mut self) -> Option<bool> {
        while let Some(request) = self.requests.get_mut(self.begun) {
            match self.scope.store.needs_large_place(request) {
                Ok(large) => {
                    if !self.scope.store.places(large).try_take() {
                        return Some(large);
                    }
                    self.begin_next(large);
                }
                Err(error) => {
                    request.state = State::Done(Err(error));
                    self.begun += 1;
                }
            }
        }
        None
    }

    /// Begins the next one, in a place that was got for it.
    fn begin_next(&mut self, large: bool) {
        let Scope { store, transaction } = self.scope;
        if let Some(request) = self.requests.get_mut(self.begun) {
            request.state = match store.begin(request, transaction, large) {
                Ok(index) => State::Outstanding(index),
                Err(error) => {
                    store.places(large).give_back();
                    State::Done(Err(error))
                }
            };
            self.begun += 1;
        }
    }

    /// Whether a reply is waited for.
    fn is_waiting(&self) -> bool {
        let mut states = self.requests.iter().map(|request| request.state);
        states.any(|state| matches!(state, State::Outstanding(_)))
    }

    /// Takes the replies that are there. Ready when one was, or all are.
    fn poll(&mut self, context: &mut Context<'_>, all: bool) -> Poll<()> {
        let store = self.scope.store;
        let mut left = false;
        let mut taken = false;
        for request in self.requests.iter_mut() {
            let State::Outstanding(index) = request.state else {
                continue;
            };
            let mut acknowledgement = [0; ACKNOWLEDGEMENT];
            let room = request.room.as_deref_mut().unwrap_or(&mut acknowledgement);
            let reply = store.protocol.borrow_mut().poll_reply(index, room, context);
            match reply {
                Poll::Ready(result) => {
                    request.state = State::Done(result);
                    taken = true;
                }
                Poll::Pending => left = true,
            }
        }
        if taken {
            store.settle();
        }
        if left && (all || !taken) {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

impl<H: Hypervisor> Drop for Group<'_, '_, '_, '_, H> {
    fn drop(&mut self) {
        let store = self.scope.store;
        for request in self.requests.iter_mut() {
            if let State::Outstanding(index) = request.state {
                store.protocol.borrow_mut().abandon_request(index);
                request.state = State::New;
            }
        }
        store.settle();
    }
}

impl<H: Hypervisor> Store<H> {
    /// Carries out several requests together, in order: one round trip, if there are places for all. What came of each is
    /// its [`result`](Request::result).
    ///
    /// ```no_run
    /// # use mirage_xen::store::{Request, Store, StoreError};
    /// # async fn example<H: mirage_xen::Hypervisor>(store: &'static Store<H>) -> Result<(), StoreError> {
    /// let mut mac = [0; 17];
    /// let mut both = [
    ///     Request::read("device/vif/0/mac", &mut mac),
    ///     Request::write_decimal("device/vif/0/state", 3),
    /// ];
    /// store.carry_out(&mut both).await;
    /// let [mac, written] = &both;
    /// written.result()?;
    /// assert_eq!(mac.result()?.len(), 17);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// If the future is dropped, those that were sent may be carried out or not, and the others are not.
    pub fn carry_out<'r, 'k, 'b>(
        &self,
        requests: &'r mut [Request<'k, 'b>],
    ) -> impl Future<Output = ()> + use<'_, 'r, 'k, 'b, H> {
        self.scope().carry_out(requests)
    }

    pub(super) fn scope(&self) -> Scope<'_, H> {
        Scope {
            store: self,
            transaction: None,
        }
    }

    /// Whether a request needs the large place; what is wrong with it, if it can't be sent.
    fn needs_large_place(&self, request: &Request<'_, '_>) -> Result<bool, StoreError> {
        if let Some(key) = request.key {
            key.check()?;
        }
        let length = with_payload(request, |parts| parts.iter().map(|part| part.len()).sum());
        if length > XENSTORE_PAYLOAD_MAX {
            return Err(StoreError::RequestTooLong { length });
        }
        let protocol = self.protocol.borrow();
        Ok(protocol.is_large(length, request.room_length()))
    }

    /// Queues a request, in a place of that size that is free.
    fn begin(
        &self,
        request: &Request<'_, '_>,
        transaction: Option<usize>,
        large: bool,
    ) -> Result<usize, StoreError> {
        let mut protocol = self.protocol.borrow_mut();
        let number = match transaction {
            Some(index) => protocol.transaction_number(index)?,
            None => 0,
        };
        let index = with_payload(request, |parts| {
            protocol.request(request.kind, number, parts, large)
        })?;
        self.attention.set();
        Ok(index)
    }

    /// The places for requests of that size.
    fn places(&self, large: bool) -> &Places {
        if large {
            &self.large_place
        } else {
            &self.small_places
        }
    }
}

/// The payload, in pieces.
fn with_payload<T>(request: &Request<'_, '_>, then: impl FnOnce(&[&[u8]]) -> T) -> T {
    let (directory, slash, name, nul): (&[u8], &[u8], &[u8], &[u8]) = match request.key {
        Some(key) => {
            let [directory, slash, name] = key.parts();
            (directory, slash, name, b"\0")
        }
        None => (b"", b"", b"", b""),
    };
    let decimal;
    let (rest, end): (&[u8], &[u8]) = match request.rest {
        Rest::Bytes(bytes) => (bytes, b""),
        Rest::Decimal(number) => {
            decimal = Decimal::new(number);
            (decimal.as_bytes(), b"")
        }
        Rest::DecimalString(number) => {
            decimal = Decimal::new(number);
            (decimal.as_bytes(), b"\0")
        }
    };
    then(&[directory, slash, name, nul, rest, end])
}
