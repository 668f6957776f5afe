//! What holds whatever clients say.

use super::*;

proptest! {
    /// Whatever clients say: no address is two clients' at a time, a reply's address is of a pool, and what a client was given is
    /// refused to others as long as it runs.
    #[test]
    fn no_address_is_two_clients(
        slots in 0usize..8,
        authoritative: bool,
        steps in prop::collection::vec((0u8..8, 1u8..6, 99u8..105, 0u64..2_000, any::<bool>()), 0..150),
    ) {
        let mut config = DhcpServerConfig::new(SERVER, subnets());
        config.authoritative = authoritative;
        let mut machine = Machine::of(config, slots);
        // Who was told what, and until when.
        let mut told: BTreeMap<Ipv4Addr, (u8, Instant)> = BTreeMap::new();
        for (action, client, last, wait, other) in steps {
            let address = at(last);
            let mut says = match action {
                0 | 1 => Says::discover(client),
                2 | 3 => Says::select(client, address),
                4 => Says::reboot(client, address),
                5 => Says::renew(client, address),
                6 => Says::decline(client, address),
                _ => Says::release(client, address),
            };
            if other && action == 2 {
                says = Says::reboot(client, address).server(OTHER);
            }
            let reply = machine.hear(&says);
            if action >= 6 && told.get(&address).is_some_and(|(owner, _)| *owner == client) {
                told.remove(&address);
            }
            if let Some(reply) = reply {
                let address = reply.address();
                match reply.kind() {
                    DhcpMessageType::Nak => prop_assert_eq!(address, NONE),
                    kind => {
                        prop_assert!([at(100), at(101), at(103)].contains(&address));
                        if let Some((owner, until)) = told.get(&address) {
                            prop_assert!(*owner == client || *until <= machine.now, "{address} is another's");
                        }
                        if kind == DhcpMessageType::Ack {
                            told.retain(|_, (owner, _)| *owner != client);
                            told.insert(address, (client, machine.now + Duration::from_secs(3_600)));
                        }
                    }
                }
            }
            prop_assert!(machine.server.leases(machine.now, None).count() <= slots);
            machine.changes();
            machine.pass(wait);
        }
    }

    #[test]
    fn any_bytes_are_answered_or_not(mut bytes in prop::collection::vec(any::<u8>(), 0..600), kind in 0u8..9) {
        if bytes.len() > 250 {
            bytes[0] = 1;
            bytes[2] %= 17;
            bytes[24..28].fill(0);
            bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
            bytes[240..243].copy_from_slice(&[53, 1, kind]);
        }
        let mut machine = Machine::new();
        if let Some(reply) = machine.hear_bytes(&bytes, MESSAGE_LEN) {
            prop_assert_eq!(reply.packet().operation(), DhcpOperation::Reply);
        }
    }
}
