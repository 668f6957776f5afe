//! The process on its own network stack, over one end of a veth pair by AF_XDP, with Linux at the other end.
//!
//! Each test has a network namespace of its own: its interfaces and addresses are nobody else's, and go with it.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;

use rustix::net::{AddressFamily, SocketType};

use crate::common::{Server, dig, eventually, kdig, output, program, query, run, zone};

const US: &str = "10.0.0.2";
const HOST: &str = "10.0.0.1";
/// Our end, and the kernel's.
const NAME: &str = "mirage-x0";
const PEER: &str = "mirage-x1";

#[test]
fn the_host_resolves_our_address_and_pings_us_with_every_size() {
    for mode in ["native", "generic"] {
        in_own_network(
            "the_host_resolves_our_address_and_pings_us_with_every_size",
            move || {
                let server = on_veth(&["--xdp-mode", mode]);
                let said = server.said.join("\n");
                assert!(
                    said.contains(&format!("AF_XDP on {NAME}: {mode} mode")),
                    "{said}"
                );
                assert!(said.contains("serving on 10.0.0.2:53, UDP"), "{said}");
                // Up to the MTU, 1 beyond it, and many fragments: 28 octets are headers.
                for size in ["0", "1", "56", "1472", "1473", "8000", "65507"] {
                    let arguments = ["-c", "2", "-i", "0.2", "-W", "20", "-s", size, US];
                    let text = run("ping", "iputils-ping", &arguments);
                    assert!(
                        text.contains("2 received") && text.contains(" 0% packet loss"),
                        "{size}: {text}"
                    );
                }
                let (_, status) = server.interrupt();
                assert!(status.success(), "{status}");
            },
        );
    }
}

#[test]
fn dig_and_kdig_are_answered() {
    for mode in ["native", "generic"] {
        in_own_network("dig_and_kdig_are_answered", move || {
            let server = on_veth(&["--xdp-mode", mode]);
            let at = address();
            assert_eq!(dig(at, &["+short", "www.test.example"]), "192.0.2.1\n");
            let missing = dig(at, &["none.test.example"]);
            assert!(missing.contains("status: NXDOMAIN"), "{missing}");
            let truncated = dig(at, &["+ignore", "large.test.example", "TXT"]);
            assert!(truncated.contains("flags: qr aa tc rd;"), "{truncated}");
            let kdig = kdig(at, &["www.test.example", "AAAA"]);
            assert!(
                kdig.contains("2001:db8::1") && kdig.contains("(UDP)"),
                "{kdig}"
            );
            let (text, status) = server.interrupt();
            assert!(status.success(), "{status}");
            assert!(
                text.contains("udp-queries") && text.contains("nxdomain"),
                "{text}"
            );
        });
    }
}

#[test]
fn a_hundred_thousand_queries_lose_none_and_every_page_returns() {
    in_own_network(
        "a_hundred_thousand_queries_lose_none_and_every_page_returns",
        || {
            let folder = tempfile::tempdir().expect("a folder");
            let log = folder.path().join("log");
            let mut command = command(&["-v"]);
            command.stderr(std::fs::File::create(&log).expect("a file"));
            let server = Server::launch(command);
            let questions = folder.path().join("questions");
            std::fs::write(
                &questions,
                "www.test.example A\nnone.test.example A\nalias.test.example A\n",
            )
            .expect("written");
            // At most 100 wait for their answers: fewer than there are pages to receive into, so that none need be lost however
            // slow the machine is.
            let text = run(
                "dnsperf",
                "dnsperf",
                &[
                    "-s",
                    US,
                    "-d",
                    questions.to_str().expect("UTF-8"),
                    "-n",
                    "33334",
                    "-Q",
                    "10000",
                    "-q",
                    "100",
                    "-t",
                    "60",
                ],
            );
            let line = |what: &str| {
                let line = text.lines().find_map(|line| line.trim().strip_prefix(what));
                line.unwrap_or_else(|| panic!("no {what} in {text}"))
                    .trim()
                    .to_string()
            };
            assert_eq!(line("Queries sent:"), "100002");
            assert!(line("Queries completed:").starts_with("100002 "), "{text}");
            assert!(line("Queries lost:").starts_with("0 "), "{text}");
            let (_, status) = server.interrupt();
            assert!(status.success(), "{status}");
            let log = std::fs::read_to_string(&log).expect("the log");
            // All but those that the kernel has to receive into.
            assert!(log.contains("768 of 1024 pages free"), "{log}");
            for counter in [
                "bad_descriptors: 0",
                "dropped_no_page: 0",
                "kernel_dropped: 0",
                "kernel_invalid: 0",
                "transmit_full: 0",
                "transmit_copied: 0",
                "quarantined: 0",
            ] {
                assert!(log.contains(counter), "{counter}: {log}");
            }
        },
    );
}

#[test]
fn an_interface_that_goes_down_and_up_under_it_is_served_again() {
    in_own_network(
        "an_interface_that_goes_down_and_up_under_it_is_served_again",
        || {
            let server = on_veth(&[]);
            assert_eq!(
                dig(address(), &["+short", "www.test.example"]),
                "192.0.2.1\n"
            );
            for end in [NAME, PEER, NAME] {
                run("ip", "iproute2", &["link", "set", end, "down"]);
                run("ip", "iproute2", &["link", "set", end, "up"]);
                assert_eq!(
                    dig(address(), &["+short", "www.test.example"]),
                    "192.0.2.1\n"
                );
            }
            let (_, status) = server.interrupt();
            assert!(status.success(), "{status}");
        },
    );
}

