//! Watches.

use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};

use super::Store;
use super::error::StoreError;
use super::key::Key;
use super::protocol::TakenEvent;
use crate::hypervisor::Hypervisor;

/// A watch of a key and all below it. Xenstored is told when it is dropped.
///
/// It has an event at once, since each watch fires when it is set; and again after the domain was resumed. Events are
/// no promise that anything changed.
///
/// Events wait in the room that the storage has for the watch. Equal ones in a row are one; if there are too many,
/// they are dropped for one mark, which says so: look at everything.
pub struct Watch<'s, H: Hypervisor> {
    store: &'s Store<H>,
    index: usize,
}

/// What a watch was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEvent<'b> {
    /// The key with this path changed, appeared or went, or the watch was set on it. Relative if the watched key's
    /// name is.
    Changed(&'b str),
    /// Anything below the watched key may have changed.
    Resync,
}

impl<'s, H: Hypervisor> Watch<'s, H> {
    /// Sets a watch, and waits until xenstored has taken it.
    pub(super) async fn set(store: &'s Store<H>, key: Key<'_>) -> Result<Self, StoreError> {
        let watch = Self::begin(store, key).await?;
        watch.established().await?;
        Ok(watch)
    }

    /// Queues it.
    pub(super) async fn begin(store: &'s Store<H>, key: Key<'_>) -> Result<Self, StoreError> {
        key.check()?;
        let leaving = store.protocol.borrow().leaving().0;
        if !store.watch_places.take_soon(leaving).await {
            return Err(StoreError::TooManyWatches);
        }
        let begun = store.protocol.borrow_mut().watch(&key.parts());
        if begun.is_err() {
            store.watch_places.give_back();
        }
        let index = begun?;
        store.attention.set();
        Ok(Self { store, index })
    }

    /// Waits until xenstored has taken it: for one that was only [begun](Store::begin_watch).
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`], [`StoreError::Broken`].
    pub async fn established(&self) -> Result<(), StoreError> {
        let protocol = &self.store.protocol;
        poll_fn(|context| protocol.borrow_mut().poll_watching(self.index, context)).await
    }

    /// Waits until something may have changed since the last time, and forgets what. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if xenstored did not take the watch again after a resume, [`StoreError::Broken`].
    pub async fn changed(&mut self) -> Result<(), StoreError> {
        poll_fn(|context| self.poll_changed(context)).await
    }

    /// As [`changed`](Self::changed): for who waits for more than one thing.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StoreError>> {
        let mut protocol = self.store.protocol.borrow_mut();
        protocol.poll_changed(self.index, context)
    }

    /// Waits for the next event; the path is put into `buffer`. One that does not fit there, or is no text, is
    /// [`WatchEvent::Resync`]. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// As of [`changed`](Self::changed).
    pub async fn next<'b>(&mut self, buffer: &'b mut [u8]) -> Result<WatchEvent<'b>, StoreError> {
        let protocol = &self.store.protocol;
        let event = poll_fn(|context| {
            protocol
                .borrow_mut()
                .poll_event(self.index, buffer, context)
        })
        .await?;
        let path = match event {
            TakenEvent::Resync => None,
            TakenEvent::Path(length) => core::str::from_utf8(&buffer[..length]).ok(),
        };
        Ok(path.map_or(WatchEvent::Resync, WatchEvent::Changed))
    }
}

impl<H: Hypervisor> Drop for Watch<'_, H> {
    fn drop(&mut self) {
        self.store.protocol.borrow_mut().unwatch(self.index);
        self.store.settle();
        self.store.attention.set();
    }
}

impl<H: Hypervisor> fmt::Debug for Watch<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
