//! Transactions.

use core::fmt;
use core::future::{Future, poll_fn};

use super::Store;
use super::directory::Names;
use super::error::StoreError;
use super::key::Key;
use super::permissions::{Permission, Permissions};
use super::request::{Request, Scope};
use crate::hypervisor::Hypervisor;

/// A transaction: what is written in it happens at once at its end, or not at all. Dropped before
/// [`commit`](Self::commit), it is aborted.
///
/// If something else changed meanwhile what it looked at, its end is refused with
/// [`TryAgain`](crate::abi::XenError::TryAgain) ([`StoreError::is_try_again`]); so is all in it after the domain was
/// resumed. [`Store::transact`] does it again then.
pub struct Transaction<'s, H: Hypervisor> {
    store: &'s Store<H>,
    index: usize,
}

impl<'s, H: Hypervisor> Transaction<'s, H> {
    /// Begins one, and waits until xenstored has.
    pub(super) async fn begin(store: &'s Store<H>) -> Result<Self, StoreError> {
        let leaving = store.protocol.borrow().leaving().1;
        if !store.transaction_places.take_soon(leaving).await {
            return Err(StoreError::TooManyTransactions);
        }
        let begun = store.protocol.borrow_mut().begin_transaction();
        if begun.is_err() {
            store.transaction_places.give_back();
        }
        let index = begun?;
        let transaction = Self { store, index };
        store.attention.set();
        poll_fn(|context| store.protocol.borrow_mut().poll_begun(index, context)).await?;
        Ok(transaction)
    }

    /// Ends it: all that was written in it happens now. If the future is dropped, it may.
    ///
    /// # Errors
    ///
    /// What xenstored says; nothing happened then. [`StoreError::Broken`]: it may have.
    pub async fn commit(self) -> Result<(), StoreError> {
        let protocol = &self.store.protocol;
        protocol.borrow_mut().end_transaction(self.index, true);
        self.store.attention.set();
        poll_fn(|context| protocol.borrow_mut().poll_ended(self.index, context)).await
    }

    /// As [`Store::carry_out`].
    pub fn carry_out<'r, 'k, 'b>(
        &self,
        requests: &'r mut [Request<'k, 'b>],
    ) -> impl Future<Output = ()> + use<'_, 'r, 'k, 'b, H> {
        self.scope().carry_out(requests)
    }

    /// As [`Store::read`].
    pub fn read<'b, 'k>(
        &self,
        key: impl Into<Key<'k>>,
        buffer: &'b mut [u8],
    ) -> impl Future<Output = Result<&'b [u8], StoreError>> {
        self.scope().read(key.into(), buffer)
    }

    /// As [`Store::read_string`].
    pub fn read_string<'k, const N: usize>(
        &self,
        key: impl Into<Key<'k>>,
    ) -> impl Future<Output = Result<heapless::String<N>, StoreError>> {
        self.scope().read_string(key.into())
    }

    /// As [`Store::read_decimal`].
    pub fn read_decimal<'k>(
        &self,
        key: impl Into<Key<'k>>,
    ) -> impl Future<Output = Result<u64, StoreError>> {
        self.scope().read_decimal(key.into())
    }

    /// As [`Store::write`].
    pub fn write<'k>(
        &self,
        key: impl Into<Key<'k>>,
        value: &'k [u8],
    ) -> impl Future<Output = Result<(), StoreError>> {
        self.scope().write(key.into(), value)
    }

    /// As [`Store::write_decimal`].
    pub fn write_decimal<'k>(
        &self,
        key: impl Into<Key<'k>>,
        value: u64,
    ) -> impl Future<Output = Result<(), StoreError>> {
        self.scope().write_decimal(key.into(), value)
    }

    /// As [`Store::make_directory`].
    pub fn make_directory<'k>(
        &self,
        key: impl Into<Key<'k>>,
    ) -> impl Future<Output = Result<(), StoreError>> {
        self.scope().make_directory(key.into())
    }

    /// As [`Store::remove`].
    pub fn remove<'k>(
        &self,
        key: impl Into<Key<'k>>,
    ) -> impl Future<Output = Result<(), StoreError>> {
        self.scope().remove(key.into())
    }

    /// As [`Store::directory`].
    pub fn directory<'b, 'k>(
        &self,
        key: impl Into<Key<'k>>,
        buffer: &'b mut [u8],
    ) -> impl Future<Output = Result<Names<'b>, StoreError>> {
        self.scope().directory(key.into(), buffer)
    }

    /// As [`Store::permissions`].
    pub fn permissions<'b, 'k>(
        &self,
        key: impl Into<Key<'k>>,
        buffer: &'b mut [u8],
    ) -> impl Future<Output = Result<Permissions<'b>, StoreError>> {
        self.scope().permissions(key.into(), buffer)
    }

    /// As [`Store::set_permissions`].
    pub fn set_permissions<'k>(
        &self,
        key: impl Into<Key<'k>>,
        permissions: &[Permission],
    ) -> impl Future<Output = Result<(), StoreError>> {
        self.scope().set_permissions(key.into(), permissions)
    }

    fn scope(&self) -> Scope<'_, H> {
        Scope {
            store: self.store,
            transaction: Some(self.index),
        }
    }
}

impl<H: Hypervisor> Drop for Transaction<'_, H> {
    fn drop(&mut self) {
        self.store
            .protocol
            .borrow_mut()
            .abandon_transaction(self.index);
        self.store.settle();
        self.store.attention.set();
    }
}

impl<H: Hypervisor> fmt::Debug for Transaction<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}
