//! The least that answers: a query is sent back from where it lies, as a response without an answer. What is measured with it is
//! all that is not a DNS server: the client, the wire, AF_XDP.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bench_common::report::Error;
use mirage_core::executor::Executor;
use mirage_core::{Frame, Netif, NetifError, Pool};
use mirage_host::{EndSignals, HostPlatform, Xdp, XdpConfig};

/// Pages of the pool, and of these what the kernel receives into: as many as the appliance has.
const PAGES: usize = 1_024;
const RECEIVE_PAGES: usize = 256;
/// How long frames gather, as the appliance lets them.
const GATHER: Duration = Duration::from_micros(200);
/// Frames that are taken before others run: as many as the stack's driver takes.
const BUDGET: usize = 64;

/// Answers on an interface until it is ended.
pub(crate) fn run(interface: &str) -> Result<(), Error> {
    let platform = HostPlatform::leak()?;
    let executor = Executor::leak(platform);
    let pool = Pool::leak(PAGES, 4_096)?;
    let mut config = XdpConfig::new(interface);
    config.receive_pages = RECEIVE_PAGES;
    config.gather = GATHER;
    let mut xdp = Xdp::open(platform, pool, config)?;
    let mut end = EndSignals::new(platform)?;
    let answering = executor.spawn(async move {
        let error = poll_fn(|context| {
            for _ in 0..BUDGET {
                let frame = match xdp.poll_receive(context) {
                    Poll::Ready(Ok(frame)) => frame,
                    Poll::Ready(Err(error)) => return Poll::Ready(error),
                    Poll::Pending => return flushed(&mut xdp).map_or(Poll::Pending, Poll::Ready),
                };
                let room = xdp.poll_ready(context).is_ready();
                if let (Some(answer), true) = (answer(frame), room) {
                    // A frame that isn't taken is lost, as on any wire.
                    drop(xdp.transmit(answer));
                }
            }
            context.waker().wake_by_ref();
            flushed(&mut xdp).map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        eprintln!("null responder: {error}");
    })?;
    answering.detach();
    executor.run_until(end.wait());
    Ok(())
}

fn flushed(xdp: &mut Xdp) -> Option<NetifError> {
    xdp.flush().err().filter(|error| *error == NetifError::Gone)
}

/// A DNS query over UDP and IPv4, without options, as a response.
fn answer(frame: Frame) -> Option<Frame> {
    let mut page = frame.into_single().ok()?.into_page_mut().ok()?;
    let bytes: &mut [u8; 46] = page.first_chunk_mut()?;
    let is_query = bytes[12..15] == [8, 0, 0x45] && bytes[23] == 17 && bytes[36..38] == [0, 53];
    if !is_query || bytes[44] & 0x80 != 0 {
        return None;
    }
    // What changes places leaves both checksums as they are.
    swap(bytes, 0, 6, 6);
    swap(bytes, 26, 30, 4);
    swap(bytes, 34, 36, 2);
    bytes[44] |= 0x80;
    // RFC 1624, equation 3, for a word that grew by 0x8000.
    let old = u16::from_be_bytes([bytes[40], bytes[41]]);
    if old != 0 {
        let (sum, carry) = (!old).overflowing_add(0x8000);
        let new = !(sum + u16::from(carry));
        bytes[40..42].copy_from_slice(&if new == 0 { 0xffff } else { new }.to_be_bytes());
    }
    Some(page.into())
}

fn swap(bytes: &mut [u8; 46], a: usize, b: usize, length: usize) {
    for index in 0..length {
        bytes.swap(a + index, b + index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum over pseudo-header, UDP header and payload: 0xffff where the checksum is right.
    fn udp_sum(frame: &[u8]) -> u16 {
        let length = u16::from_be_bytes([frame[38], frame[39]]);
        let words = frame[26..34]
            .chunks(2)
            .chain(frame[34..34 + usize::from(length)].chunks(2));
        let mut sum = words.fold(17 + u32::from(length), |sum, pair| {
            sum + u32::from(pair[0]) * 256 + u32::from(*pair.get(1).unwrap_or(&0))
        });
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn a_query_comes_back_with_a_right_checksum_and_nothing_else_does() {
        let pool = Pool::leak(4, 2_048).unwrap();
        for id in [0u16, 1, 0x7fff, 0x8000, 0xfe01, 0xffff] {
            let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
            frame.extend([
                0x45, 0, 0, 45, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
            ]);
            frame.extend([0x12, 0x34, 0, 53, 0, 25, 0, 0]);
            frame.extend(id.to_be_bytes());
            frame.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
            let checksum = !udp_sum(&frame);
            frame[40..42].copy_from_slice(&checksum.to_be_bytes());
            let given = |bytes: &[u8]| {
                let mut page = pool.alloc().unwrap();
                page.extend_from_slice(bytes).unwrap();
                answer(page.into())
            };
            let back = given(&frame).expect("an answer");
            let back = back.contiguous().unwrap();
            assert_eq!(udp_sum(back), 0xffff, "{id:x}");
            assert_eq!(
                (&back[..6], &back[34..38]),
                (&frame[6..12], &[0, 53, 0x12, 0x34][..])
            );
            assert_eq!(back[44], 0x81);
            assert!(given(back).is_none(), "a response");
            assert!(given(&frame[..45]).is_none(), "too short");
        }
    }
}
