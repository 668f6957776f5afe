//! What tests against other people's programs share: a network namespace of their own, our stack on a tap in it, and the programs.
//!
//! Only here a platform and a protocol meet outside of an appliance.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mirage_core::executor::Executor;
use mirage_core::{MacAddress, Pool};
use mirage_host::{HostPlatform, SystemRng, Tap, TapConfig};
use mirage_net::tcp::{TcpCapacities, TcpStorage};
use mirage_net::{Capacities, SharedStack, Stack, StackConfig, StackStorage, WakerSlot};
use rustix::process::{Pid, Signal, kill_process};

/// More than anything here takes on any machine.
pub const LONG: Duration = Duration::from_secs(60);

/// Runs `test` in a network of its own, where there are taps.
pub fn in_own_network(name: &str, test: impl FnOnce() + Send + 'static) {
    network_namespace::run_test(name, network_namespace::what_a_tap_lacks, test);
}

/// A program: the environment's `MIRAGE_NAME`, or the one on PATH.
///
/// # Panics
/// When there is none: it says which package has it.
pub fn program(name: &str, package: &str) -> Command {
    let variable = format!("MIRAGE_{}", name.to_uppercase());
    if let Some(path) = std::env::var_os(&variable) {
        return Command::new(path);
    }
    let path: OsString = std::env::var_os("PATH").unwrap_or_default();
    // Servers are in the folders for administration, which are not on every user's path.
    let found: Option<PathBuf> = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    match found {
        Some(path) => Command::new(path),
        None => panic!(
            "`{name}` is not on PATH: `cargo mirage test` fetches it by itself; else install Debian's package {package}, or set \
             {variable} to the program"
        ),
    }
}

/// Runs a program to its end.
///
/// # Panics
/// When it fails.
pub fn run(name: &str, package: &str, arguments: &[&str]) {
    let status = program(name, package)
        .args(arguments)
        .status()
        .expect("the program");
    assert!(status.success(), "{name} {arguments:?}: {status}");
}

/// A program that runs, ended when this is dropped.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts it.
    ///
    /// # Panics
    /// When it doesn't start.
    pub fn start(command: &mut Command) -> Self {
        Self(
            command
                .stdin(Stdio::null())
                .spawn()
                .expect("the program starts"),
        )
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Panics
    /// When the system doesn't let us.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).expect("the system lets us");
    }

    /// Whether it has ended, and how.
    ///
    /// # Panics
    /// When the system doesn't say.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.0.try_wait().expect("a child's state")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Our stack on a tap, driven by an executor of its own.
#[derive(Debug)]
pub struct Machine {
    /// What it runs on.
    pub executor: &'static Executor,
    /// Its clock.
    pub platform: &'static HostPlatform,
    /// The stack.
    pub shared: &'static SharedStack<'static>,
}

impl Machine {
    /// A stack without an address, on a tap of this name, whose other end has the host's address.
    ///
    /// # Panics
    /// When the system refuses any of it.
    pub fn on_tap(name: &str, mac: MacAddress, host: Option<(Ipv4Addr, u8)>) -> Self {
        let platform = HostPlatform::leak().expect("a platform");
        Self::on(platform, Executor::leak(platform), name, mac, host)
    }

    /// Another one, on a tap of its own, which the same executor drives: while one waits for something, so does the other.
    ///
    /// # Panics
    /// When the system refuses any of it.
    #[must_use]
    pub fn another(&self, name: &str, mac: MacAddress, host: Option<(Ipv4Addr, u8)>) -> Self {
        Self::on(self.platform, self.executor, name, mac, host)
    }

    fn on(
        platform: &'static HostPlatform,
        executor: &'static Executor,
        name: &str,
        mac: MacAddress,
        host: Option<(Ipv4Addr, u8)>,
    ) -> Self {
        let mut config = TapConfig::new(name);
        config.host_address = host;
        config.mac = Some(mac);
        let pool = Pool::leak(1_024, 2_048).expect("a pool");
        Self::driven_by(platform, executor, config, pool)
    }

    /// A stack without an address, on a tap and a pool.
    ///
    /// # Panics
    /// When the system refuses any of it.
    pub fn with(config: TapConfig, pool: &'static Pool) -> Self {
        let platform = HostPlatform::leak().expect("a platform");
        Self::driven_by(platform, Executor::leak(platform), config, pool)
    }

    fn driven_by(
        platform: &'static HostPlatform,
        executor: &'static Executor,
        config: TapConfig,
        pool: &'static Pool,
    ) -> Self {
        let mut tap = Tap::open(platform, pool, config).expect("a tap");
        let mut rng = SystemRng::new().expect("randomness");
        let storage = StackStorage::allocate(&Capacities::default())
            .with_tcp(TcpStorage::allocate(&TcpCapacities::default()));
        let now = mirage_core::Clock::now(platform);
        let config = StackConfig::for_netif(&tap);
        let stack = Stack::new(config, storage, pool, now, &mut rng).expect("a stack");
        let wakers: Vec<_> = (0..stack.udp_capacity())
            .map(|_| WakerSlot::EMPTY)
            .collect();
        let shared = SharedStack::new(
            stack,
            platform,
            &mut Box::leak(wakers.into_boxed_slice())[..],
        );
        let shared: &'static SharedStack<'static> = Box::leak(Box::new(shared));
        let driving = async move { shared.run(&mut tap, executor).await };
        executor.spawn(driving).expect("a task").detach();
        Self {
            executor,
            platform,
            shared,
        }
    }

    /// Lets the machine run until something is so.
    ///
    /// # Panics
    /// When it isn't so within a minute.
    pub fn run_until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let end = mirage_core::Clock::now(self.platform) + LONG;
        while !is_so() {
            assert!(
                mirage_core::Clock::now(self.platform) < end,
                "{what}: not within a minute"
            );
            self.executor
                .run_until(self.executor.sleep(Duration::from_millis(20)));
        }
    }
}
