//! smoltcp on its own tap device, and what it serves.

use std::os::fd::AsRawFd;

use bench_common::report::Error;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Medium, TunTapInterface, wait};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

use crate::guest::GuestArguments;
use crate::load::port;

/// Sockets that listen on each port: as many connections as there are at once, and a few that are being opened.
const SOCKETS: [(u16, usize); 3] = [(port::SINK, 16), (port::SOURCE, 16), (port::ECHO, 32)];

/// Runs it; it doesn't end by itself.
pub(crate) fn run(arguments: &GuestArguments) -> Result<(), Error> {
    let mut device = TunTapInterface::new(&arguments.interface, Medium::Ethernet)?;
    let descriptor = device.as_raw_fd();
    let mac = EthernetAddress([0x02, 0x79, 0, 0, 0, 2]);
    let mut config = Config::new(HardwareAddress::Ethernet(mac));
    config.random_seed = 0x7ead_beef_0bad_cafe;
    let mut interface = Interface::new(config, &mut device, Instant::now());
    let address = IpAddress::from(arguments.address);
    let mut full = false;
    interface.update_ip_addrs(|addresses| {
        full = addresses.push(IpCidr::new(address, 24)).is_err();
    });
    if full {
        return Err("smoltcp takes no address".into());
    }
    let mut sockets = SocketSet::new(Vec::new());
    let mut served: Vec<(u16, SocketHandle)> = Vec::new();
    for (port, count) in SOCKETS {
        for _ in 0..count {
            let buffer = || SocketBuffer::new(vec![0; arguments.buffer as usize]);
            let mut socket = Socket::new(buffer(), buffer());
            socket.set_nagle_enabled(false);
            // Whatever another package of the workspace has its features be.
            socket.set_congestion_control(CongestionControl::None);
            served.push((port, sockets.add(socket)));
        }
    }
    loop {
        let now = Instant::now();
        interface.poll(now, &mut device, &mut sockets);
        for &(port, handle) in &served {
            serve(port, sockets.get_mut(handle))?;
        }
        let delay = interface.poll_delay(Instant::now(), &sockets);
        if delay != Some(Duration::ZERO) {
            wait(descriptor, delay)?;
        }
    }
}

/// Does what a socket's port is for; one that was closed listens again. Nothing is copied here.
fn serve(port: u16, socket: &mut Socket<'_>) -> Result<(), Error> {
    if matches!(socket.state(), State::Closed | State::TimeWait) {
        socket.abort();
        socket
            .listen(port)
            .map_err(|error| format!("smoltcp does not listen: {error:?}"))?;
        return Ok(());
    }
    // A peer that resets is no error of ours.
    match port {
        port::SINK => while socket.can_recv() && socket.recv(|bytes| (bytes.len(), ())).is_ok() {},
        port::SOURCE => {
            while socket.can_send() && socket.send(|bytes| (bytes.len(), ())).is_ok() {}
        }
        _ => {
            while socket.can_recv() && socket.can_send() {
                let mut bytes = [0; 2_048];
                let Ok(count) = socket.recv_slice(&mut bytes) else {
                    break;
                };
                let _ = socket.send_slice(&bytes[..count]);
            }
        }
    }
    if socket.state() == State::CloseWait && !socket.can_recv() {
        socket.close();
    }
    Ok(())
}
