//! What guests say of themselves on their consoles.

/// What an appliance says once its network is up: `mirage: network up in N us, M xenstore round trips`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkUp {
    /// Microseconds on the guest's own clock, from its first instruction.
    pub microseconds: u64,
    /// How often it waited for an answer from xenstore.
    pub round_trips: u64,
}

/// Finds what an appliance said, among all that is on its console.
pub fn network_up(console: &str) -> Option<NetworkUp> {
    console.lines().find_map(|line| {
        let (_, rest) = line.split_once("mirage: network up in ")?;
        let (microseconds, rest) = rest.split_once(" us, ")?;
        let (round_trips, _) = rest.split_once(" xenstore round trip")?;
        Some(NetworkUp {
            microseconds: microseconds.parse().ok()?,
            round_trips: round_trips.parse().ok()?,
        })
    })
}

/// When the Linux guest's network was up, in microseconds since its kernel started: it says
/// `guest: network up at S s`, with S from /proc/uptime.
pub fn linux_network_up(console: &str) -> Option<u64> {
    console.lines().find_map(|line| {
        let (_, rest) = line.split_once("guest: network up at ")?;
        let (seconds, _) = rest.split_once(" s")?;
        let seconds: f64 = seconds.parse().ok()?;
        (0.0..1e6)
            .contains(&seconds)
            .then(|| (seconds * 1e6).round() as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_appliance_says_when_its_network_was_up() {
        let console = "mirage: booting\r\n\
                       mirage: network up in 81234 us, 9 xenstore round trips\r\n\
                       mirage: ready 10.98.0.2\r\n";
        let expected = NetworkUp {
            microseconds: 81_234,
            round_trips: 9,
        };
        assert_eq!(network_up(console), Some(expected));
        let one = "[info] mirage: network up in 5 us, 1 xenstore round trip";
        assert_eq!(network_up(one).unwrap().round_trips, 1);
    }

    #[test]
    fn other_lines_are_not_taken_for_it() {
        for console in [
            "",
            "mirage: ready 10.0.0.2",
            "mirage: network up in x us, 9 xenstore round trips",
            "mirage: network up in 5 us, -1 xenstore round trips",
            "mirage: network up in 5 us",
        ] {
            assert_eq!(network_up(console), None, "{console:?}");
        }
    }

    #[test]
    fn linux_says_it_in_seconds() {
        let console = "guest: user space at 6.45 s\nguest: network up at 6.93 s\n";
        assert_eq!(linux_network_up(console), Some(6_930_000));
        for console in [
            "guest: network up at x s",
            "guest: network up at -1 s",
            "guest: network up at NaN s",
        ] {
            assert_eq!(linux_network_up(console), None);
        }
    }
}
