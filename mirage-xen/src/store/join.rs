//! Several futures as one: what is asked together is sent together.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::Poll;

/// Polls all, in order, until each is ready: what they gave. Requests among them are sent together.
///
/// ```
/// # use core::future::ready;
/// # use core::pin::pin;
/// # use core::task::{Context, Poll, Waker};
/// use mirage_xen::store::join;
///
/// let mut both = pin!(join([ready(1), ready(2)]));
/// # let mut context = Context::from_waker(Waker::noop());
/// assert_eq!(both.as_mut().poll(&mut context), Poll::Ready([1, 2]));
/// ```
pub async fn join<F: Future, const N: usize>(futures: [F; N]) -> [F::Output; N] {
    let mut futures = pin!(futures.map(Some));
    let mut outputs = [const { None }; N];
    poll_fn(|context| {
        let mut pending = false;
        // SAFETY: the futures stay where they are, pinned with the array, until they are dropped in place by the
        // assignment of `None` below.
        let slots = unsafe { futures.as_mut().get_unchecked_mut() };
        for (slot, output) in slots.iter_mut().zip(&mut outputs) {
            let Some(future) = slot else {
                continue;
            };
            // SAFETY: as above.
            match unsafe { Pin::new_unchecked(future) }.poll(context) {
                Poll::Ready(ready) => {
                    *output = Some(ready);
                    *slot = None;
                }
                Poll::Pending => pending = true,
            }
        }
        if pending {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    // Each was ready once.
    outputs.map(|output| output.unwrap_or_else(|| unreachable!()))
}

/// As [`join`], of two that differ.
pub async fn join2<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let mut a = pin!(a);
    let mut b = pin!(b);
    let (mut of_a, mut of_b) = (None, None);
    poll_fn(|context| {
        if of_a.is_none()
            && let Poll::Ready(ready) = a.as_mut().poll(context)
        {
            of_a = Some(ready);
        }
        if of_b.is_none()
            && let Poll::Ready(ready) = b.as_mut().poll(context)
        {
            of_b = Some(ready);
        }
        match (of_a.take(), of_b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (of_a, of_b) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::task::{Context, Waker};
    use mirage_core::executor::yield_now;

    #[test]
    fn each_is_polled_until_it_is_ready_and_no_further() {
        let mut context = Context::from_waker(Waker::noop());
        let after = async |turns: u32| {
            for _ in 0..turns {
                yield_now().await;
            }
            turns
        };
        let mut all = pin!(join([after(2), after(0), after(1)]));
        assert!(all.as_mut().poll(&mut context).is_pending());
        assert!(all.as_mut().poll(&mut context).is_pending());
        assert_eq!(all.as_mut().poll(&mut context), Poll::Ready([2, 0, 1]));

        let mut both = pin!(join2(after(0), async { after(1).await == 1 }));
        assert!(both.as_mut().poll(&mut context).is_pending());
        assert_eq!(both.as_mut().poll(&mut context), Poll::Ready((0, true)));
    }
}