#[test]
fn an_interface_that_is_deleted_under_it_ends_it_with_an_error() {
    in_own_network(
        "an_interface_that_is_deleted_under_it_ends_it_with_an_error",
        || {
            let server = on_veth(&[]);
            run("ip", "iproute2", &["link", "del", NAME]);
            let (text, status) = server.ended();
            assert_eq!(status.code(), Some(1), "{text}");
        },
    );
}

#[test]
fn the_interface_is_the_kernel_s_again_after_a_violent_end() {
    in_own_network(
        "the_interface_is_the_kernel_s_again_after_a_violent_end",
        || {
            let server = on_veth(&[]);
            let attached = run("ip", "iproute2", &["link", "show", "dev", NAME]);
            assert!(attached.contains("prog/xdp"), "{attached}");
            server.end_by(rustix::process::Signal::KILL);
            eventually("the program is detached", || {
                let link = run("ip", "iproute2", &["link", "show", "dev", NAME]);
                (!link.contains("prog/xdp")).then_some(())
            });
            // Nothing is in its way when it starts again.
            let server = on_veth(&[]);
            assert_eq!(
                dig(address(), &["+short", "www.test.example"]),
                "192.0.2.1\n"
            );
            server.interrupt();
        },
    );
}

#[test]
fn checksums_that_the_sender_leaves_out_are_told_and_not_answered() {
    in_own_network(
        "checksums_that_the_sender_leaves_out_are_told_and_not_answered",
        || {
            let folder = tempfile::tempdir().expect("a folder");
            let log = folder.path().join("log");
            let mut command = command(&[]);
            command.stderr(std::fs::File::create(&log).expect("a file"));
            let server = Server::launch(command);
            set_transmit_checksum_offload(PEER, true);
            let host = UdpSocket::bind((HOST, 0)).expect("a port");
            let query = query(7, "www.test.example", 1);
            eventually("a warning that says what to do", || {
                host.send_to(&query, address()).expect("sent");
                let log = std::fs::read_to_string(&log).expect("the log");
                log.contains("ethtool -K PEER tx off").then_some(())
            });
            host.set_nonblocking(true).expect("a socket");
            assert!(
                host.recv(&mut [0; 512]).is_err(),
                "what can't be verified is not answered"
            );
            server.interrupt();
        },
    );
}

#[test]
fn what_is_missing_is_told_with_what_to_do() {
    in_own_network("what_is_missing_is_told_with_what_to_do", || {
        let refused = |more: &[&str]| {
            let output = command(more).output().expect("the program");
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.code(), error)
        };
        let (code, error) = refused(&["--mac", "02:00:00:00:00:02"]);
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains("ip link set mirage-x0 address"), "{error}");
        let server = on_veth(&[]);
        let (code, error) = refused(&[]);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains("another socket of AF_XDP"), "{error}");
        server.interrupt();
        run("ip", "iproute2", &["link", "set", NAME, "down"]);
        let (code, error) = refused(&[]);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains("ip link set mirage-x0 up"), "{error}");
        run("ip", "iproute2", &["link", "del", NAME]);
        let (code, error) = refused(&[]);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains("there is no interface mirage-x0"), "{error}");
    });
}

fn address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 2], 53))
}

fn on_veth(more: &[&str]) -> Server {
    Server::launch(command(more))
}

fn command(more: &[&str]) -> Command {
    let (net, ip, zone) = (
        format!("xdp={NAME}"),
        format!("{US}/24"),
        zone("test.example.zone"),
    );
    let mut arguments = vec!["--net", &net, "--ip", &ip, "--zone", &zone];
    arguments.extend(more);
    program(&arguments)
}

/// Runs `test` in a network of its own, with a pair of interfaces, where there is AF_XDP.
fn in_own_network(name: &str, test: impl FnOnce() + Send + 'static) {
    let missing = || {
        let socket = rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None);
        if let Err(error) = socket {
            return Some(format!("no AF_XDP: {error}"));
        }
        let pair = ["link", "add", NAME, "type", "veth", "peer", "name", PEER];
        let made = output("ip", "iproute2", &pair);
        (!made.status.success()).then(|| String::from_utf8_lossy(&made.stderr).into_owned())
    };
    network_namespace::run_test(name, missing, || {
        set_transmit_checksum_offload(PEER, false);
        let host = format!("{HOST}/24");
        run("ip", "iproute2", &["address", "add", &host, "dev", PEER]);
        for end in [PEER, NAME] {
            run("ip", "iproute2", &["link", "set", end, "up"]);
        }
        test();
    });
}

/// What `ethtool -K NAME tx on` and `off` do.
fn set_transmit_checksum_offload(name: &str, on: bool) {
    /// `ETHTOOL_STXCSUM` of linux/ethtool.h.
    const SET_TRANSMIT_CHECKSUM: u32 = 0x17;
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let mut request = [SET_TRANSMIT_CHECKSUM, on.into()];
    // SAFETY: an ifreq is integers and pointers that may be null: zeros are a value.
    let mut interface: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in interface.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    interface.ifr_ifru.ifru_data = request.as_mut_ptr().cast();
    // SAFETY: SIOCETHTOOL reads an ifreq, whose name is shorter than its place and whose data points to a command of two words;
    // both outlive the call.
    let result = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCETHTOOL as _,
            &raw mut interface,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
