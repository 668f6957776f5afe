//! When a secondary zone asks its primaries, and when it has expired (RFC 1034 §4.3.5, RFC 1035 §3.3.13, RFC 1996).
//!
//! | type | what it is |
//! |------|------------|
//! | [`Secondary`] | the refresh of one zone |
//! | [`SoaTimers`] | what the zone's SOA says of it |
//! | [`Action`] | what the owner is to do next |
//! | [`Outcome`] | what a transfer came to |
//! | [`Intervals`] | bounds of the times |
//!
//! A pure state machine; times are those of the owner's clock, which never goes back. It has
//! - inputs: [`Secondary::handle_notify`], [`Secondary::handle_soa`], [`Secondary::handle_transfer`];
//! - outputs: [`Secondary::poll_action`] (and [`Secondary::poll_expiry`], a part of it), then [`Secondary::poll_timeout`];
//! - getters: [`Secondary::is_expired`], [`Secondary::is_busy`], [`Secondary::expires`].
//!
//! Without data it asks for the whole zone at once. With data it asks for the SOA when the refresh interval is over or a
//! primary says that the zone changed, and then for the differences. A primary that fails is passed over for the next; when
//! all have failed, all are tried again after the retry interval. An incremental transfer that fails is asked for again as a
//! whole one.

use core::time::Duration;

use crate::record::RecordType;
use crate::serial::is_newer;

/// What the SOA of a zone says of its refresh (RFC 1035 §3.3.13), in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SoaTimers {
    /// The version.
    pub serial: u32,
    /// Between two looks at the primary.
    pub refresh: u32,
    /// After a look that failed.
    pub retry: u32,
    /// After the last look that succeeded the zone is no longer to be used.
    pub expire: u32,
}

impl SoaTimers {
    /// From the data of a SOA record; `None` if the numbers are not there.
    pub fn from_rdata(rdata: &[u8]) -> Option<Self> {
        let numbers: &[u8; 20] = rdata.last_chunk()?;
        let number = |index: usize| {
            let octets = &numbers[4 * index..4 * index + 4];
            u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]])
        };
        Some(Self {
            serial: number(0),
            refresh: number(1),
            retry: number(2),
            expire: number(3),
        })
    }

    /// From a record, if it is a SOA.
    pub fn from_record(record_type: RecordType, rdata: &[u8]) -> Option<Self> {
        match record_type {
            RecordType::SOA => Self::from_rdata(rdata),
            _ => None,
        }
    }
}

/// Bounds that the owner puts on the times, whatever a SOA says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Intervals {
    /// The least time between two rounds of asking.
    pub least: Duration,
    /// The most.
    pub most: Duration,
    /// The least time from the beginning of one round to the next when primaries say that the zone changed: anybody can write
    /// their address into a notice.
    pub notified: Duration,
    /// After the first round that failed of a zone that never came; it doubles up to [`Intervals::last_retry`].
    pub first_retry: Duration,
    /// The longest pause between two rounds of a zone that never came.
    pub last_retry: Duration,
}

impl Default for Intervals {
    /// At least 2 seconds, at most 28 days; half a second where notices come; 2 seconds after the first
    /// failure, up to 15 minutes.
    fn default() -> Self {
        Self {
            least: Duration::from_secs(2),
            most: Duration::from_secs(28 * 86_400),
            notified: Duration::from_millis(500),
            first_retry: Duration::from_secs(2),
            last_retry: Duration::from_secs(900),
        }
    }
}

/// What is to be done for a zone. The owner says what came of it with the method that each names, and until then is asked
/// for nothing else but [`Action::Expire`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Ask this primary, by its place in the owner's list, for the zone's SOA record: [`Secondary::handle_soa`].
    QuerySoa(usize),
    /// Ask this primary for what changed since the version that is there: [`Secondary::handle_transfer`].
    TransferDifferences(usize),
    /// Ask this primary for the whole zone: [`Secondary::handle_transfer`].
    TransferWhole(usize),
    /// Answer for the zone no longer.
    Expire,
}

/// What a transfer came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The zone is now at this version.
    Installed(SoaTimers),
    /// The primary has nothing newer.
    UpToDate,
    /// There was none.
    Failed,
}

