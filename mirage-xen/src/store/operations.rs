//! What can be asked of xenstored.

use core::future::Future;

use super::Store;
use super::directory::Names;
use super::error::StoreError;
use super::key::Key;
use super::permissions::{MAXIMUM_PERMISSIONS, Permission, Permissions};
use super::request::{Request, Rest, Scope};
use super::text::{Decimal, parse_decimal, single_string};
use super::transaction::Transaction;
use super::watch::Watch;
use crate::abi::DomainId;
use crate::abi::xs_wire::MessageType;
use crate::hypervisor::Hypervisor;

impl<'s, H: Hypervisor> Scope<'s, H> {
    pub(super) fn read<'k, 'b>(
        self,
        key: Key<'k>,
        buffer: &'b mut [u8],
    ) -> impl Future<Output = Result<&'b [u8], StoreError>> + use<'s, 'k, 'b, H> {
        self.ask(Request::read(key, buffer), |result| result)
    }

    pub(super) async fn read_string<const N: usize>(
        self,
        key: Key<'_>,
    ) -> Result<heapless::String<N>, StoreError> {
        let mut value = heapless::Vec::<u8, N>::new();
        // There is room for N.
        let _ = value.resize(N, 0);
        let length = self.read(key, &mut value).await?.len();
        value.truncate(length);
        heapless::String::from_utf8(value).map_err(|_| StoreError::Value)
    }

    pub(super) async fn read_decimal(self, key: Key<'_>) -> Result<u64, StoreError> {
        let mut buffer = [0; 20];
        let value = match self.read(key, &mut buffer).await {
            // Longer than any number.
            Err(StoreError::ReplyTooLong { .. }) => Err(StoreError::Value),
            value => value,
        }?;
        parse_decimal(value).ok_or(StoreError::Value)
    }

    pub(super) fn write<'k>(
        self,
        key: Key<'k>,
        value: &'k [u8],
    ) -> impl Future<Output = Result<(), StoreError>> + use<'s, 'k, H> {
        self.order(Request::write(key, value))
    }

    pub(super) fn write_decimal<'k>(
        self,
        key: Key<'k>,
        value: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + use<'s, 'k, H> {
        self.order(Request::write_decimal(key, value))
    }

    pub(super) fn make_directory<'k>(
        self,
        key: Key<'k>,
    ) -> impl Future<Output = Result<(), StoreError>> + use<'s, 'k, H> {
        self.order(Request::new(MessageType::MakeDirectory, key))
    }

    pub(super) fn remove<'k>(
        self,
        key: Key<'k>,
    ) -> impl Future<Output = Result<(), StoreError>> + use<'s, 'k, H> {
        self.order(Request::new(MessageType::Remove, key))
    }

    pub(super) fn permissions<'k, 'b>(
        self,
        key: Key<'k>,
        buffer: &'b mut [u8],
    ) -> impl Future<Output = Result<Permissions<'b>, StoreError>> + use<'s, 'k, 'b, H> {
        let request = Request::new(MessageType::GetPermissions, key).with_room(buffer);
        self.ask(request, |result| {
            Permissions::new(result?).ok_or(StoreError::Malformed)
        })
    }

    pub(super) async fn set_permissions(
        self,
        key: Key<'_>,
        permissions: &[Permission],
    ) -> Result<(), StoreError> {
        // A letter, up to five digits and a NUL each.
        let mut text = heapless::Vec::<u8, { MAXIMUM_PERMISSIONS * 7 }>::new();
        for permission in permissions {
            let domain = Decimal::new(permission.domain.0.into());
            for part in [permission.letter(), domain.as_bytes(), b"\0"] {
                text.extend_from_slice(part)
                    .map_err(|_| StoreError::RequestTooLong {
                        length: permissions.len() * 7,
                    })?;
            }
        }
        let request = Request::new(MessageType::SetPermissions, key);
        self.order(request.with_rest(Rest::Bytes(&text))).await
    }

    async fn domain_path<const N: usize>(
        self,
        domain: DomainId,
    ) -> Result<heapless::String<N>, StoreError> {
        let mut path = heapless::Vec::<u8, N>::new();
        // There is room for N; the path has a NUL behind it.
        let _ = path.resize(N, 0);
        let request = Request::new(MessageType::GetDomainPath, None)
            .with_rest(Rest::DecimalString(domain.0.into()))
            .with_room(&mut path);
        let text = self.ask(request, |result| {
            single_string(result?).ok_or(StoreError::Malformed)
        });
        let length = text.await?.len();
        path.truncate(length);
        heapless::String::from_utf8(path).map_err(|_| StoreError::Malformed)
    }

    async fn is_introduced(self, domain: DomainId) -> Result<bool, StoreError> {
        let mut buffer = [0; 8];
        let request = Request::new(MessageType::IsDomainIntroduced, None)
            .with_rest(Rest::DecimalString(domain.0.into()))
            .with_room(&mut buffer);
        self.ask(request, |result| match result? {
            b"T\0" => Ok(true),
            b"F\0" => Ok(false),
            _ => Err(StoreError::Malformed),
        })
        .await
    }
}

