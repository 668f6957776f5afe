//! A device's frontend.

use core::fmt;

use heapless::String;

use super::state::XenbusState;
use crate::abi::{DomainId, XenError};
use crate::hypervisor::Hypervisor;
use crate::store::{Key, KeyError, Store, StoreError, Transaction, Watch, join2};

/// Bytes of a frontend's path, at most: `device/vif/0` and the like.
pub const FRONTEND_PATH_MAX: usize = 64;
/// Bytes of a backend's path, at most: `/local/domain/0/backend/vif/7/0` and the like.
pub const BACKEND_PATH_MAX: usize = 128;

/// Attempts at a transaction that something else comes between.
const ATTEMPTS: u32 = 8;

/// Our end of a device.
///
/// Where its backend is was read from xenstore when this was made; after the domain was resumed, or the backend was
/// moved, make another.
pub struct Frontend<H: Hypervisor> {
    store: &'static Store<H>,
    path: String<FRONTEND_PATH_MAX>,
    backend: String<BACKEND_PATH_MAX>,
    backend_domain: DomainId,
}

impl<H: Hypervisor> Frontend<H> {
    /// The device with its keys below `path`, relative to the domain's directory: reads where its backend is, in one
    /// round trip.
    ///
    /// # Errors
    ///
    /// The store's: [`XenError::NotFound`] if there is no such device, [`StoreError::Value`] if what it says of its
    /// backend can't be, [`KeyError::TooLong`] if `path` is longer than [`FRONTEND_PATH_MAX`].
    pub async fn find(store: &'static Store<H>, path: &str) -> Result<Self, StoreError> {
        let length = path.len();
        let path = String::try_from(path).map_err(|_| KeyError::TooLong { length })?;
        let (backend, backend_domain) = join2(
            store.read_string::<BACKEND_PATH_MAX>((&*path, "backend")),
            store.read_domain((&*path, "backend-id")),
        )
        .await;
        let backend = match backend {
            Err(StoreError::ReplyTooLong { .. }) => Err(StoreError::Value),
            backend => backend,
        }?;
        // That the keys there are the backend's own, xenstore's permissions see to.
        Key::from(&*backend)
            .check()
            .map_err(|_| StoreError::Value)?;
        Ok(Self {
            store,
            path,
            backend,
            backend_domain: backend_domain?,
        })
    }

    /// The store that it is in.
    pub fn store(&self) -> &'static Store<H> {
        self.store
    }

    /// Where our keys are.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where the backend's keys are.
    pub fn backend_path(&self) -> &str {
        &self.backend
    }

    /// The backend's domain.
    pub fn backend_domain(&self) -> DomainId {
        self.backend_domain
    }

    /// One of our keys.
    pub fn key<'a>(&'a self, name: &'a str) -> Key<'a> {
        (&*self.path, name).into()
    }

    /// One of the backend's keys.
    pub fn backend_key<'a>(&'a self, name: &'a str) -> Key<'a> {
        (&*self.backend, name).into()
    }

    /// What the backend says of itself.
    ///
    /// # Errors
    ///
    /// The store's; [`StoreError::Value`] if it's no state.
    pub async fn backend_state(&self) -> Result<XenbusState, StoreError> {
        self.store.read_state(self.backend_key("state")).await
    }

    /// What we said of ourselves, or the toolstack for us.
    ///
    /// # Errors
    ///
    /// As of [`backend_state`](Self::backend_state).
    pub async fn state(&self) -> Result<XenbusState, StoreError> {
        self.store.read_state(self.key("state")).await
    }

    /// Says our state, in a transaction that finds the key: a device that the toolstack has removed does not come into
    /// being again by it. Three round trips.
    ///
    /// # Errors
    ///
    /// The store's; [`XenError::NotFound`] if the device is gone.
    pub async fn switch_state(&self, state: XenbusState) -> Result<(), StoreError> {
        self.store
            .transact(ATTEMPTS, async |transaction| {
                self.write_state(transaction, state).await
            })
            .await
    }

    /// Says our state, as a part of a transaction.
    ///
    /// # Errors
    ///
    /// As of [`switch_state`](Self::switch_state).
    pub async fn write_state(
        &self,
        transaction: &Transaction<'_, H>,
        state: XenbusState,
    ) -> Result<(), StoreError> {
        let mut old = [0; 8];
        let (read, written) = join2(
            transaction.read(self.key("state"), &mut old),
            transaction.write(self.key("state"), state.as_str().as_bytes()),
        )
        .await;
        match read {
            Ok(_) | Err(StoreError::ReplyTooLong { .. }) => written,
            // The transaction isn't committed then.
            Err(error) => Err(error),
        }
    }

    /// Watches the backend's state.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn watch_backend(&self) -> Result<BackendWatch<H>, StoreError> {
        let watch = self.store.watch(self.backend_key("state")).await?;
        Ok(BackendWatch {
            store: self.store,
            backend: self.backend.clone(),
            watch,
            to_read: false,
            last: None,
        })
    }
}

impl<H: Hypervisor> fmt::Debug for Frontend<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frontend")
            .field("path", &self.path)
            .field("backend", &self.backend)
            .field("backend_domain", &self.backend_domain)
            .finish_non_exhaustive()
    }
}

/// A backend's state, as it changes.
pub struct BackendWatch<H: Hypervisor> {
    store: &'static Store<H>,
    backend: String<BACKEND_PATH_MAX>,
    watch: Watch<'static, H>,
    /// The watch has fired, and the state was not read since.
    to_read: bool,
    last: Option<XenbusState>,
}

impl<H: Hypervisor> BackendWatch<H> {
    /// Waits until the backend says something else than the last time; the first time, for what it says now. States
    /// that it passes through meanwhile are not seen. A backend that is gone is [`XenbusState::Unknown`]; it may come
    /// back.
    ///
    /// A value that's no state, and a key that may not be read, count as [`XenbusState::Unknown`]: there is nobody to
    /// speak with. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// The store's others.
    pub async fn changed(&mut self) -> Result<XenbusState, StoreError> {
        loop {
            if !self.to_read {
                // A watch fires when it is set, too.
                self.watch.changed().await?;
                self.to_read = true;
            }
            let state = self.read().await?;
            self.to_read = false;
            if self.last != Some(state) {
                self.last = Some(state);
                return Ok(state);
            }
        }
    }

    /// Waits until the backend is in one of these states, and says which. It may be at once.
    ///
    /// # Errors
    ///
    /// As of [`changed`](Self::changed).
    pub async fn wait_for(&mut self, states: &[XenbusState]) -> Result<XenbusState, StoreError> {
        if let Some(last) = self.last
            && states.contains(&last)
        {
            return Ok(last);
        }
        loop {
            let state = self.changed().await?;
            if states.contains(&state) {
                return Ok(state);
            }
        }
    }

    /// What the backend said last. [`XenbusState::Unknown`] before anything was heard.
    pub fn last(&self) -> XenbusState {
        self.last.unwrap_or(XenbusState::Unknown)
    }

    async fn read(&self) -> Result<XenbusState, StoreError> {
        match self.store.read_state((&*self.backend, "state")).await {
            Err(StoreError::Value | StoreError::Refused(XenError::AccessDenied)) => {
                Ok(XenbusState::Unknown)
            }
            state => state,
        }
    }
}

impl<H: Hypervisor> fmt::Debug for BackendWatch<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendWatch")
            .field("backend", &self.backend)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
