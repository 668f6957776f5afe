//! The process on its own network stack with an address by DHCP, of dnsmasq at the other end of the tap.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Server, client, dig, eventually, output, program, run, zone};

const NAME: &str = "mirage0";
const MAC: &str = "02:00:00:00:00:02";

#[test]
fn it_serves_at_the_address_of_its_lease_and_gives_it_back() {
    in_own_network(
        "it_serves_at_the_address_of_its_lease_and_gives_it_back",
        || {
            let folder = tempfile::tempdir().expect("a folder");
            let leases = folder.path().join("leases");
            prepare("10.0.0.1/24");
            let _dnsmasq = Dnsmasq::start("10.0.0", &leases, &[]);
            let server = Server::launch(command());
            let address = address(&server);
            assert_eq!(address.octets()[..3], [10, 0, 0]);
            let said = server.said.join("\n");
            assert!(
                said.contains("asking for an address by DHCP with MAC 02:00:00:00:00:02"),
                "{said}"
            );
            let lease = format!("lease: {address}/24 from 10.0.0.1 for 3600 s, gateway 10.0.0.1");
            assert!(said.contains(&lease), "{said}");
            assert!(said.contains(&format!("serving on {address}:53")), "{said}");
            answers(address);
            assert!(kept(&leases).contains(&address.to_string()));
            let (_, status) = server.interrupt();
            assert!(status.success(), "{status}");
            eventually("the lease was given back", || {
                kept(&leases).trim().is_empty().then_some(())
            });
        },
    );
}

#[test]
fn a_kept_lease_is_not_given_back_and_asked_for_at_the_next_start() {
    in_own_network(
        "a_kept_lease_is_not_given_back_and_asked_for_at_the_next_start",
        || {
            let folder = tempfile::tempdir().expect("a folder");
            let (leases, state) = (folder.path().join("leases"), folder.path().join("state"));
            std::fs::create_dir(&state).expect("a folder");
            prepare("10.0.0.1/24");
            let _dnsmasq = Dnsmasq::start("10.0.0", &leases, &[]);
            let launch = || {
                let mut command = command();
                command.arg("--lease").arg(&state);
                Server::launch(command)
            };
            let server = launch();
            let before = address(&server);
            answers(before);
            server.interrupt();
            assert!(kept(&leases).contains(&before.to_string()));
            // Of another range than before: whoever only looks for servers gets an address of that.
            assert_eq!(asked(&leases), (1, 1));
            let server = launch();
            assert_eq!(address(&server), before);
            answers(before);
            // It didn't look for servers: it asked for what it had had.
            assert_eq!(asked(&leases), (1, 2));
            server.interrupt();
        },
    );
}

#[test]
fn without_a_server_it_says_so_asks_on_and_serves_once_there_is_one() {
    in_own_network(
        "without_a_server_it_says_so_asks_on_and_serves_once_there_is_one",
        || {
            let folder = tempfile::tempdir().expect("a folder");
            let leases = folder.path().join("leases");
            let log = folder.path().join("log");
            prepare("10.0.0.1/24");
            let mut command = command();
            command.stderr(std::fs::File::create(&log).expect("a file"));
            // A thread is in its maker's network.
            let later = std::thread::spawn({
                let leases = leases.clone();
                move || {
                    eventually("it says that nobody answers", || {
                        let log = std::fs::read_to_string(&log).expect("the log");
                        log.contains("no DHCP server answers").then_some(())
                    });
                    Dnsmasq::start("10.0.0", &leases, &[])
                }
            });
            let server = Server::launch(command);
            let _dnsmasq = later.join().expect("dnsmasq");
            answers(address(&server));
            server.interrupt();
        },
    );
}

#[test]
fn while_nobody_answers_ctrl_c_ends_it_at_once() {
    in_own_network("while_nobody_answers_ctrl_c_ends_it_at_once", || {
        prepare("10.0.0.1/24");
        let mut child = command()
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        // Its first question is on the wire: it is past its beginning.
        eventually("it has asked", || {
            let text = run("ip", "iproute2", &["-s", "link", "show", "dev", NAME]);
            let mut lines = text.lines().skip_while(|line| !line.contains("RX:"));
            let received = lines.nth(1)?.split_whitespace().nth(1)?;
            (received != "0").then_some(())
        });
        kill_process(Pid::from_child(&child), Signal::TERM).expect("the system lets us");
        let status = child.wait().expect("its end");
        assert!(status.success(), "{status}");
    });
}