/// Requests. Each is sent when it is first polled and there is a free place; names are checked before.
///
/// All of them fail with [`StoreError::Key`] for a name that can't be, with [`StoreError::Refused`] where xenstored
/// refuses, and with [`StoreError::Broken`] when there is no connection.
impl<H: Hypervisor> Store<H> {
    /// `XS_READ`: the value, in `buffer`.
    ///
    /// # Errors
    ///
    /// [`StoreError::ReplyTooLong`] if it is longer.
    pub fn read<'b, 'k>(
        &self,
        key: impl Into<Key<'k>>,
        buffer: &'b mut [u8],
    ) -> impl Future<Output = Result<&'b [u8], StoreError>> {
        self.scope().read(key.into(), buffer)
    }

    /// `XS_READ`: the value as text.
    ///
    /// # Errors
    ///
    /// [`StoreError::ReplyTooLong`] if it is longer than `N` bytes, [`StoreError::Value`] if it isn't UTF-8.
    pub fn read_string<'k, const N: usize>(
        &self,
        key: impl Into<Key<'k>>,
    ) -> impl Future<Output = Result<heapless::String<N>, StoreError>> {
        self.scope().read_string(key.into())
    }

    /// `XS_READ`: the value as a decimal number ([`parse_decimal`]).
    ///
    /// # Errors
    ///
    /// [`StoreError::Value`] if it isn't one.
    pub fn read_decimal<'k>(
        &self,
        key: impl Into<Key<'k>>,
    ) -> impl Future<Output = Result<u64, StoreError>> {
        self.scope().read_decimal(key.into())
    }

    /// `XS_WRITE`. What is missing above the key is made.
    ///
    /// # Errors
    ///
    /// [`StoreError::RequestTooLong`] if name and value have more than 4,095 bytes.
    pub fn write<'k>(
        &self,
        key: impl Into<Key<'k>>,
        value: &'k [u8],
    ) -> impl Future<Output = Result<(), StoreError>> {
        self.scope().write(key.into(), value)
    }

    /// `XS_WRITE` of a decimal number.
    pub fn write_decimal<'k>(
        &self,
        key: impl Into<Key<'k>>,
        value: u64,
    ) -> impl Future<Output = Result<(), StoreError>> {
        self.scope().write_decimal(key.into(), value)
    }

    /// `XS_MKDIR`: makes the key, with an empty value, unless it exists.
    pub fn make_directory<'k>(
        &self,
        key: impl Into<Key<'k>>,
    ) -> impl Future<Output = Result<(), StoreError>> {
        self.scope().make_directory(key.into())
    }

    /// `XS_RM`: removes the key and all below it. That it does not exist is an error only if what is above it does
    /// not, either.
    pub fn remove<'k>(
        &self,
        key: impl Into<Key<'k>>,
    ) -> impl Future<Output = Result<(), StoreError>> {
        self.scope().remove(key.into())
    }

    /// `XS_DIRECTORY`: the names of the keys right below this one, in `buffer`. A list that is too long for one
    /// message is fetched by `XS_DIRECTORY_PART`; `buffer` has room for it and 21 bytes then.
    ///
    /// # Errors
    ///
    /// [`StoreError::ReplyTooLong`] if there are more, [`TryAgain`](crate::abi::XenError::TryAgain) if a long list
    /// changed whenever it was looked at, eight times.
    pub fn directory<'b, 'k>(
        &self,
        key: impl Into<Key<'k>>,
        buffer: &'b mut [u8],
    ) -> impl Future<Output = Result<Names<'b>, StoreError>> {
        self.scope().directory(key.into(), buffer)
    }

    /// `XS_GET_PERMS`: who may reach the key, in `buffer`: up to seven bytes each.
    ///
    /// # Errors
    ///
    /// [`StoreError::ReplyTooLong`] if there are more.
    pub fn permissions<'b, 'k>(
        &self,
        key: impl Into<Key<'k>>,
        buffer: &'b mut [u8],
    ) -> impl Future<Output = Result<Permissions<'b>, StoreError>> {
        self.scope().permissions(key.into(), buffer)
    }

    /// `XS_SET_PERMS`: the owner comes first.
    ///
    /// # Errors
    ///
    /// [`StoreError::RequestTooLong`] of more than 32 entries.
    pub fn set_permissions<'k>(
        &self,
        key: impl Into<Key<'k>>,
        permissions: &[Permission],
    ) -> impl Future<Output = Result<(), StoreError>> {
        self.scope().set_permissions(key.into(), permissions)
    }

    /// `XS_GET_DOMAIN_PATH`: a domain's directory, to which its relative names are relative.
    ///
    /// # Errors
    ///
    /// [`StoreError::ReplyTooLong`] if it is longer than `N` bytes with a NUL behind it. 22 are enough for today's.
    pub fn domain_path<const N: usize>(
        &self,
        domain: DomainId,
    ) -> impl Future<Output = Result<heapless::String<N>, StoreError>> {
        self.scope().domain_path(domain)
    }

    /// `XS_IS_DOMAIN_INTRODUCED`: whether xenstored speaks with a domain. Both xenstoreds of Xen 4.17 tell the
    /// control domain alone.
    ///
    /// # Errors
    ///
    /// [`AccessDenied`](crate::abi::XenError::AccessDenied) where this domain isn't told.
    pub fn is_introduced(
        &self,
        domain: DomainId,
    ) -> impl Future<Output = Result<bool, StoreError>> {
        self.scope().is_introduced(domain)
    }

    /// `XS_WATCH`: watches a key, which need not exist, and all below it; or `@releaseDomain` and the like. Ready when
    /// xenstored watches.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooManyWatches`] if there is no room for another, and none will be: it waits for those that were
    /// dropped to be taken back. [`StoreError::WatchTooLong`] if there is none for the name.
    pub fn watch<'s, 'k>(
        &'s self,
        key: impl Into<Key<'k>>,
    ) -> impl Future<Output = Result<Watch<'s, H>, StoreError>> {
        Watch::set(self, key.into())
    }

    /// As [`watch`](Self::watch), but does not wait until xenstored watches: it hears of it before it hears of what is
    /// asked afterwards. [`Watch::established`] waits.
    ///
    /// # Errors
    ///
    /// As there; what xenstored says of it, `established` gives.
    pub fn begin_watch<'s, 'k>(
        &'s self,
        key: impl Into<Key<'k>>,
    ) -> impl Future<Output = Result<Watch<'s, H>, StoreError>> {
        Watch::begin(self, key.into())
    }

    /// `XS_RESET_WATCHES`: has xenstored forget what somebody before us watched over this connection, and in which
    /// transactions they were. Ours are set again; our open transactions end in
    /// [`TryAgain`](crate::abi::XenError::TryAgain).
    pub async fn reset_watches(&self) -> Result<(), StoreError> {
        let request = Request::new(MessageType::ResetWatches, None);
        self.scope()
            .order(request.with_rest(Rest::Bytes(b"\0")))
            .await
    }

    /// `XS_TRANSACTION_START`.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooManyTransactions`] if there is no room for another, and none will be: it waits for those that
    /// were dropped to be aborted.
    pub fn transaction(&self) -> impl Future<Output = Result<Transaction<'_, H>, StoreError>> {
        Transaction::begin(self)
    }

    /// Does something in a transaction and commits it, again and again while xenstored says
    /// [`TryAgain`](crate::abi::XenError::TryAgain), at most `attempts` times.
    ///
    /// ```no_run
    /// # use mirage_xen::store::{Store, StoreError};
    /// # async fn example<H: mirage_xen::Hypervisor>(store: &'static Store<H>) -> Result<(), StoreError> {
    /// let seen = store
    ///     .transact(8, async |transaction| {
    ///         let count = transaction.read_decimal("data/count").await?;
    ///         transaction.write_decimal("data/count", count + 1).await?;
    ///         Ok(count)
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What `body` returns, and [`TryAgain`](crate::abi::XenError::TryAgain) after the last attempt.
    pub async fn transact<T>(
        &self,
        attempts: u32,
        body: impl AsyncFn(&Transaction<'_, H>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut attempt = 1;
        loop {
            let transaction = self.transaction().await?;
            let result = match body(&transaction).await {
                Ok(value) => transaction.commit().await.map(|()| value),
                Err(error) => Err(error),
            };
            match result {
                Err(error) if error.is_try_again() && attempt < attempts => attempt += 1,
                result => return result,
            }
        }
    }
}
