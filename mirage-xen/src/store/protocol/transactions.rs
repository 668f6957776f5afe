//! Transactions.

use core::task::Waker;

use super::exchange::Exchange;
use crate::store::error::StoreError;

/// One transaction.
pub(in crate::store) struct TransactionSlot {
    pub(super) state: TransactionState,
    pub(super) exchange: Exchange,
    /// Nobody has it any more.
    pub(super) abandoned: bool,
    pub(super) waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransactionState {
    Free,
    /// `XS_TRANSACTION_START` is outstanding.
    Starting,
    /// Xenstored has it, by this number.
    Open(u32),
    /// Xenstored has lost it: the domain was resumed, or the ring set up again.
    Lost,
    /// `XS_TRANSACTION_END` is outstanding.
    Ending {
        number: u32,
        commit: bool,
    },
    /// It never began, or it ended.
    Ended(Result<(), StoreError>),
}

impl TransactionSlot {
    pub(in crate::store) const fn new() -> Self {
        Self {
            state: TransactionState::Free,
            exchange: Exchange::NONE,
            abandoned: false,
            waker: None,
        }
    }

    /// The payload of its message.
    pub(super) fn payload(&self) -> &'static [u8] {
        match self.state {
            TransactionState::Ending { commit: true, .. } => b"T\0",
            TransactionState::Ending { commit: false, .. } => b"F\0",
            _ => b"\0",
        }
    }
}
