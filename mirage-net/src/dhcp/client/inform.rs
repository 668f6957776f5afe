//! Options for a host that has its address from elsewhere (RFC 2131 §3.4, §4.4.3): DHCPINFORM.

use core::fmt;
use core::net::Ipv4Addr;

use mirage_core::Instant;
use rand_core::CryptoRng;

use super::message::Due;
use super::{DhcpClientConfig, DhcpClientCounters, DhcpParameters, DhcpTransmit, delay, is_ours};
use crate::random::Random;
use crate::stack::is_host;
use crate::wire::dhcp::{DhcpMessageType, DhcpOperation, DhcpPacket, MESSAGE_LEN, option};

/// No server said anything: "60 seconds or 4 tries" (RFC 2131 §4.4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DhcpUnanswered;

impl fmt::Display for DhcpUnanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no DHCP server has told how to configure the network")
    }
}

impl core::error::Error for DhcpUnanswered {}

/// Asks the link's servers for routers, resolvers, MTU and the rest, once, for an address that was set by hand: a pure state machine.
///
/// Its methods are of four kinds:
///
/// - *getters*: [`counters`](Self::counters);
/// - *inputs*: [`handle_message`](Self::handle_message), [`handle_timeout`](Self::handle_timeout);
/// - *mutators*: [`start`](Self::start);
/// - *outputs*: [`poll_transmit`](Self::poll_transmit), [`poll_outcome`](Self::poll_outcome), and last
///   [`poll_timeout`](Self::poll_timeout).
///
/// The first answer that is well-formed, of this transaction and for this station is taken: DHCP has no more security than that.
/// Of the configuration [`request_attempts`](DhcpClientConfig::request_attempts) counts, and what the messages say.
pub struct DhcpInform {
    config: DhcpClientConfig,
    address: Ipv4Addr,
    random: Random,
    asking: bool,
    outcome: Option<Result<DhcpParameters, DhcpUnanswered>>,
    transaction: u32,
    began: Instant,
    seconds: u16,
    attempt: u8,
    next: Instant,
    due: bool,
    counters: DhcpClientCounters,
}

impl fmt::Debug for DhcpInform {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DhcpInform")
            .field("address", &self.address)
            .field("asking", &self.asking)
            .finish_non_exhaustive()
    }
}

impl DhcpInform {
    /// One that has not begun. `address` is ours: answers go there.
    pub fn new(
        config: DhcpClientConfig,
        address: Ipv4Addr,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Self {
        DhcpInform {
            config,
            address,
            random: Random::new(rng),
            asking: false,
            outcome: None,
            transaction: 0,
            began: Instant::ZERO,
            seconds: 0,
            attempt: 0,
            next: Instant::FAR_FUTURE,
            due: false,
            counters: DhcpClientCounters::default(),
        }
    }

    /// What happened so far (getter).
    pub fn counters(&self) -> DhcpClientCounters {
        self.counters
    }

    /// Asks, even if it did so before (mutator).
    pub fn start(&mut self, now: Instant) {
        self.asking = true;
        self.outcome = None;
        self.transaction = self.random.next_u64() as u32;
        self.began = now;
        self.attempt = 0;
        self.ask(now);
    }

    fn ask(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.began).as_secs();
        self.seconds = u16::try_from(elapsed).unwrap_or(u16::MAX);
        self.counters.repeated += u64::from(self.attempt > 0);
        self.due = true;
        self.next = now.saturating_add(delay(&mut self.random, self.attempt));
    }

    fn end(&mut self, outcome: Result<DhcpParameters, DhcpUnanswered>) {
        self.asking = false;
        self.outcome = Some(outcome);
        self.due = false;
        self.next = Instant::FAR_FUTURE;
    }

    /// A message came to port 68 (input).
    pub fn handle_message(&mut self, bytes: &[u8]) {
        self.counters.received += 1;
        let Ok(packet) = DhcpPacket::new_checked(bytes) else {
            self.counters.malformed += 1;
            return;
        };
        if packet.operation() != DhcpOperation::Reply {
            self.counters.not_a_reply += 1;
        } else if !is_ours(&packet, &self.config, self.transaction) {
            self.counters.not_for_us += 1;
        } else if packet.message_type() != Some(DhcpMessageType::Ack) || !self.asking {
            self.counters.unexpected += 1;
        } else if !packet
            .address(option::SERVER_IDENTIFIER)
            .is_some_and(is_host)
        {
            self.counters.incomplete += 1;
        } else {
            // "The client … should not have a lease time … and should not use 'yiaddr'" (§3.4): neither is looked at.
            self.counters.acknowledged += 1;
            self.end(Ok(DhcpParameters::parse(&packet)));
        }
    }