/// The refresh of one secondary zone.
#[derive(Clone, Debug)]
pub struct Secondary {
    primaries: usize,
    intervals: Intervals,
    /// What is there, if anything is.
    current: Option<SoaTimers>,
    /// When the zone is no longer to be used.
    expires: Option<Duration>,
    /// When the next round begins.
    next: Duration,
    /// When the last one began.
    began: Option<Duration>,
    /// The primary to ask, and how many were asked in this round.
    primary: usize,
    asked: usize,
    step: Step,
    /// A change was told while something was under way.
    notified: bool,
    /// The newest serial that a notice promised, until the primaries have been asked.
    promised: Option<u32>,
    /// Rounds that failed one after the other without data.
    failures: u32,
    random: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Until the next round.
    Waiting,
    /// To be given out.
    Next(Action),
    /// Given out; its outcome is awaited.
    Busy(Action),
}

impl Secondary {
    /// A zone that has `primaries` of them, at least one, and no data: it is asked for at once.
    ///
    /// `seed` makes the intervals of different zones and servers differ a little; it need not be secret.
    pub fn new(now: Duration, primaries: usize, intervals: Intervals, seed: u64) -> Self {
        Self {
            primaries: primaries.max(1),
            intervals,
            current: None,
            expires: None,
            next: now,
            began: None,
            primary: 0,
            asked: 0,
            step: Step::Waiting,
            notified: false,
            promised: None,
            failures: 0,
            random: seed,
        }
    }

    /// The same with data that was kept, and known to be current `age` ago. The primaries are asked at once.
    #[must_use]
    pub fn with_data(mut self, now: Duration, timers: SoaTimers, age: Duration) -> Self {
        let left = Duration::from_secs(timers.expire.into()).saturating_sub(age);
        self.current = Some(timers);
        self.expires = Some(now.saturating_add(left));
        self
    }

    /// Whether there is nothing to answer from: no data came yet, or it has expired.
    pub fn is_expired(&self) -> bool {
        self.current.is_none()
    }

    /// Whether an action was given out whose outcome is awaited.
    pub fn is_busy(&self) -> bool {
        matches!(self.step, Step::Busy(_))
    }

    /// A primary said that the zone changed (RFC 1996 §4.4). `serial` is that of the SOA in its message, which is but a hint:
    /// one that is not newer than ours is no reason to ask.
    pub fn handle_notify(&mut self, now: Duration, primary: usize, serial: Option<u32>) {
        if let (Some(current), Some(serial)) = (&self.current, serial)
            && !is_newer(serial, current.serial)
        {
            return;
        }
        if serial.is_some() {
            self.promised = serial;
        }
        if self.step != Step::Waiting {
            self.notified = true;
            return;
        }
        self.primary = primary % self.primaries;
        self.next = self.next.min(now.max(self.earliest()));
    }

    /// What came of [`Action::QuerySoa`]: the primary's serial, or nothing. Without that action, nothing happens.
    pub fn handle_soa(&mut self, now: Duration, serial: Option<u32>) {
        let Step::Busy(Action::QuerySoa(primary)) = self.step else {
            return;
        };
        match (serial, &self.current) {
            (Some(serial), Some(current)) if !is_newer(serial, current.serial) => {
                let current = *current;
                self.is_current(now, current);
                // A primary whose processes are not of one mind yet: it is asked once more, and soon.
                let promised = self.promised.take();
                if promised.is_some_and(|promised| is_newer(promised, current.serial)) {
                    self.next = self.next.min(now.saturating_add(self.intervals.least));
                }
            }
            (Some(_), Some(_)) => self.step = Step::Next(Action::TransferDifferences(primary)),
            // It expired meanwhile.
            (Some(_), None) => self.step = Step::Next(Action::TransferWhole(primary)),
            (None, _) => self.pass_over(now),
        }
    }

    /// What came of [`Action::TransferDifferences`] or [`Action::TransferWhole`]. Without one, nothing happens.
    pub fn handle_transfer(&mut self, now: Duration, outcome: Outcome) {
        let Step::Busy(action) = self.step else {
            return;
        };
        let (primary, differences) = match action {
            Action::TransferDifferences(primary) => (primary, true),
            Action::TransferWhole(primary) => (primary, false),
            Action::QuerySoa(_) | Action::Expire => return,
        };
        match (outcome, self.current) {
            (Outcome::Installed(timers), _) => self.is_current(now, timers),
            (Outcome::UpToDate, Some(current)) => self.is_current(now, current),
            (Outcome::Failed, _) if differences => {
                self.step = Step::Next(Action::TransferWhole(primary));
            }
            (Outcome::UpToDate | Outcome::Failed, _) => self.pass_over(now),
        }
    }

