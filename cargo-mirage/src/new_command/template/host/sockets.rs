//! Serving over the system's sockets.

use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use edge_nal::{UdpBind, UdpReceive, UdpSend};
use mirage_core::executor::{Executor, yield_now};
use mirage_host::Sockets;

use appliance_name::Service;

/// Octets of the longest datagram.
const LONGEST: usize = 65_535;

/// How many datagrams are answered before other tasks get a turn.
const BUDGET: usize = 64;

/// After a failed receive nothing is tried for this long.
const PAUSE: Duration = Duration::from_millis(10);

/// Listens, and gives the task that serves.
pub fn serve(
    executor: &'static Executor,
    service: &'static Service,
    listen: SocketAddr,
) -> Result<impl Future<Output = ()> + 'static, Box<dyn Error>> {
    let mut socket = executor
        .run_until(UdpBind::bind(&Sockets, listen))
        .map_err(|error| format!("{listen} can't be had: {error}"))?;
    println!("serving on {}, UDP", socket.local_address()?);
    Ok(async move {
        let (mut request, mut answer) = (vec![0; LONGEST], vec![0; LONGEST]);
        loop {
            for _ in 0..BUDGET {
                let Ok((length, remote)) = socket.receive(&mut request).await else {
                    executor.sleep(PAUSE).await;
                    continue;
                };
                let Some(request) = request.get(..length) else {
                    continue;
                };
                if let Some(length) = service.answer(remote.port(), request, &mut answer) {
                    // As on any network, a datagram may be lost.
                    let _ = socket.send(remote, &answer[..length]).await;
                }
            }
            yield_now().await;
        }
    })
}
