//! What holds whatever comes.

use super::*;

proptest! {
    /// Whatever comes, whenever: no panic, no deadline that stays in the past, an event for each lease's beginning and end, and
    /// never more than a few messages in a second.
    #[test]
    fn any_history_keeps_its_promises(
        seed: u64,
        check: bool,
        steps in prop::collection::vec((0u8..14, any::<u32>(), 0u64..2_000), 1..120),
    ) {
        let mut config = DhcpClientConfig::new(MAC);
        config.check = check;
        let mut machine = Machine::of(config, seed);
        let mut leased = false;
        let mut sent = 0;
        let began = machine.now;
        let most = 4 * steps.len() as u64 + 10;
        for (action, value, wait) in steps {
            let seconds = [9, 10, 60, 3_600, u32::MAX, value][value as usize % 6];
            match action {
                0 => machine.hear(&Says::offer().lasting(seconds)),
                1 => machine.hear(&Says::offer().from(OTHER).lasting(seconds)),
                2 | 3 => machine.hear(&Says::ack().lasting(seconds)),
                4 => machine.hear(&Says::nak()),
                5 => machine.client.handle_address_acquired(),
                6 => machine.client.handle_address_conflict(machine.now),
                7 => machine.client.handle_link(machine.now, value % 2 == 0),
                8 => machine.client.release(machine.now),
                9 => machine.client.stop(),
                10 => machine.client.start(machine.now),
                11 => machine.client.handle_timeout(machine.now),
                12 => {
                    let away = (value % 3 != 0).then(|| Duration::from_secs(u64::from(value) % 9_000));
                    machine.client.handle_resume(machine.now, away);
                }
                _ => {}
            }
            sent += machine.run(Duration::from_millis(wait * wait)).len();
            for event in machine.events() {
                match event {
                    DhcpClientEvent::Acquired => leased = true,
                    DhcpClientEvent::Renewed { .. } => prop_assert!(leased),
                    DhcpClientEvent::Lost(_) => leased = false,
                    DhcpClientEvent::Unanswered => prop_assert!(!leased),
                }
            }
            prop_assert_eq!(leased, machine.client.lease().is_some());
            if machine.client.state() == DhcpClientState::Stopped {
                prop_assert_eq!(machine.client.poll_timeout(), None);
            }
        }
        // One message in three seconds, and a few for each thing that came from outside.
        let most = (machine.now - began).as_secs() / 3 + most;
        prop_assert!((sent as u64) < most, "{} messages", sent);
    }

    #[test]
    fn any_bytes_are_no_lease(seed: u64, bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut machine = Machine::new(seed);
        machine.next();
        machine.client.handle_message(machine.now, &bytes);
        prop_assert!(machine.client.lease().is_none());
    }
}
