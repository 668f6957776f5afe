//! DHCP with dnsmasq as the server, and with busybox's udhcpc as the client.

use std::cell::RefCell;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mirage_core::kv::Key;
use mirage_core::{Clock, MacAddress};
use mirage_host::{DirectoryStore, SystemRng};
use mirage_net::{
    ConflictConfig, DhcpClient, DhcpClientConfig, DhcpClientState, DhcpLeaseKind, DhcpLeaseSlot,
    DhcpProbeSlot, DhcpRecord, DhcpServer, DhcpServerConfig, DhcpServerNotice, DhcpSubnet,
    SharedDhcpClient, UdpOptions, dhcp_inform, serve_dhcp,
};
use peer_tests::{Machine, Running, in_own_network, program, run};

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

fn dnsmasq(interface: &str, leases: &Path, range: &str) -> Running {
    let mut command = program("dnsmasq", "dnsmasq-base");
    command
        .args(["--keep-in-foreground", "--log-facility=-", "--dhcp-authoritative"])
        .args(["--conf-file=/dev/null", "--pid-file=", "--port=0", "--user=root"])
        .args(["--bind-interfaces", "--except-interface=lo", "--no-ping"])
        .args(["--dhcp-option=option:mtu,1400", "--domain=example.org"])
        .args(["--dhcp-option=option:dns-server,10.77.0.3,10.77.0.4"])
        .args(["--dhcp-option=option:ntp-server,10.77.0.5"])
        .args(["--dhcp-option=option:classless-static-route,192.0.2.0/24,10.77.0.9,0.0.0.0/0,10.77.0.1"])
        .arg(format!("--interface={interface}"))
        .arg(format!("--dhcp-range={range}"))
        .arg(format!("--dhcp-leasefile={}", leases.display()));
    Running::start(&mut command)
}

fn start(
    machine: &Machine,
    change: impl FnOnce(&mut DhcpClientConfig),
) -> &'static SharedDhcpClient {
    let mut config = DhcpClientConfig::new(MAC);
    config.host_name = Some("our-host".try_into().unwrap());
    change(&mut config);
    let client = DhcpClient::new(config, &mut SystemRng::new().unwrap());
    let client: &'static SharedDhcpClient = Box::leak(Box::new(SharedDhcpClient::new(client)));
    let (shared, executor) = (machine.shared, machine.executor);
    let running = async move {
        let notify = |notice| eprintln!("{notice:?}");
        let ended = client
            .run(shared, executor, ConflictConfig::quick(), notify)
            .await;
        panic!("the client ended: {ended:?}");
    };
    executor.spawn(running).unwrap().detach();
    client
}