    /// The next thing to do, if it is time for one. To be called after each input, and when [`Self::poll_timeout`] says, until
    /// it gives `None`.
    pub fn poll_action(&mut self, now: Duration) -> Option<Action> {
        if self.poll_expiry(now) {
            return Some(Action::Expire);
        }
        if self.step == Step::Waiting && self.next <= now {
            self.asked = 0;
            self.began = Some(now);
            self.step = Step::Next(self.first_action());
        }
        let Step::Next(action) = self.step else {
            return None;
        };
        // What was to be asked for may have expired since.
        let action = match (action, &self.current) {
            (Action::TransferDifferences(primary), None) => Action::TransferWhole(primary),
            (action, _) => action,
        };
        self.step = Step::Busy(action);
        Some(action)
    }

    /// [`Self::poll_action`] for [`Action::Expire`] alone: whether it is time for it.
    pub fn poll_expiry(&mut self, now: Duration) -> bool {
        let is_time = self.expires.is_some_and(|expires| expires <= now);
        if is_time {
            self.expires = None;
            self.current = None;
        }
        is_time
    }

    /// When [`Action::Expire`] is due; `None` for a zone that is not there.
    pub fn expires(&self) -> Option<Duration> {
        self.expires
    }

    /// When to call [`Self::poll_action`] at the latest. Always there: a zone is refreshed for ever.
    pub fn poll_timeout(&self) -> Duration {
        let due = match self.step {
            Step::Waiting => self.next,
            Step::Next(_) => Duration::ZERO,
            Step::Busy(_) => Duration::MAX,
        };
        self.expires.map_or(due, |expires| due.min(expires))
    }

    fn first_action(&self) -> Action {
        match self.current {
            Some(_) => Action::QuerySoa(self.primary),
            None => Action::TransferWhole(self.primary),
        }
    }

    /// The primary was reached, and the zone is at its version.
    fn is_current(&mut self, now: Duration, timers: SoaTimers) {
        self.current = Some(timers);
        self.failures = 0;
        let lifetime = Duration::from_secs(timers.expire.into());
        self.expires = Some(now.saturating_add(lifetime));
        self.wait(now, Duration::from_secs(timers.refresh.into()));
    }

    /// This primary failed: the next one, or a pause.
    fn pass_over(&mut self, now: Duration) {
        self.primary = (self.primary + 1) % self.primaries;
        self.asked += 1;
        if self.asked < self.primaries {
            self.step = Step::Next(self.first_action());
            return;
        }
        let pause = match self.current {
            Some(current) => Duration::from_secs(current.retry.into()),
            None => {
                let doublings = self.failures.min(20);
                self.failures = self.failures.saturating_add(1);
                let pause = self.intervals.first_retry.saturating_mul(1 << doublings);
                pause.min(self.intervals.last_retry)
            }
        };
        self.wait(now, pause);
    }

