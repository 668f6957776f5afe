//! A host with an address of its own asks for the rest, over a shared stack.

use core::fmt;
use core::future::{Future, poll_fn};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::pin::pin;
use core::task::Poll;

use mirage_core::Instant;
use mirage_core::executor::Executor;
use rand_core::CryptoRng;

use super::super::driver::rest;
use super::super::{SharedStack, UdpSocket, again_later};
use super::{LONGEST, message};
use crate::BindError;
use crate::dhcp::{DhcpBinding, DhcpClientConfig, DhcpInform, DhcpParameters};
use crate::wire::dhcp::{MESSAGE_LEN, SERVER_PORT};

/// Why nothing was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DhcpInformError {
    /// The socket can't be opened: a client runs, for example.
    Bind(BindError),
    /// No server answered within a minute.
    Unanswered,
}

impl fmt::Display for DhcpInformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DhcpInformError::Bind(error) => write!(f, "no socket for DHCP: {error}"),
            DhcpInformError::Unanswered => f.write_str("no DHCP server answered"),
        }
    }
}

impl core::error::Error for DhcpInformError {}

/// Asks the link's DHCP servers for all but the address (DHCPINFORM), which the stack has already: [`DhcpInform`].
///
/// # Errors
/// [`DhcpInformError`]. An address that the stack hasn't got is not answered to.
pub async fn dhcp_inform(
    shared: &SharedStack<'_>,
    executor: &'static Executor,
    config: DhcpClientConfig,
    address: Ipv4Addr,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<DhcpParameters, DhcpInformError> {
    let options = DhcpBinding::udp_options();
    let socket = shared.udp_bind(options).map_err(DhcpInformError::Bind)?;
    let mut inform = DhcpInform::new(config, address, rng);
    inform.start(shared.clock.now());
    let mut buffer = [0; LONGEST];
    let mut sleep = pin!(executor.sleep_until(Instant::FAR_FUTURE));
    loop {
        match step(shared, &socket, &mut inform, &mut buffer) {
            Step::Again => continue,
            Step::Later => {
                again_later().await;
                continue;
            }
            Step::Rest => {}
        }
        if let Some(outcome) = inform.poll_outcome() {
            return outcome.map_err(|_| DhcpInformError::Unanswered);
        }
        let deadline = inform.poll_timeout();
        let mut readable = pin!(socket.readable());
        poll_fn(|context| match readable.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => rest(sleep.as_mut(), deadline, context),
        })
        .await;
    }
}

enum Step {
    Again,
    /// The stack is in use.
    Later,
    Rest,
}

/// The next thing that is to be done.
// Apart from its caller: see "What an image weighs" in CONTRIBUTING.md.
#[inline(never)]
fn step(
    shared: &SharedStack<'_>,
    socket: &UdpSocket<'_, '_>,
    inform: &mut DhcpInform,
    buffer: &mut [u8; LONGEST],
) -> Step {
    let Ok(mut stack) = shared.stack.try_borrow_mut() else {
        return Step::Later;
    };
    let now = shared.clock.now();
    inform.handle_timeout(now);
    if let Some(transmit) = buffer
        .first_chunk_mut::<MESSAGE_LEN>()
        .and_then(|buffer| inform.poll_transmit(buffer))
    {
        let remote = SocketAddr::from((transmit.destination, SERVER_PORT));
        let message = buffer.get(..transmit.length).unwrap_or_default();
        let source = Some(IpAddr::V4(transmit.source));
        // One that can't be sent is lost as on the wire: it is repeated.
        let _ = stack.udp_send_from(now, socket.handle, Some(remote), source, message);
        shared.changed.set();
        return Step::Again;
    }
    match stack.udp_receive(socket.handle) {
        Ok(Some(datagram)) => {
            inform.handle_message(message(&datagram.payload, buffer));
            Step::Again
        }
        // The socket has no peer, so no error is ever told.
        Err(_) => Step::Again,
        Ok(None) => Step::Rest,
    }
}