#[test]
fn dnsmasq_gives_our_client_a_lease_knows_it_again_and_takes_it_back() {
    in_own_network(
        "dnsmasq_gives_our_client_a_lease_knows_it_again_and_takes_it_back",
        || {
            let folder = tempfile::tempdir().unwrap();
            let leases = folder.path().join("leases");
            let host = Ipv4Addr::new(10, 77, 0, 1);
            let machine = Machine::on_tap("dhcp-tap0", MAC, Some((host, 24)));
            let range = "10.77.0.50,10.77.0.59,255.255.255.0,1h";
            let _server = dnsmasq("dhcp-tap0", &leases, range);
            let client = start(&machine, |_| {});
            let limit = machine
                .executor
                .timeout(peer_tests::LONG, client.configured());
            let lease = machine.executor.run_until(limit).expect("a lease");
            assert!((50..60).contains(&lease.address.octets()[3]), "{lease:?}");
            assert_eq!((lease.prefix_len, lease.server), (24, host));
            assert_eq!(lease.duration, Some(Duration::from_secs(3_600)));
            assert_eq!(lease.parameters.resolvers.len(), 2);
            assert_eq!(
                lease.parameters.ntp_servers[..],
                [Ipv4Addr::new(10, 77, 0, 5)]
            );
            assert_eq!(lease.parameters.domain.as_deref(), Some("example.org"));
            assert_eq!(lease.parameters.mtu, Some(1_400));
            assert_eq!(lease.parameters.classless_routes.len(), 2);
            let file = fs::read_to_string(&leases).unwrap();
            assert!(file.contains(&lease.address.to_string()), "{file}");
            assert!(file.contains("our-host"), "{file}");
            // The address works.
            let theirs = UdpSocket::bind((host, 0)).unwrap();
            theirs.set_nonblocking(true).unwrap();
            let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            let ours = machine.shared.udp_bind(UdpOptions::bind(any)).unwrap();
            let to = Some(theirs.local_addr().unwrap());
            machine
                .executor
                .run_until(ours.send(to, b"hello"))
                .expect("sent");
            let mut buffer = [0; 16];
            let mut heard = None;
            machine.run_until("a datagram", || {
                heard = theirs.recv_from(&mut buffer).ok();
                heard.is_some()
            });
            let (length, from) = heard.unwrap();
            assert_eq!(
                (&buffer[..length], from.ip()),
                (&b"hello"[..], lease.address.into())
            );
            // The cable is pulled and plugged in: INIT-REBOOT, and dnsmasq knows us.
            let now = machine.platform.now();
            client.with(|client| {
                client.handle_link(now, false);
                client.handle_link(now, true);
            });
            let counters = || client.with(|client| client.counters()).unwrap();
            machine.run_until("an answer to INIT-REBOOT", || counters().acknowledged == 2);
            let state = client.with(|client| client.state()).unwrap();
            assert_eq!(state, DhcpClientState::Bound);
            // It goes back, and comes again.
            let now = machine.platform.now();
            client.with(|client| client.release(now));
            machine.run_until("an empty file of leases", || {
                let file = fs::read_to_string(&leases).unwrap_or_default();
                !file.contains(&lease.address.to_string())
            });
            let now = machine.platform.now();
            client.with(|client| client.start(now));
            let limit = machine
                .executor
                .timeout(peer_tests::LONG, client.configured());
            let again = machine.executor.run_until(limit).expect("a lease");
            assert_eq!(again.address, lease.address);
            assert_eq!(counters().malformed + counters().bad_address, 0);
        },
    );
}

#[test]
fn dnsmasq_refuses_an_address_of_another_network_and_gives_one_of_its_own() {
    in_own_network(
        "dnsmasq_refuses_an_address_of_another_network_and_gives_one_of_its_own",
        || {
            let folder = tempfile::tempdir().unwrap();
            let host = Ipv4Addr::new(10, 77, 0, 1);
            let machine = Machine::on_tap("dhcp-tap1", MAC, Some((host, 24)));
            let leases = folder.path().join("leases");
            let range = "10.77.0.50,10.77.0.59,255.255.255.0,1h";
            let _server = dnsmasq("dhcp-tap1", &leases, range);
            // The flag BROADCAST, and an identifier.
            let client = start(&machine, |config| {
                config.last_address = Some(Ipv4Addr::new(192, 168, 1, 5));
                config.broadcast = true;
                config.identifier = heapless_identifier();
            });
            let limit = machine
                .executor
                .timeout(peer_tests::LONG, client.configured());
            let lease = machine.executor.run_until(limit).expect("a lease");
            assert_eq!(lease.server, host);
            let counters = client.with(|client| client.counters()).unwrap();
            assert_eq!(counters.refused, 1);
            let file = fs::read_to_string(&leases).unwrap();
            assert!(file.contains("ff:00:11:22"), "{file}");
        },
    );
}

/// The type's vector is not named here: it is made from what the configuration has.
fn heapless_identifier<T: FromIterator<u8>>() -> Option<T> {
    Some([0xff, 0, 0x11, 0x22].into_iter().collect())
}

fn set_address(machine: &Machine, cidr: &str) {
    machine.shared.with(|stack, now| {
        let cidr = cidr.parse().unwrap();
        stack
            .add_address(now, cidr, ConflictConfig::assigned())
            .unwrap();
    });
}

