//! The store on its ring, with a xenstored at the other end.

use super::testing::Rig;
use super::*;

use core::future::Future;
use core::pin::Pin;

/// Polls a future once, in the task that this is awaited in.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

mod hazards;
mod operations;
mod resume;
