//! Two interfaces on a virtual Ethernet that loses a fifth of all frames: one asks until it is answered.
//!
//! Everything runs in virtual time on the real executor, so the seconds that pass take none, and each run is the same.
//!
//! ```sh
//! cargo run -p mirage-core --features doubles,std --example virtual_ethernet -- target/frames.pcap
//! ```
//!
//! The file name is optional; tshark and Wireshark read what is written to it.

use core::future::poll_fn;
use core::time::Duration;

use mirage_core::doubles::{
    Capture, Chance, Faults, IoSink, PortConfig, VirtualEthernet, VirtualPlatform,
};
use mirage_core::executor::Executor;
use mirage_core::{Frame, MacAddress, Netif, Pool};

/// An EtherType for experiments (IEEE 802, 9.2.3: 88-B5).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let output: Box<dyn std::io::Write> = match std::env::args().nth(1) {
        Some(path) => Box::new(std::fs::File::create(path)?),
        None => Box::new(std::io::sink()),
    };
    let pool = Pool::leak(64, 2048)?;
    let platform: &'static VirtualPlatform = Box::leak(Box::default());
    let executor: &'static Executor = Executor::leak(platform);
    let ethernet = VirtualEthernet::new(2013);
    platform.connect(&ethernet);

    let faults = Faults {
        loss: Chance::percent(20),
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(5),
        ..Faults::NONE
    };
    let attach = |last| -> Result<_, mirage_core::PoolError> {
        let config = PortConfig {
            faults,
            ..PortConfig::new(MacAddress([2, 0, 0, 0, 0, last]))
        };
        Ok(ethernet.attach(config, pool.reserve(16)?))
    };
    let mut server = attach(1)?;
    let mut client = Capture::new(attach(2)?, IoSink(output), &platform);

    // The server answers in the page that the question came in.
    executor
        .spawn(async move {
            while let Ok(frame) = poll_fn(|cx| server.poll_receive(cx)).await {
                let Ok(mut page) = frame
                    .into_single()
                    .map_err(drop)
                    .and_then(|only| only.into_page_mut().map_err(drop))
                else {
                    continue;
                };
                if page.len() < 14 {
                    continue;
                }
                let (to, from) = page.split_at_mut(6);
                to.swap_with_slice(&mut from[..6]);
                page[14..].make_ascii_uppercase();
                // A full queue loses the answer, as a wire does: the client asks again.
                if server.transmit(page.into()).is_err() || server.flush().is_err() {
                    continue;
                }
            }
        })?
        .detach();

    let client_task = async {
        for number in 0..10 {
            let question = format!("question {number}");
            let mut attempts = 0;
            let answer = loop {
                attempts += 1;
                let mut page = pool.alloc().ok_or("no page")?;
                for part in [
                    &[2, 0, 0, 0, 0, 1][..],
                    &client.mac().0,
                    &ETHERTYPE,
                    question.as_bytes(),
                ] {
                    page.extend_from_slice(part)?;
                }
                client.transmit(page.into())?;
                client.flush()?;
                let answer = poll_fn(|cx| client.poll_receive(cx));
                if let Ok(frame) = executor.timeout(Duration::from_millis(100), answer).await {
                    break frame?;
                }
            };
            println!(
                "{}: {} after {attempts} attempts",
                executor.now(),
                text(&answer)
            );
        }
        Ok::<(), Box<dyn std::error::Error>>(())
    };
    executor.run_until(client_task)?;
    println!("{:?}", client.counters());
    println!("{:?}", client.get_ref().counters());
    Ok(())
}

fn text(frame: &Frame) -> String {
    let payload = frame
        .contiguous()
        .and_then(|bytes| bytes.get(14..))
        .unwrap_or_default();
    String::from_utf8_lossy(payload).into_owned()
}
