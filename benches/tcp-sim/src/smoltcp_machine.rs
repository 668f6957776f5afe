//! A machine with smoltcp.

use std::collections::VecDeque;

use bench_common::report::Error;
use mirage_core::Instant;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Checksum, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as Time;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

pub(crate) use smoltcp::socket::tcp::CongestionControl;

use crate::link::Wire;
use crate::machine::{Machine, Role, fill, is_stream};

/// The receiver's; the sender's is the next one.
const PORT: u16 = 1;

/// A machine.
pub(crate) struct Smoltcp {
    interface: Interface,
    device: Queues,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    role: Role,
    begun: bool,
    /// Octets written, or read.
    done: u64,
    wrong: bool,
}

/// What has arrived, and what is to be sent.
#[derive(Default)]
struct Queues {
    arrived: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
}

impl Smoltcp {
    pub(crate) fn new(
        role: Role,
        buffer: usize,
        congestion: CongestionControl,
        seed: u64,
        now: Instant,
    ) -> Result<Self, Error> {
        let own = match role {
            Role::Receiver => 1,
            Role::Sender => 2,
        };
        let mac = EthernetAddress([2, 0, 0, 0, 0, own]);
        let mut device = Queues::default();
        let mut config = Config::new(HardwareAddress::Ethernet(mac));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, time(now));
        interface.update_ip_addrs(|addresses| {
            // There is room for one.
            let _ = addresses.push(IpCidr::new(IpAddress::v4(10, 0, 0, own), 24));
        });
        let storage = || tcp::SocketBuffer::new(vec![0; buffer]);
        let mut socket = tcp::Socket::new(storage(), storage());
        socket.set_congestion_control(congestion);
        let mut sockets = SocketSet::new(Vec::new());
        Ok(Smoltcp {
            interface,
            device,
            socket: sockets.add(socket),
            sockets,
            role,
            begun: false,
            done: 0,
            wrong: false,
        })
    }

    fn application(&mut self) {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.socket);
        if !self.begun {
            self.begun = true;
            let context = self.interface.context();
            let opened = match self.role {
                Role::Receiver => socket.listen(PORT).is_ok(),
                Role::Sender => {
                    let remote = (IpAddress::v4(10, 0, 0, 1), PORT);
                    socket.connect(context, remote, PORT + 1).is_ok()
                }
            };
            self.wrong |= !opened;
        }
        match self.role {
            Role::Receiver => {
                while socket.can_recv() {
                    let done = self.done;
                    let read =
                        socket.recv(|bytes| (bytes.len(), (bytes.len(), is_stream(done, bytes))));
                    let Ok((count, right)) = read else {
                        break;
                    };
                    self.done += count as u64;
                    self.wrong |= !right;
                }
            }
            Role::Sender => {
                while socket.can_send() {
                    let done = self.done;
                    let written = socket.send(|bytes| {
                        fill(done, bytes);
                        (bytes.len(), bytes.len())
                    });
                    let Ok(count) = written else {
                        break;
                    };
                    self.done += count as u64;
                }
            }
        }
    }
}

impl Machine for Smoltcp {
    fn turn(&mut self, now: Instant, wire: &mut Wire, send: &mut dyn FnMut(Vec<u8>)) {
        while let Some(frame) = wire.receive(now) {
            self.device.arrived.push_back(frame);
        }
        self.interface
            .poll(time(now), &mut self.device, &mut self.sockets);
        self.application();
        self.device.sent.drain(..).for_each(send);
    }

    fn next(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(time(now), &self.sockets)?;
        let micros = u64::try_from(at.total_micros()).unwrap_or(0);
        Some(Instant::from_micros(micros))
    }

    fn received(&self) -> u64 {
        match self.role {
            Role::Sender => 0,
            Role::Receiver => self.done,
        }
    }

    fn complaint(&self) -> Option<String> {
        self.wrong.then(|| "the bytes are others".into())
    }
}

/// In whole microseconds, which is what smoltcp counts.
fn time(now: Instant) -> Time {
    Time::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

impl Device for Queues {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Sent<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.max_transmission_unit = 1_514;
        capabilities.medium = Medium::Ethernet;
        // Every one is computed, and every one verified.
        capabilities.checksum.ipv4 = Checksum::Both;
        capabilities.checksum.tcp = Checksum::Both;
        capabilities
    }

    fn receive(&mut self, _now: Time) -> Option<(Arrived, Sent<'_>)> {
        let frame = self.arrived.pop_front()?;
        Some((Arrived(frame), Sent(&mut self.sent)))
    }

    fn transmit(&mut self, _now: Time) -> Option<Sent<'_>> {
        Some(Sent(&mut self.sent))
    }
}

struct Arrived(Vec<u8>);

impl phy::RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

struct Sent<'a>(&'a mut Vec<Vec<u8>>);

impl phy::TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, give: F) -> R {
        let mut frame = vec![0; length];
        let result = give(&mut frame);
        self.0.push(frame);
        result
    }
}