    /// Time has passed (input): to be called at the deadline of [`poll_timeout`](Self::poll_timeout).
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.asking || self.next > now {
            return;
        }
        self.attempt = self.attempt.saturating_add(1);
        if self.attempt < self.config.request_attempts {
            self.ask(now);
        } else {
            self.end(Err(DhcpUnanswered));
        }
    }

    /// Writes the message that is due, and says how it is to be sent (output).
    pub fn poll_transmit(&mut self, buffer: &mut [u8; MESSAGE_LEN]) -> Option<DhcpTransmit> {
        if !core::mem::take(&mut self.due) {
            return None;
        }
        let address = self.address;
        // Nothing that the configuration can hold is too long for the buffer.
        let transmit = (Due::Inform { address })
            .write(&self.config, self.transaction, self.seconds, buffer)
            .ok()?;
        self.counters.sent += 1;
        Some(transmit)
    }

    /// What came of it, once, when it is over (output).
    pub fn poll_outcome(&mut self) -> Option<Result<DhcpParameters, DhcpUnanswered>> {
        self.outcome.take()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called again at the latest; none for never (output, the last).
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.next != Instant::FAR_FUTURE).then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::dhcp::{DhcpHardware, DhcpRepr, DhcpWriter};
    use core::time::Duration;
    use mirage_core::MacAddress;
    use proptest::prelude::*;
    use std::vec::Vec;

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 7]);
    const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn started() -> DhcpInform {
        let mut config = DhcpClientConfig::new(MAC);
        config.lease_time = Some(Duration::from_secs(9));
        let mut rng = <rand_chacha::ChaCha8Rng as rand_core::SeedableRng>::seed_from_u64(1);
        let mut inform = DhcpInform::new(config, OURS, &mut rng);
        assert_eq!(inform.poll_timeout(), None);
        inform.start(Instant::from_secs(5));
        inform
    }

    fn sent(inform: &mut DhcpInform) -> Option<(DhcpTransmit, Vec<u8>)> {
        let mut buffer = [0; MESSAGE_LEN];
        let transmit = inform.poll_transmit(&mut buffer)?;
        Some((transmit, buffer[..transmit.length].to_vec()))
    }

    fn ack(transaction: u32, change: impl FnOnce(&mut DhcpRepr)) -> Vec<u8> {
        let mut buffer = [0; MESSAGE_LEN];
        let mut repr = DhcpRepr {
            transaction,
            hardware: DhcpHardware::ethernet(MAC),
            client_address: OURS,
            ..DhcpRepr::new(DhcpOperation::Reply)
        };
        change(&mut repr);
        let mut writer = DhcpWriter::new(&mut buffer, &repr).unwrap();
        writer.message_type(DhcpMessageType::Ack).unwrap();
        writer.address(option::SERVER_IDENTIFIER, SERVER).unwrap();
        let resolver = Ipv4Addr::new(10, 0, 0, 3);
        writer
            .address(option::DOMAIN_NAME_SERVER, resolver)
            .unwrap();
        writer.u16(option::INTERFACE_MTU, 1_400).unwrap();
        let length = writer.finish();
        buffer[..length].to_vec()
    }

    #[test]
    fn rfc2131_4_4_3_options_alone_are_asked_for_by_broadcast_from_our_address() {
        let mut inform = started();
        let (transmit, bytes) = sent(&mut inform).unwrap();
        assert_eq!(
            (transmit.source, transmit.destination),
            (OURS, Ipv4Addr::BROADCAST)
        );
        let packet = DhcpPacket::new_checked(&bytes).unwrap();
        assert_eq!(packet.message_type(), Some(DhcpMessageType::Inform));
        assert_eq!(packet.client_address(), OURS);
        assert!(packet.option(option::PARAMETER_LIST).is_some());
        // Table 5.
        for code in [
            option::REQUESTED_ADDRESS,
            option::LEASE_TIME,
            option::SERVER_IDENTIFIER,
        ] {
            assert!(packet.option(code).is_none(), "{code}");
        }
        let transaction = packet.transaction();
        let others = [
            ack(transaction ^ 1, |_| {}),
            ack(transaction, |repr| {
                repr.hardware = DhcpHardware::ethernet(MacAddress([2; 6]))
            }),
        ];
        for bytes in others {
            inform.handle_message(&bytes);
            assert_eq!(inform.poll_outcome(), None);
        }
        assert_eq!(inform.counters().not_for_us, 2);
        inform.handle_message(&ack(transaction, |_| {}));
        let parameters = inform.poll_outcome().unwrap().unwrap();
        assert_eq!(parameters.resolvers[..], [Ipv4Addr::new(10, 0, 0, 3)]);
        assert_eq!(parameters.mtu, Some(1_400));
        // Over, and told once.
        inform.handle_message(&ack(transaction, |_| {}));
        assert_eq!((inform.poll_outcome(), inform.poll_timeout()), (None, None));
        assert_eq!(inform.counters().unexpected, 1);
    }

    #[test]
    fn rfc2131_4_4_3_after_four_tries_in_about_a_minute_nobody_answered() {
        let mut inform = started();
        let mut times = Vec::new();
        while let Some(at) = inform.poll_timeout() {
            assert_eq!(inform.poll_outcome(), None);
            if sent(&mut inform).is_some() {
                times.push(at);
            }
            inform.handle_timeout(at);
        }
        assert_eq!(times.len(), 4);
        assert_eq!(inform.poll_outcome(), Some(Err(DhcpUnanswered)));
        let whole = times[3] - Instant::from_secs(5);
        assert!((56..=64).contains(&whole.as_secs()), "{whole:?}");
        // Once more.
        inform.start(times[3]);
        assert!(sent(&mut inform).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut inform = started();
            inform.handle_message(&bytes);
            prop_assert_eq!(inform.poll_outcome(), None);
        }
    }
}
