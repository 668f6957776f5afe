//! Numbered frames both ways, each of which is either there in the end or explained.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use mirage_core::doubles::Packet;
use mirage_core::{Frame, FrameMetadata, MacAddress, Netif, NetifError, Pool, TransmitReason};

use mirage_xen::simulated::Fault;

use super::{MAC, World};

const PEER: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
/// Local experimental Ethertype 1 (IEEE 802).
const ETHERTYPE: [u8; 2] = [0x88, 0xB5];
const HEADER: usize = 14;
/// Frames that an application holds on to, to look at them once more.
const HELD: usize = 6;
/// Bytes that are sent from where they lie: from a page's beginning on, so that each build cuts them into the same pieces.
#[repr(align(4096))]
struct Text([u8; 6_000]);

static TEXT: Text = Text({
    let mut text = [0; 6_000];
    let mut index = 0;
    while index < text.len() {
        text[index] = (index % 251) as u8;
        index += 1;
    }
    text
});

/// Registers what is sent from where it lies.
pub(crate) fn register(pool: &'static Pool) {
    pool.register_static(&TEXT.0).unwrap();
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Out = 1,
    In = 2,
}

/// The bytes of a frame, all of which follow from its number: the header, the way, the number, and content.
pub(crate) fn bytes(way: Way, number: u32) -> Vec<u8> {
    let (to, from) = match way {
        Way::Out => (PEER, MAC),
        Way::In => (MAC, PEER),
    };
    let mut bytes = [&to.0[..], &from.0, &ETHERTYPE].concat();
    bytes.push(way as u8);
    bytes.extend(number.to_be_bytes());
    if way == Way::Out && number % 5 == 3 {
        // Some bytes from where they lie.
        let start = number as usize * 131 % 4_500;
        bytes.extend_from_slice(&TEXT.0[start..start + 1_400]);
    } else {
        let length = 60 + number as usize * 389 % 1_440;
        let content =
            (0..).map(|index: u32| (index.wrapping_mul(31) ^ number.wrapping_mul(7)) as u8);
        bytes.extend(content.take(length));
    }
    bytes.truncate(1_514);
    bytes
}

/// Which frame these are the bytes of, if all of them are right.
pub(crate) fn number(way: Way, found: &[u8]) -> Option<u32> {
    let rest = found.get(HEADER..)?;
    let ([kind, digits @ ..], _) = rest.split_first_chunk::<5>()?;
    let number = u32::from_be_bytes(*digits);
    (*kind == way as u8 && bytes(way, number) == found).then_some(number)
}

/// What became of frames, by number how often.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Frames that the device took.
    pub(crate) sent: RefCell<BTreeSet<u32>>,
    /// Frames that the wire saw.
    pub(crate) out: RefCell<BTreeMap<u32, u32>>,
    /// Frames that the wire was given for the domain.
    pub(crate) offered: Cell<u32>,
    /// Frames that came up.
    pub(crate) came: RefCell<BTreeMap<u32, u32>>,
    /// Frames on the wire, or that came up, that are no frame that was sent.
    pub(crate) strangers_out: Cell<u64>,
    pub(crate) strangers_in: Cell<u64>,
    /// Frames of those that were held on to that changed.
    pub(crate) changed: Cell<u64>,
    /// The device was given up.
    pub(crate) gone: Cell<bool>,
    stop: Cell<bool>,
    /// Tasks that have not ended.
    running: Cell<u32>,
}

impl Ledger {
    /// Sends `count` frames each way, more or less at once, and takes what comes. To be [finished](Self::finish).
    pub(crate) fn start(world: &World, count: u32) -> Rc<Self> {
        Self::start_from(world, 0, count)
    }

    pub(crate) fn start_from(world: &World, first: u32, count: u32) -> Rc<Self> {
        let ledger = Rc::new(Self::default());
        ledger.running.set(2);
        let executor = world.executor;
        let numbers = first..first + count;
        for task in [
            executor.spawn(ledger.clone().transmit(world.clone(), numbers.clone())),
            executor.spawn(ledger.clone().serve_wire(world.clone(), numbers)),
            executor.spawn(ledger.clone().receive(world.clone())),
        ] {
            task.unwrap().detach();
        }
        ledger
    }

