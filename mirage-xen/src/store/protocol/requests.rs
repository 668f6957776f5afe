//! Requests, and the room for their payloads and replies.

use core::task::Waker;

use super::exchange::{Exchange, Stage};
use crate::abi::xs_wire::{MessageType, XENSTORE_PAYLOAD_MAX};
use crate::store::error::StoreError;

/// One request, from when it is queued until whoever asked has taken the reply, or until the reply is dropped.
pub(in crate::store) struct RequestSlot {
    pub(super) state: RequestState,
    pub(super) exchange: Exchange,
    pub(super) kind: MessageType,
    /// The transaction's number at xenstored, or zero.
    pub(super) transaction: u32,
    /// Bytes of the request; then of the reply.
    pub(super) length: usize,
    pub(super) waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestState {
    Free,
    /// Somebody waits for the reply.
    Waiting,
    /// Nobody waits any more, but xenstored knows of it.
    Abandoned,
    /// The reply is there, or will never be.
    Answered(Result<(), StoreError>),
}

impl RequestSlot {
    pub(in crate::store) const fn new() -> Self {
        Self {
            state: RequestState::Free,
            exchange: Exchange::NONE,
            kind: MessageType::Read,
            transaction: 0,
            length: 0,
            waker: None,
        }
    }
}

/// All places for requests: the small ones, then a large one that has room for any.
pub(super) struct Requests<'m> {
    small: &'m mut [RequestSlot],
    small_bytes: &'m mut [u8],
    large: RequestSlot,
    large_bytes: &'m mut [u8; XENSTORE_PAYLOAD_MAX],
}

impl<'m> Requests<'m> {
    pub(super) fn new(
        small: &'m mut [RequestSlot],
        small_bytes: &'m mut [u8],
        large_bytes: &'m mut [u8; XENSTORE_PAYLOAD_MAX],
    ) -> Self {
        Self {
            small,
            small_bytes,
            large: RequestSlot::new(),
            large_bytes,
        }
    }

    /// Places: the last one is the large one.
    pub(super) fn len(&self) -> usize {
        self.small.len() + 1
    }

    pub(super) fn is_large(&self, index: usize) -> bool {
        index == self.small.len()
    }

    /// Bytes that a small one has room for.
    pub(super) fn small_room(&self) -> usize {
        self.small_bytes.len() / self.small.len().max(1)
    }

    /// A place and its bytes.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<(&mut RequestSlot, &mut [u8])> {
        let room = self.small_room();
        if self.is_large(index) {
            return Some((&mut self.large, &mut self.large_bytes[..]));
        }
        let slot = self.small.get_mut(index)?;
        let bytes = self.small_bytes.get_mut(index * room..(index + 1) * room)?;
        Some((slot, bytes))
    }

    pub(super) fn slot(&self, index: usize) -> Option<&RequestSlot> {
        if self.is_large(index) {
            return Some(&self.large);
        }
        self.small.get(index)
    }

    /// The bytes of a request, as it is sent.
    pub(super) fn payload(&self, index: usize) -> &[u8] {
        let room = self.small_room();
        let (bytes, length) = if self.is_large(index) {
            (Some(&self.large_bytes[..]), self.large.length)
        } else {
            let bytes = self.small_bytes.get(index * room..(index + 1) * room);
            (bytes, self.small.get(index).map_or(0, |slot| slot.length))
        };
        bytes
            .and_then(|bytes| bytes.get(..length))
            .unwrap_or_default()
    }

    /// A free place of that size.
    pub(super) fn find_free(&self, large: bool) -> Option<usize> {
        let free = |index: &usize| {
            self.slot(*index)
                .is_some_and(|slot| slot.state == RequestState::Free)
        };
        if large {
            return Some(self.small.len()).filter(free);
        }
        (0..self.small.len()).find(free)
    }
}

/// Whether to carry it out twice is the same as once, whatever others do between.
pub(super) fn only_reads(kind: MessageType) -> bool {
    matches!(
        kind,
        MessageType::Read
            | MessageType::Directory
            | MessageType::DirectoryPart
            | MessageType::GetPermissions
            | MessageType::GetDomainPath
            | MessageType::IsDomainIntroduced
    )
}

/// A request that is queued has seen nothing of xenstored, whatever it is.
pub(super) fn survives(slot: &RequestSlot, same_tree: bool) -> Result<(), StoreError> {
    use crate::abi::XenError;
    if slot.transaction != 0 {
        // Its transaction is gone.
        return Err(StoreError::Refused(XenError::TryAgain));
    }
    if same_tree && slot.exchange.stage != Stage::Queued && !only_reads(slot.kind) {
        return Err(StoreError::Interrupted);
    }
    Ok(())
}