    /// When the next round may begin at the earliest if a notice asks for one.
    fn earliest(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| {
            began.saturating_add(self.intervals.notified)
        })
    }

    fn wait(&mut self, now: Duration, interval: Duration) {
        self.step = Step::Waiting;
        if core::mem::take(&mut self.notified) {
            self.next = now.max(self.earliest());
            return;
        }
        let interval = interval.clamp(self.intervals.least, self.intervals.most);
        // Up to a sixteenth less, so that zones which were loaded together don't ask together for ever.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005);
        self.random = self.random.wrapping_add(1_442_695_040_888_963_407);
        let part = (self.random >> 48) as u32; // 16 bits
        let less = interval / 16 * part / (1 << 16);
        self.next = now.saturating_add(interval - less);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const TIMERS: SoaTimers = SoaTimers {
        serial: 7,
        refresh: 3_600,
        retry: 600,
        expire: 86_400,
    };

    fn new(primaries: usize) -> Secondary {
        Secondary::new(seconds(0), primaries, Intervals::default(), 1)
    }

    /// One that got version 7 at time 0 from the first of its primaries.
    fn loaded(primaries: usize) -> Secondary {
        let mut secondary = new(primaries);
        assert_eq!(
            secondary.poll_action(seconds(0)),
            Some(Action::TransferWhole(0))
        );
        secondary.handle_transfer(seconds(0), Outcome::Installed(TIMERS));
        assert_eq!(secondary.poll_action(seconds(0)), None);
        secondary
    }

    /// The next action, and when it comes.
    fn next(secondary: &mut Secondary) -> (Duration, Action) {
        let at = secondary.poll_timeout();
        assert_eq!(
            secondary.poll_action(at.saturating_sub(Duration::from_nanos(1))),
            None
        );
        (
            at,
            secondary.poll_action(at).expect("an action at its time"),
        )
    }

    fn is_about(time: Duration, expected: u64) {
        let expected = seconds(expected);
        assert!(
            time <= expected && time >= expected - expected / 16,
            "{time:?}"
        );
    }

    #[test]
    fn zone_that_never_came_is_asked_for_at_once_and_then_ever_more_rarely() {
        let mut secondary = new(1);
        let mut now = seconds(0);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            assert_eq!(secondary.poll_action(now), Some(Action::TransferWhole(0)));
            assert_eq!(secondary.poll_action(now), None);
            secondary.handle_transfer(now, Outcome::Failed);
            pauses.push(secondary.poll_timeout() - now);
            now = secondary.poll_timeout();
        }
        for (pause, expected) in pauses.into_iter().zip([2, 4, 8, 16, 32, 64]) {
            assert!(pause <= seconds(expected) && pause >= seconds(expected).mul_f32(0.9));
        }
        assert!(secondary.is_expired());
    }

    #[test]
    fn primary_that_is_silent_is_passed_over_for_the_next() {
        let mut secondary = loaded(3);
        let (at, action) = next(&mut secondary);
        is_about(at, 3_600);
        assert_eq!(action, Action::QuerySoa(0));
        for primary in 1..3 {
            secondary.handle_soa(at, None);
            assert_eq!(secondary.poll_action(at), Some(Action::QuerySoa(primary)));
        }
        secondary.handle_soa(at, None);
        assert_eq!(secondary.poll_action(at), None);
        is_about(secondary.poll_timeout() - at, 600);
    }

    #[test]
    fn newer_version_is_fetched_as_differences_and_else_whole() {
        let mut secondary = loaded(1);
        let (at, _) = next(&mut secondary);
        secondary.handle_soa(at, Some(8));
        assert_eq!(
            secondary.poll_action(at),
            Some(Action::TransferDifferences(0))
        );
        secondary.handle_transfer(at, Outcome::Failed);
        assert_eq!(secondary.poll_action(at), Some(Action::TransferWhole(0)));
        let timers = SoaTimers {
            serial: 8,
            ..TIMERS
        };
        secondary.handle_transfer(at, Outcome::Installed(timers));
        assert_eq!(secondary.poll_action(at), None);
        is_about(secondary.poll_timeout() - at, 3_600);
    }

    #[test]
    fn same_or_older_version_is_not_fetched() {
        for serial in [7, 6, 7u32.wrapping_sub(1 << 30)] {
            let mut secondary = loaded(1);
            let (at, _) = next(&mut secondary);
            secondary.handle_soa(at, Some(serial));
            assert_eq!(secondary.poll_action(at), None);
            is_about(secondary.poll_timeout() - at, 3_600);
        }
    }

    #[test]
    fn zone_expires_when_no_primary_was_reached_for_so_long() {
        let mut secondary = loaded(1);
        let mut expired = None;
        while expired.is_none() {
            let (at, action) = next(&mut secondary);
            match action {
                Action::QuerySoa(_) => secondary.handle_soa(at, None),
                Action::Expire => expired = Some(at),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(expired, Some(seconds(86_400)));
        assert!(secondary.is_expired());
        // And it is still asked for, as a whole.
        let (_, action) = next(&mut secondary);
        assert_eq!(action, Action::TransferWhole(0));
    }

    #[test]
    fn zone_that_expires_while_its_soa_is_asked_for_is_fetched_whole() {
        let mut secondary = loaded(1);
        let (_, action) = next(&mut secondary);
        assert_eq!(action, Action::QuerySoa(0));
        assert_eq!(secondary.poll_action(seconds(86_400)), Some(Action::Expire));
        assert_eq!(secondary.poll_action(seconds(86_400)), None);
        secondary.handle_soa(seconds(86_401), Some(7));
        let action = secondary.poll_action(seconds(86_401));
        assert_eq!(action, Some(Action::TransferWhole(0)));
    }

    #[test]
    fn notify_asks_the_primary_that_sent_it_at_once() {
        let mut secondary = loaded(2);
        secondary.handle_notify(seconds(10), 1, Some(8));
        assert_eq!(secondary.poll_timeout(), seconds(10));
        assert_eq!(
            secondary.poll_action(seconds(10)),
            Some(Action::QuerySoa(1))
        );
    }

    #[test]
    fn notify_of_a_version_that_is_there_changes_nothing() {
        let mut secondary = loaded(1);
        let before = secondary.poll_timeout();
        secondary.handle_notify(seconds(10), 0, Some(7));
        assert_eq!(secondary.poll_timeout(), before);
        secondary.handle_notify(seconds(10), 0, None);
        assert_eq!(secondary.poll_timeout(), seconds(10));
    }

    #[test]
    fn notify_during_a_transfer_is_not_lost() {
        let mut secondary = new(1);
        assert_eq!(
            secondary.poll_action(seconds(0)),
            Some(Action::TransferWhole(0))
        );
        secondary.handle_notify(seconds(1), 0, Some(9));
        assert_eq!(secondary.poll_action(seconds(1)), None);
        secondary.handle_transfer(seconds(1), Outcome::Installed(TIMERS));
        assert_eq!(secondary.poll_action(seconds(1)), Some(Action::QuerySoa(0)));
    }

    #[test]
    fn flood_of_notices_is_no_flood_of_questions() {
        let mut secondary = loaded(1);
        let mut questions = 0;
        for millisecond in 0..10_000 {
            let now = seconds(100) + Duration::from_millis(millisecond);
            secondary.handle_notify(now, 0, Some(8));
            if secondary.poll_action(now).is_some() {
                questions += 1;
                // It was a lie.
                secondary.handle_soa(now, Some(7));
            }
        }
        assert_eq!(questions, 20);
    }

    #[test]
    fn version_that_was_promised_and_is_not_there_yet_is_asked_for_once_more() {
        let mut secondary = loaded(1);
        secondary.handle_notify(seconds(10), 0, Some(8));
        assert_eq!(
            secondary.poll_action(seconds(10)),
            Some(Action::QuerySoa(0))
        );
        secondary.handle_soa(seconds(10), Some(7));
        let (at, action) = next(&mut secondary);
        assert_eq!((at, action), (seconds(12), Action::QuerySoa(0)));
        secondary.handle_soa(at, Some(7));
        is_about(secondary.poll_timeout() - at, 3_600);
    }

    #[test]
    fn zone_that_never_came_is_asked_for_every_quarter_of_an_hour_at_least() {
        let mut secondary = new(1);
        for _ in 0..40 {
            let at = secondary.poll_timeout();
            assert_eq!(secondary.poll_action(at), Some(Action::TransferWhole(0)));
            secondary.handle_transfer(at, Outcome::Failed);
            assert!(secondary.poll_timeout() - at <= seconds(900));
        }
    }

    #[test]
    fn soa_that_wants_no_pause_gets_one() {
        let mut secondary = new(1);
        secondary.poll_action(seconds(0));
        let timers = SoaTimers {
            refresh: 0,
            retry: 0,
            ..TIMERS
        };
        secondary.handle_transfer(seconds(0), Outcome::Installed(timers));
        assert!(secondary.poll_timeout() >= seconds(2).mul_f32(0.9));
    }

    #[test]
    fn data_that_was_kept_is_checked_at_once_and_expires_by_its_age() {
        let age = seconds(86_000);
        let mut secondary = new(1).with_data(seconds(5), TIMERS, age);
        assert_eq!(secondary.poll_action(seconds(5)), Some(Action::QuerySoa(0)));
        assert_eq!(secondary.poll_timeout(), seconds(405));
        let mut late = new(1).with_data(seconds(5), TIMERS, seconds(90_000));
        assert_eq!(late.poll_action(seconds(5)), Some(Action::Expire));
        assert_eq!(late.poll_action(seconds(5)), Some(Action::TransferWhole(0)));
    }

    #[test]
    fn outcomes_that_nobody_waits_for_change_nothing() {
        let mut secondary = loaded(1);
        let before = secondary.poll_timeout();
        secondary.handle_soa(seconds(1), None);
        secondary.handle_transfer(seconds(1), Outcome::Failed);
        assert_eq!(secondary.poll_timeout(), before);
        let (at, _) = next(&mut secondary);
        secondary.handle_transfer(at, Outcome::Failed);
        assert!(secondary.is_busy());
    }
}
