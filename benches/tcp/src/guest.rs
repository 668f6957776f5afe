//! A stack in a process of its own, on a tap of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bench_common::report::Error;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::load::port;
use crate::{mirage, network, smoltcp};

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stack {
    /// Ours; each checksum is made and verified by us.
    Mirage,
    /// Ours, with the tap's offloads.
    MirageOffload,
    /// smoltcp, on its own tap device.
    Smoltcp,
}

impl Stack {
    pub(crate) const ALL: [Self; 3] = [Self::Mirage, Self::MirageOffload, Self::Smoltcp];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mirage => "mirage, everything verified",
            Self::MirageOffload => "mirage, offloads",
            Self::Smoltcp => "smoltcp",
        }
    }

    /// Whether it is ours.
    pub(crate) const fn is_ours(self) -> bool {
        matches!(self, Self::Mirage | Self::MirageOffload)
    }
}

/// What a guest is told.
#[derive(Args)]
pub(crate) struct GuestArguments {
    /// Which stack.
    pub(crate) stack: Stack,
    /// Its tap.
    pub(crate) interface: String,
    /// Its address.
    pub(crate) address: Ipv4Addr,
    /// Octets of each direction's buffer of a connection.
    pub(crate) buffer: u32,
}

/// Runs one, until it is ended.
pub(crate) fn run(arguments: &GuestArguments) -> Result<(), Error> {
    match arguments.stack {
        Stack::Mirage => mirage::run(arguments, false),
        Stack::MirageOffload => mirage::run(arguments, true),
        Stack::Smoltcp => smoltcp::run(arguments),
    }
}

/// One that runs; ended when this is dropped.
pub(crate) struct Guest {
    stack: Stack,
    address: Ipv4Addr,
    child: Child,
}

impl Guest {
    /// Starts one, and waits until it answers.
    pub(crate) fn start(stack: Stack, number: u8, buffer: u32) -> Result<Self, Error> {
        let interface = format!("tap{number}");
        let address = Ipv4Addr::new(10, 79, number, 2);
        network::make_tap(&interface, &Ipv4Addr::new(10, 79, number, 1).to_string())?;
        let value = stack
            .to_possible_value()
            .ok_or("a stack that has no name")?
            .get_name()
            .to_owned();
        let child = Command::new(std::env::current_exe()?)
            .args(["guest", &value, &interface, &address.to_string()])
            .arg(buffer.to_string())
            .stdin(Stdio::null())
            .spawn()?;
        let mut guest = Self {
            stack,
            address,
            child,
        };
        guest.wait()?;
        Ok(guest)
    }

    /// Waits until it takes a connection.
    fn wait(&mut self) -> Result<(), Error> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let address = self.at(port::ECHO);
            match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > end => {
                    return Err(format!("{} does not answer: {error}", self.stack.name()).into());
                }
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("{} has ended: {status}", self.stack.name()).into());
            }
        }
    }

    pub(crate) const fn stack(&self) -> Stack {
        self.stack
    }

    /// One of its ports.
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