/// A subnet of a router that does everything, with a pool of ten addresses.
fn subnet(network: &str, router: Ipv4Addr, first: Ipv4Addr) -> DhcpSubnet<'static> {
    let routers: &'static [Ipv4Addr] = Box::leak(Box::new([router]));
    let last = Ipv4Addr::from_bits(first.to_bits() + 9);
    DhcpSubnet {
        routers,
        resolvers: routers,
        ntp_servers: routers,
        domain: Some("example.org"),
        ..DhcpSubnet::new(network.parse().unwrap(), first, last)
    }
}

/// Our server, which pings two addresses at a time before it offers them, and keeps its leases in a folder.
fn serve(
    machine: &Machine,
    us: Ipv4Addr,
    subnets: Vec<DhcpSubnet<'static>>,
    folder: &Path,
    change: impl FnOnce(&mut DhcpServerConfig<'static>),
) -> &'static RefCell<DhcpServer<'static>> {
    let slots = Box::leak(Box::new([const { DhcpLeaseSlot::EMPTY }; 20]));
    let probes = Box::leak(Box::new([const { DhcpProbeSlot::EMPTY }; 2]));
    let mut config = DhcpServerConfig::new(us, Box::leak(subnets.into_boxed_slice()));
    change(&mut config);
    let server = DhcpServer::new(config, &mut slots[..]).unwrap();
    let server = RefCell::new(server.with_probes(&mut probes[..]));
    let server: &'static RefCell<_> = Box::leak(Box::new(server));
    let store: &'static DirectoryStore = Box::leak(Box::new(DirectoryStore::open(folder).unwrap()));
    let (shared, executor) = (machine.shared, machine.executor);
    let serving = async move {
        let key = Key::new("leases").unwrap();
        let notify = |notice| match notice {
            DhcpServerNotice::NotSaved(error) => panic!("the store: {error}"),
            notice => eprintln!("{notice:?}"),
        };
        let ended = serve_dhcp(shared, executor, server, store, key, notify).await;
        panic!("the server ended: {ended:?}");
    };
    machine.executor.spawn(serving).unwrap().detach();
    server
}

/// Runs udhcpc until it is bound, then ends it, and gives what it had its script be told.
fn udhcpc(machine: &Machine, interface: &str, folder: &Path, more: &[&str]) -> String {
    let script = folder.join("script");
    let bound = folder.join("bound");
    let _ = fs::remove_file(&bound);
    // With the address set, for a lease is given back by a datagram from it.
    let ip = program("ip", "iproute2");
    let ip = ip.get_program().display().to_string();
    let text = format!(
        "#!/bin/sh\n{ip} address flush dev $interface\n[ \"$1\" = bound ] || exit 0\n\
         {ip} address add $ip/24 dev $interface\nenv > {0}.new\nmv {0}.new {0}\n",
        bound.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = program("busybox", "busybox");
    command
        .args(["udhcpc", "-f", "-n", "-t", "5", "-T", "3", "-i", interface])
        .args(["-O", "mtu", "-O", "staticroutes", "-O", "ntpsrv", "-s"])
        .arg(&script)
        .args(more);
    let mut running = Running::start(&mut command);
    machine.run_until("a lease of udhcpc's", || bound.exists());
    running.terminate();
    machine.run_until("the end of udhcpc", || running.ended().is_some());
    fs::read_to_string(&bound).expect("udhcpc was bound")
}

fn has(environment: &str, line: &str) {
    assert!(
        environment.lines().any(|other| other == line),
        "{line}: {environment}"
    );
}

#[test]
fn udhcpc_gets_a_lease_of_our_server_that_is_kept_in_a_directory() {
    in_own_network(
        "udhcpc_gets_a_lease_of_our_server_that_is_kept_in_a_directory",
        || {
            let folder = tempfile::tempdir().unwrap();
            let kept = folder.path().join("store");
            fs::create_dir(&kept).unwrap();
            let us = Ipv4Addr::new(10, 78, 0, 1);
            let machine = Machine::on_tap("dhcp-tap2", MAC, None);
            run("ip", "iproute2", &["link", "set", "dhcp-tap2", "up"]);
            // A release is sent once, and the address taken away right afterwards: it must not wait for ARP.
            let neighbour = ["neigh", "replace", "10.78.0.1", "dev", "dhcp-tap2"];
            let neighbour = [&neighbour[..], &["lladdr", "02:00:00:00:00:02"]].concat();
            run("ip", "iproute2", &neighbour);
            set_address(&machine, "10.78.0.1/24");
            let subnet = DhcpSubnet {
                mtu: Some(1_400),
                ..subnet("10.78.0.0/24", us, Ipv4Addr::new(10, 78, 0, 100))
            };
            let server = serve(&machine, us, vec![subnet], &kept, |_| {});
            let told = udhcpc(&machine, "dhcp-tap2", folder.path(), &[]);
            has(&told, "ip=10.78.0.100");
            has(&told, "subnet=255.255.255.0");
            has(&told, "router=10.78.0.1");
            has(&told, "dns=10.78.0.1");
            has(&told, "domain=example.org");
            has(&told, "mtu=1400");
            has(&told, "ntpsrv=10.78.0.1");
            has(&told, "lease=3600");
            has(&told, "serverid=10.78.0.1");
            let record = || {
                let bytes = fs::read(kept.join("leases/10.78.0.100")).unwrap();
                DhcpRecord::from_bytes(&bytes).unwrap()
            };
            assert_eq!(record().kind, DhcpLeaseKind::Bound);
            // The same client again, by broadcast; it asks for another address, and gives its lease back at the end.
            let more = ["-B", "-R", "-r", "10.78.0.105"];
            has(
                &udhcpc(&machine, "dhcp-tap2", folder.path(), &more),
                "ip=10.78.0.100",
            );
            machine.run_until("a lease that is given back", || {
                record().kind == DhcpLeaseKind::Released
            });
            // Another client (without an identifier it would be the same station), with a vendor class.
            let more = ["-x", "0x3d:0099aabb", "-V", "tests", "-r", "10.78.0.105"];
            has(
                &udhcpc(&machine, "dhcp-tap2", folder.path(), &more),
                "ip=10.78.0.105",
            );
            let counters = server.borrow().counters();
            assert_eq!(
                (counters.malformed, counters.refused, counters.not_saved),
                (0, 0, 0)
            );
            assert_eq!(counters.released, 1);
        },
    );
}

#[test]
fn an_address_that_linux_answers_a_ping_for_is_not_offered() {
    in_own_network(
        "an_address_that_linux_answers_a_ping_for_is_not_offered",
        || {
            let folder = tempfile::tempdir().unwrap();
            let us = Ipv4Addr::new(10, 78, 0, 1);
            let machine = Machine::on_tap("dhcp-tap3", MAC, None);
            for arguments in [
                ["link", "set", "dhcp-tap3", "up"].as_slice(),
                &["link", "set", "lo", "up"],
                &["address", "add", "10.78.0.100/32", "dev", "lo"],
                &["route", "add", "10.78.0.1/32", "dev", "dhcp-tap3"],
            ] {
                run("ip", "iproute2", arguments);
            }
            set_address(&machine, "10.78.0.1/24");
            let subnet = subnet("10.78.0.0/24", us, Ipv4Addr::new(10, 78, 0, 100));
            let server = serve(&machine, us, vec![subnet], folder.path(), |_| {});
            let told = udhcpc(&machine, "dhcp-tap3", folder.path(), &[]);
            has(&told, "ip=10.78.0.101");
            let counters = server.borrow().counters();
            assert_eq!((counters.in_use, counters.not_probed), (1, 0));
        },
    );
}

#[test]
fn dnsmasq_tells_a_host_with_an_address_of_its_own_the_rest() {
    in_own_network(
        "dnsmasq_tells_a_host_with_an_address_of_its_own_the_rest",
        || {
            let folder = tempfile::tempdir().unwrap();
            let host = Ipv4Addr::new(10, 77, 0, 1);
            let machine = Machine::on_tap("dhcp-tap4", MAC, Some((host, 24)));
            let leases = folder.path().join("leases");
            let range = "10.77.0.50,10.77.0.59,255.255.255.0,1h";
            let _server = dnsmasq("dhcp-tap4", &leases, range);
            set_address(&machine, "10.77.0.40/24");
            let config = DhcpClientConfig::new(MAC);
            let mut rng = SystemRng::new().unwrap();
            let asking = dhcp_inform(
                machine.shared,
                machine.executor,
                config,
                Ipv4Addr::new(10, 77, 0, 40),
                &mut rng,
            );
            let told = machine.executor.run_until(asking).expect("an answer");
            assert_eq!(told.resolvers.len(), 2);
            assert_eq!(told.mtu, Some(1_400));
            assert_eq!(told.classless_routes.len(), 2);
            assert_eq!(told.domain.as_deref(), Some("example.org"));
            let file = fs::read_to_string(&leases).unwrap_or_default();
            assert!(!file.contains("10.77.0.40"), "{file}");
        },
    );
}

/// Our client and our server on two networks, with a relay agent and a router between.
fn through_a_relay_agent(relay: &mut Command, taps: [&str; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let (us, router) = (Ipv4Addr::new(10, 78, 0, 1), Ipv4Addr::new(10, 79, 0, 254));
    let (other, host) = (
        MacAddress([2, 0, 0, 0, 0, 3]),
        Ipv4Addr::new(10, 78, 0, 254),
    );
    let near = Machine::on_tap(taps[0], other, Some((host, 24)));
    let far = near.another(taps[1], MAC, Some((router, 24)));
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    set_address(&near, "10.78.0.1/24");
    near.shared.with(|stack, _| {
        stack.add_default_route(host.into()).unwrap();
    });
    let subnets = vec![
        subnet("10.78.0.0/24", us, Ipv4Addr::new(10, 78, 0, 50)),
        subnet("10.79.0.0/24", router, Ipv4Addr::new(10, 79, 0, 50)),
    ];
    let server = serve(&near, us, subnets, folder.path(), |config| {
        config.lease_time = Duration::from_secs(10);
        config.shortest_lease = Duration::from_secs(10);
    });
    let _relay = Running::start(relay);
    let client = start(&far, |_| {});
    let limit = far.executor.timeout(peer_tests::LONG, client.configured());
    let lease = far.executor.run_until(limit).expect("a lease");
    assert_eq!(lease.address, Ipv4Addr::new(10, 79, 0, 50));
    assert_eq!(lease.server, us);
    assert_eq!(lease.parameters.routers[..], [router]);
    let counters = || server.borrow().counters();
    assert_eq!(counters().acknowledged, 1);
    // It is renewed past the agent, through the router.
    far.run_until("a renewal", || counters().acknowledged >= 2);
    let client_counters = client.with(|client| client.counters()).unwrap();
    assert_eq!(client_counters.declined + client_counters.expired, 0);
    let now = far.platform.now();
    client.with(|client| client.release(now));
    far.run_until("a lease that is given back", || counters().released == 1);
    assert_eq!((counters().no_subnet, counters().malformed), (0, 0));
}

#[test]
fn a_lease_comes_through_isc_s_relay_agent_with_its_information() {
    in_own_network(
        "a_lease_comes_through_isc_s_relay_agent_with_its_information",
        || {
            let mut relay = program("dhcrelay", "isc-dhcp-relay");
            relay.args(["-4", "-d", "--no-pid", "-a", "-D"]);
            relay.args(["-iu", "relay-a0", "-id", "relay-a1", "10.78.0.1"]);
            through_a_relay_agent(&mut relay, ["relay-a0", "relay-a1"]);
        },
    );
}

#[test]
fn a_lease_comes_through_dnsmasq_as_a_relay_agent() {
    in_own_network("a_lease_comes_through_dnsmasq_as_a_relay_agent", || {
        let mut relay = program("dnsmasq", "dnsmasq-base");
        relay
            .args(["--keep-in-foreground", "--log-facility=-", "--log-dhcp"])
            .args([
                "--conf-file=/dev/null",
                "--pid-file=",
                "--port=0",
                "--user=root",
            ])
            .arg("--dhcp-relay=10.79.0.254,10.78.0.1");
        through_a_relay_agent(&mut relay, ["relay-b0", "relay-b1"]);
    });
}