    /// Waits until all was sent; then, with whatever faults there are, a moment more.
    pub(crate) fn wait(&self, world: &World) {
        let done = world.until(Duration::from_secs(2_000), || self.running.get() == 0);
        assert!(done, "traffic stands still: {world:?}");
        world.run_for(Duration::from_millis(50));
    }

    /// Ends its tasks: what is held is let go.
    pub(crate) fn stop(&self, world: &World) {
        self.stop.set(true);
        world.run_for(Duration::from_millis(10));
    }

    async fn transmit(self: Rc<Self>, world: World, numbers: std::ops::Range<u32>) {
        let mut netif = world.netfront;
        for number in numbers {
            while !self.transmit_one(&world, &mut netif, number).await {
                if self.gone.get() {
                    break;
                }
                world.executor.sleep(Duration::from_micros(500)).await;
            }
            if number % 3 == 0 {
                let _ = netif.flush();
            }
            if number % 16 == 0 {
                world.executor.sleep(Duration::from_micros(150)).await;
            }
        }
        let _ = netif.flush();
        self.running.set(self.running.get() - 1);
    }

    /// Whether the device took the frame.
    async fn transmit_one(&self, world: &World, netif: &mut impl Netif, number: u32) -> bool {
        let Some(frame) = frame(world.pool, number) else {
            let _ = netif.flush();
            return false;
        };
        // A link that is down is never ready: then others are to have their turn.
        let ready = poll_fn(|context| netif.poll_ready(context));
        let ready = world
            .executor
            .timeout(Duration::from_millis(5), ready)
            .await;
        if let Ok(Err(NetifError::Gone)) = ready {
            self.gone.set(true);
        }
        match netif.transmit(frame) {
            Ok(()) => {
                self.sent.borrow_mut().insert(number);
                true
            }
            Err(error) => {
                let bounded = matches!(
                    error.reason,
                    TransmitReason::Full | TransmitReason::Netif(_)
                );
                assert!(bounded, "{error}");
                false
            }
        }
    }