#[test]
fn on_another_network_the_lease_is_refused_and_another_one_served_at() {
    in_own_network(
        "on_another_network_the_lease_is_refused_and_another_one_served_at",
        || {
            let folder = tempfile::tempdir().expect("a folder");
            let leases = folder.path().join("leases");
            let log = folder.path().join("log");
            prepare("10.0.0.1/24");
            let first = Dnsmasq::start(
                "10.0.0",
                &leases,
                &["--dhcp-option=option:T1,6", "--dhcp-option=option:T2,12"],
            );
            let mut command = command();
            command.stderr(std::fs::File::create(&log).expect("a file"));
            let server = Server::launch(command);
            let before = address(&server);
            answers(before);
            drop(first);
            let other = folder.path().join("other");
            run("ip", "iproute2", &["address", "flush", "dev", NAME]);
            run(
                "ip",
                "iproute2",
                &["address", "add", "10.0.1.1/24", "dev", NAME],
            );
            let _second = Dnsmasq::start("10.0.1", &other, &[]);
            // The first server is not there to renew the lease; the second one hears that it is to be prolonged by anybody.
            let now = eventually("another lease", || {
                let text = kept(&other);
                let word = text.split_whitespace().nth(2)?;
                word.parse::<Ipv4Addr>().ok()
            });
            assert_eq!(now.octets()[..3], [10, 0, 1]);
            // It looks first whether somebody else has the address.
            let to = now.to_string();
            eventually("the address is its own", || {
                let ping = output("ping", "iputils-ping", &["-c", "1", "-W", "1", &to]);
                ping.status.success().then_some(())
            });
            answers(now);
            let said = std::fs::read_to_string(&log).expect("the log");
            let lost = format!("the lease of {before} is over: a server refused it");
            assert!(said.contains(&lost), "{said}");
            server.interrupt();
        },
    );
}

/// A tap that is there already, with an address for the host's side, and the route that answers take.
fn prepare(host: &str) {
    let add = ["tuntap", "add", "dev", NAME, "mode", "tap"];
    run("ip", "iproute2", &add);
    run("ip", "iproute2", &["address", "add", host, "dev", NAME]);
    run("ip", "iproute2", &["link", "set", NAME, "up"]);
}

fn command() -> Command {
    let (net, zone) = (format!("tap={NAME}"), zone("test.example.zone"));
    program(&["--net", &net, "--ip", "dhcp", "--mac", MAC, "--zone", &zone])
}

/// The address in what it says to try.
fn address(server: &Server) -> Ipv4Addr {
    let line = server.said.last().expect("a line");
    let word = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix('@'));
    word.expect("an address").parse().expect("an address")
}

fn answers(address: Ipv4Addr) {
    let at = SocketAddr::from((address, 53));
    assert_eq!(dig(at, &["+short", "www.test.example"]), "192.0.2.1\n");
}

/// dnsmasq's file of leases.
fn kept(leases: &Path) -> String {
    std::fs::read_to_string(leases).unwrap_or_default()
}

/// How often dnsmasq was looked for, and how often it was asked for an address, by its log.
fn asked(leases: &Path) -> (usize, usize) {
    let log = std::fs::read_to_string(leases.with_extension("log")).expect("the log");
    let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    (count("DHCPDISCOVER("), count("DHCPREQUEST("))
}

/// dnsmasq, ended when it is dropped.
struct Dnsmasq(Child);

impl Dnsmasq {
    /// On the tap, with ten addresses of a network of 24 bits.
    fn start(network: &str, leases: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(client("dnsmasq", "dnsmasq-base"));
        command
            .args(["--keep-in-foreground", "--dhcp-authoritative"])
            .args([
                "--conf-file=/dev/null",
                "--pid-file=",
                "--port=0",
                "--user=root",
            ])
            .args(["--bind-interfaces", "--except-interface=lo", "--no-ping"])
            .arg(format!("--interface={NAME}"))
            .arg(format!(
                "--dhcp-range={network}.50,{network}.59,255.255.255.0,1h"
            ))
            .arg(format!("--dhcp-leasefile={}", leases.display()))
            .arg(format!(
                "--log-facility={}",
                leases.with_extension("log").display()
            ))
            .args(more)
            .stdin(Stdio::null());
        let mut child = command.spawn().expect("dnsmasq");
        eventually("dnsmasq is there", || {
            assert_eq!(child.try_wait().expect("its state"), None, "it ended");
            let log = std::fs::read_to_string(leases.with_extension("log")).ok()?;
            log.contains("sockets bound").then_some(())
        });
        Self(child)
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `test` in a network of its own, where there are taps.
fn in_own_network(name: &str, test: impl FnOnce() + Send + 'static) {
    network_namespace::run_test(name, network_namespace::what_a_tap_lacks, test);
}