    async fn receive(self: Rc<Self>, world: World) {
        let mut netif = world.netfront;
        let mut held: VecDeque<(Frame, Vec<u8>)> = VecDeque::new();
        while !self.stop.get() {
            let next = poll_fn(|context| netif.poll_receive(context));
            let next = world.executor.timeout(Duration::from_millis(2), next).await;
            for (frame, copy) in &held {
                let changed = contents(frame) != *copy;
                self.changed.set(self.changed.get() + u64::from(changed));
            }
            match next {
                Ok(Ok(frame)) => {
                    let copy = contents(&frame);
                    match number(Way::In, &copy) {
                        Some(number) => {
                            *self.came.borrow_mut().entry(number).or_default() += 1;
                        }
                        None => self.strangers_in.set(self.strangers_in.get() + 1),
                    }
                    if let Ok(frame) = frame.keep() {
                        held.push_back((frame, copy));
                    }
                    if held.len() > HELD {
                        held.pop_front();
                    }
                }
                Ok(Err(NetifError::Gone)) => {
                    self.gone.set(true);
                    break;
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }

    /// What is on the other side of the wire: takes what comes, and sends.
    async fn serve_wire(self: Rc<Self>, world: World, numbers: std::ops::Range<u32>) {
        let mut numbers = numbers;
        let mut ended = false;
        while !self.stop.get() {
            while let Some(packet) = world.netback.take() {
                match number(Way::Out, &packet.bytes) {
                    Some(number) => *self.out.borrow_mut().entry(number).or_default() += 1,
                    None => self.strangers_out.set(self.strangers_out.get() + 1),
                }
            }
            // A switch that gives up nothing without need: it waits for the link, but not for ever.
            let ready = world.netback.is_connected() && world.netback.waiting() < 16;
            for _ in 0..4 {
                if !(ready || self.gone.get()) {
                    break;
                }
                match numbers.next() {
                    Some(number) => {
                        world.netback.send(Packet {
                            bytes: bytes(Way::In, number),
                            metadata: FrameMetadata::NONE,
                        });
                        self.offered.set(self.offered.get() + 1);
                    }
                    None if !ended => {
                        ended = true;
                        self.running.set(self.running.get() - 1);
                    }
                    None => {}
                }
            }
            world.executor.sleep(Duration::from_micros(200)).await;
        }
    }

    /// Frames that the device took and the wire never saw.
    pub(crate) fn lost_out(&self) -> u64 {
        let out = self.out.borrow();
        let sent = self.sent.borrow();
        sent.iter()
            .filter(|number| !out.contains_key(number))
            .count() as u64
    }

    /// Frames that the wire saw more than once.
    pub(crate) fn doubled_out(&self) -> u64 {
        self.out
            .borrow()
            .values()
            .map(|times| u64::from(*times) - 1)
            .sum()
    }

    /// Frames for the domain that never came up.
    pub(crate) fn lost_in(&self) -> u64 {
        u64::from(self.offered.get()) - self.came.borrow().len() as u64
    }

    pub(crate) fn doubled_in(&self) -> u64 {
        self.came
            .borrow()
            .values()
            .map(|times| u64::from(*times) - 1)
            .sum()
    }

    /// Every frame that isn't there is explained by somebody's counter, the domain's own or the other end's; none was changed
    /// after it came up, and none came up twice.
    pub(crate) fn check(&self, world: &World) {
        let (front, back) = (world.netfront.counters(), world.netback.counters());
        let explained_out = back.transmit_lost
            + back.transmit_dropped
            + front.transmit.partly_answered
            + front.transmit.dropped_replay;
        assert!(
            self.lost_out() <= explained_out,
            "{} frames lost, {explained_out} explained: {world:?}",
            self.lost_out()
        );
        assert!(
            self.doubled_out() <= front.transmit.replayed,
            "{} frames doubled: {world:?}",
            self.doubled_out()
        );
        // What the backend spoilt, the device dropped for just that: one of the two counts.
        let both = back
            .receive_lost
            .min(front.receive.dropped_status + front.receive.dropped_id);
        // A response of random bits may say that those after it belong to its frame: two at most are swallowed with it.
        let garbage = world.simulation.happened(Fault::RingGarbage);
        let explained_in = back.receive_dropped + back.receive_lost + back.unread + dropped(world)
            - both
            // These came with other bytes, which the other end may write until the grant is ended.
            + self.strangers_in.get()
            + 2 * garbage;
        assert!(
            self.lost_in() <= explained_in,
            "{} frames lost, {explained_in} explained, {} came twice, {} strangers: {world:?}",
            self.lost_in(),
            self.doubled_in(),
            self.strangers_in.get()
        );
        assert_eq!(self.doubled_in(), 0, "a frame came up twice: {world:?}");
        assert_eq!(
            self.changed.get(),
            0,
            "bytes that an application holds changed: {world:?}"
        );
        assert_eq!(
            self.strangers_out.get(),
            0,
            "frames on the wire that nobody sent: {world:?}"
        );
    }
}

/// Frames that the device dropped.
fn dropped(world: &World) -> u64 {
    let of = world.netfront.counters().receive;
    of.dropped_status
        + of.dropped_id
        + of.dropped_bounds
        + of.dropped_too_many_slots
        + of.dropped_still_in_use
        + of.dropped_too_long
        + of.dropped_too_short
        + of.dropped_checksum
        + of.dropped_segmentation
        + of.dropped_no_page
        + of.dropped_no_chain
        + of.dropped_disconnected
}

fn contents(frame: &Frame) -> Vec<u8> {
    let mut bytes = vec![0; frame.len()];
    frame.copy_to_slice(0, &mut bytes);
    bytes
}

/// The frame of this number: in one page, in two, or with bytes from where they lie.
fn frame(pool: &'static Pool, number: u32) -> Option<Frame> {
    let bytes = bytes(Way::Out, number);
    let split = match number % 5 {
        3 => HEADER + 5,
        4 => 40,
        _ => bytes.len(),
    };
    let (first, rest) = bytes.split_at(split);
    let mut page = pool.alloc()?;
    page.extend_from_slice(first).unwrap();
    let mut frame = Frame::from(page);
    if number % 5 == 3 {
        let start = number as usize * 131 % 4_500;
        let text: &'static [u8] = &TEXT.0[start..start + rest.len()];
        frame.push(pool.static_segment(text).unwrap()).unwrap();
    } else if !rest.is_empty() {
        let mut page = pool.alloc()?;
        page.reset(7).unwrap();
        page.extend_from_slice(rest).unwrap();
        frame.push(page).unwrap();
    }
    Some(frame)
}
