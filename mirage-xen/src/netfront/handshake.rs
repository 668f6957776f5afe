//! The order in which the two ends of a device come together and part, by their states in xenstore (io/xenbus.h).
//!
//! A pure state machine: [`action`](Handshake::action) says what is to be done next, a `handle_*` what came of it, and its
//! [`Effect`] what that does to the rings.
//!
//! The frontend makes the rings, once for each connection, and offers them; the backend maps them and connects. When
//! either end closes, the other does, and the frontend begins anew.

#[cfg(test)]
mod tests;

use core::time::Duration;

use mirage_core::Instant;

use super::keys::Backend;
use crate::xenbus::XenbusState;

/// How long the backend may take to close after we did.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a device is left alone after its first fault; twice as long after each one more.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How often that doubles: up to 64 seconds.
const DOUBLINGS: u32 = 6;
/// How long xenstored, or a backend whose state makes no sense, is left alone before it is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// A connection that held for so long makes up for the faults before it.
const STEADY: Duration = Duration::from_secs(60);

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Read what is known of the device or its backend.
    Read(Subject),
    /// Make the rings and the event channel, write where they are and our state as connected:
    /// [`Handshake::handle_offered`].
    Offer,
    /// Write our state: [`Handshake::handle_written`].
    Write(XenbusState),
    /// Nothing, until a watch fires ([`Handshake::handle_change`], [`Handshake::handle_device_change`]), or until the
    /// deadline, if there is one ([`Handshake::handle_timeout`]).
    Wait(Option<Instant>),
}

/// What is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// What the toolstack wrote for us, with a watch on it: [`Handshake::handle_device`].
    Device,
    /// The backend's state and, after that, its features, with watches on the backend: [`Handshake::handle_backend`].
    Backend,
    /// The backend's state: [`Handshake::handle_status`].
    Status,
}

/// What an input does to the rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// The backend serves them; the link is up or down.
    Up { carrier: bool },
    /// They are nobody's any more.
    Down,
}

/// What was found as the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// None.
    Missing,
    /// One that we can't use.
    Unusable,
    /// One with the backend that we know already.
    Same,
    /// The same one, which the toolstack has made anew: what we said there is gone.
    Anew,
    /// One with another backend, or the first.
    Other,
}

/// The state of a device's connection.
#[derive(Debug)]
pub(super) struct Handshake {
    phase: Phase,
    /// The watch on the backend fired.
    changed: bool,
    /// The watch on the device fired.
    device_changed: bool,
    /// Nothing is asked before this time: the last answer was none.
    retry: Option<Instant>,
    /// We said that we begin anew, and nothing since.
    reopened: bool,
    /// The connection ended by a fault, which is still to be atoned for.
    faulty: bool,
    /// Faults in a row.
    faults: u32,
    connected_at: Option<Instant>,
    epoch: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The device's keys are to be read.
    Start,
    /// The device's keys are known, the backend's are to be read.
    Found,
    /// The backend is to be ready for an offer.
    Awaiting,
    /// It is.
    Offering,
    /// Our offer is written, the backend is to connect.
    Offered,
    Connected,
    /// We are to say that we are closed.
    Closing,
    /// The backend is to say that it is.
    Closed {
        until: Instant,
    },
    /// We are to say that we begin anew.
    Reopening,
    /// There is no device, or no backend.
    Absent,
    /// The device broke its protocol, or is none that we can use: another look later.
    Paused {
        until: Instant,
    },
    /// We are to say that we are closed, for good.
    Dying,
    /// Nothing is done with this device any more.
    Dead,
}

impl Handshake {
    pub(super) const fn new() -> Self {
        Self {
            phase: Phase::Start,
            changed: false,
            device_changed: false,
            retry: None,
            reopened: false,
            faulty: false,
            faults: 0,
            connected_at: None,
            epoch: 0,
        }
    }

    /// What is to be done next. A getter.
    pub(super) fn action(&self) -> Action {
        if self.phase == Phase::Dead {
            return Action::Wait(None);
        }
        if self.retry.is_some() {
            return Action::Wait(self.retry);
        }
        let watching = !matches!(self.phase, Phase::Absent | Phase::Paused { .. });
        match self.phase {
            Phase::Dying => Action::Write(XenbusState::Closed),
            Phase::Start => Action::Read(Subject::Device),
            _ if self.device_changed => Action::Read(Subject::Device),
            Phase::Found => Action::Read(Subject::Backend),
            Phase::Offering => Action::Offer,
            Phase::Closing => Action::Write(XenbusState::Closed),
            Phase::Reopening => Action::Write(XenbusState::Initialising),
            // What it offers it says before it says that it is ready.
            Phase::Awaiting if self.changed => Action::Read(Subject::Backend),
            _ if self.changed && watching => Action::Read(Subject::Status),
            Phase::Closed { until } | Phase::Paused { until } => Action::Wait(Some(until)),
            Phase::Awaiting | Phase::Offered | Phase::Connected | Phase::Absent | Phase::Dead => {
                Action::Wait(None)
            }
        }
    }

    /// Whether we have said that we are connected. A getter.
    pub(super) const fn has_offered(&self) -> bool {
        matches!(self.phase, Phase::Offered | Phase::Connected)
    }

    /// How often the domain was resumed. What an action that was begun in another epoch comes to is of no interest. A getter.
    pub(super) const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The device's keys were read.
    pub(super) fn handle_device(&mut self, now: Instant, found: Found) -> Effect {
        self.device_changed = false;
        match (found, self.phase) {
            (_, Phase::Dying | Phase::Dead) => Effect::None,
            (Found::Missing, _) => self.lose(Phase::Absent),
            (Found::Unusable, _) => self.pause(now),
            (Found::Same, Phase::Start | Phase::Absent | Phase::Paused { .. })
            | (Found::Other | Found::Anew, _) => self.lose(Phase::Found),
            (Found::Same, _) => Effect::None,
        }
    }

    /// The backend's state was read and, after that, its features: whether we can use it, if it has said them.
    pub(super) fn handle_backend(
        &mut self,
        now: Instant,
        backend: Backend,
        usable: bool,
    ) -> Effect {
        match self.phase {
            Phase::Found | Phase::Awaiting => {
                self.changed = false;
                self.await_backend(now, backend, usable)
            }
            _ => Effect::None,
        }
    }

    /// The backend's state was read.
    pub(super) fn handle_status(&mut self, now: Instant, backend: Backend) -> Effect {
        self.changed = false;
        let Backend { state, carrier, .. } = backend;
        match self.phase {
            Phase::Offered => self.await_connection(now, state, carrier),
            Phase::Connected => self.keep(state, carrier),
            Phase::Closed { .. } => self.await_closed(now, backend),
            _ => Effect::None,
        }
    }

    /// The offer was written, with our state as connected. `false`: it couldn't be made.
    pub(super) fn handle_offered(&mut self, now: Instant, made: bool) -> Effect {
        match self.phase {
            Phase::Offering if made => self.phase = Phase::Offered,
            Phase::Offering => return self.pause(now),
            _ => {}
        }
        self.reopened = false;
        Effect::None
    }

    /// Our state was written as [`Action::Write`] asked. `false`: the device is not there any more.
    pub(super) fn handle_written(&mut self, now: Instant, there: bool) -> Effect {
        match self.phase {
            Phase::Closing | Phase::Reopening if !there => return self.lose(Phase::Absent),
            Phase::Closing => {
                let until = now.saturating_add(CLOSE_TIMEOUT);
                self.phase = Phase::Closed { until };
                self.reopened = false;
            }
            Phase::Reopening => {
                self.phase = Phase::Awaiting;
                self.reopened = true;
            }
            Phase::Dying => {
                self.phase = Phase::Dead;
                return Effect::None;
            }
            _ => return Effect::None,
        }
        // It may have been there before we were, and then no watch fires.
        self.changed = true;
        Effect::None
    }

    /// The watch on the backend fired.
    pub(super) fn handle_change(&mut self) {
        match self.phase {
            // Where there was none there may be one.
            Phase::Absent => self.phase = Phase::Start,
            _ => self.changed = true,
        }
    }

    /// The watch on the device fired: the toolstack made it, took it away, or replaced it.
    pub(super) fn handle_device_change(&mut self) {
        self.device_changed = true;
    }

    /// What [`action`](Self::action) asked for could not be done, or what it gave made no sense: again, a little later.
    ///
    /// An offer of which nobody knows whether it was written is taken back before another is made: the backend may be
    /// connected to the rings that it names, or about to be.
    pub(super) fn handle_failed(&mut self, now: Instant) {
        if self.phase == Phase::Offering {
            self.phase = Phase::Closing;
        }
        self.retry = Some(now.saturating_add(RETRY));
    }

    /// A watch can't be waited for: it is set again, and everything looked at, a little later.
    pub(super) fn handle_watch_lost(&mut self, now: Instant) {
        self.device_changed = true;
        self.changed = true;
        self.handle_failed(now);
    }

    /// The device is given up, for good.
    pub(super) fn handle_death(&mut self) -> Effect {
        match self.phase {
            Phase::Dying | Phase::Dead => Effect::None,
            _ => self.lose(Phase::Dying),
        }
    }

    /// The domain was resumed: the toolstack made the device anew, whatever it was.
    pub(super) fn handle_resume(&mut self) -> Effect {
        let epoch = self.epoch.wrapping_add(1);
        let phase = match self.phase {
            Phase::Dying | Phase::Dead => Phase::Dead,
            _ => Phase::Start,
        };
        *self = Self {
            phase,
            epoch,
            ..Self::new()
        };
        Effect::Down
    }

    /// The backend broke the rings' protocol.
    pub(super) fn handle_fault(&mut self, now: Instant) -> Effect {
        if !matches!(self.phase, Phase::Offered | Phase::Connected) {
            return Effect::None;
        }
        let steady = self
            .connected_at
            .is_some_and(|since| now.saturating_duration_since(since) >= STEADY);
        if steady {
            self.faults = 0;
        }
        self.faulty = true;
        self.lose(Phase::Closing)
    }

    /// The deadline of [`Action::Wait`] has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Effect {
        if self.retry.is_some_and(|at| at <= now) {
            self.retry = None;
        }
        match self.phase {
            Phase::Closed { until } if until <= now => return self.pause(now),
            Phase::Paused { until } if until <= now => self.phase = Phase::Start,
            _ => {}
        }
        Effect::None
    }

    fn await_backend(&mut self, now: Instant, backend: Backend, usable: bool) -> Effect {
        self.phase = Phase::Awaiting;
        match backend.state {
            XenbusState::InitWait | XenbusState::Initialised if usable => {
                self.phase = Phase::Offering;
            }
            XenbusState::InitWait | XenbusState::Initialised => return self.pause(now),
            // With whoever was here before us.
            XenbusState::Connected | XenbusState::Reconfiguring | XenbusState::Reconfigured => {
                self.phase = Phase::Closing;
            }
            // It begins anew when it sees that we do.
            XenbusState::Closed if !self.reopened && backend.online => {
                self.phase = Phase::Reopening;
            }
            XenbusState::Initialising | XenbusState::Closing | XenbusState::Closed => {}
            XenbusState::Unknown => return self.lose(Phase::Absent),
        }
        Effect::None
    }

    fn await_connection(&mut self, now: Instant, state: XenbusState, carrier: bool) -> Effect {
        match state {
            XenbusState::Connected => {
                self.phase = Phase::Connected;
                self.connected_at = Some(now);
                Effect::Up { carrier }
            }
            XenbusState::Unknown => self.lose(Phase::Absent),
            XenbusState::Closing | XenbusState::Closed => self.lose(Phase::Closing),
            XenbusState::Initialising
            | XenbusState::InitWait
            | XenbusState::Initialised
            | XenbusState::Reconfiguring
            | XenbusState::Reconfigured => Effect::None,
        }
    }

    fn keep(&mut self, state: XenbusState, carrier: bool) -> Effect {
        match state {
            XenbusState::Connected | XenbusState::Reconfiguring | XenbusState::Reconfigured => {
                Effect::Up { carrier }
            }
            XenbusState::Unknown => self.lose(Phase::Absent),
            // One that began anew forgot us; so it seems, and our rings are not made anew before it has closed.
            XenbusState::Closing
            | XenbusState::Closed
            | XenbusState::Initialising
            | XenbusState::InitWait
            | XenbusState::Initialised => self.lose(Phase::Closing),
        }
    }

    fn await_closed(&mut self, now: Instant, backend: Backend) -> Effect {
        match backend.state {
            XenbusState::Unknown => return self.lose(Phase::Absent),
            // It is about to be taken away, or it comes back when the toolstack has changed its mind.
            XenbusState::Closed if !backend.online => return self.lose(Phase::Absent),
            XenbusState::Closed if self.faulty => return self.pause(now),
            XenbusState::Closed => self.phase = Phase::Reopening,
            XenbusState::Initialising
            | XenbusState::InitWait
            | XenbusState::Initialised
            | XenbusState::Connected
            | XenbusState::Closing
            | XenbusState::Reconfiguring
            | XenbusState::Reconfigured => {}
        }
        Effect::None
    }

    fn lose(&mut self, next: Phase) -> Effect {
        self.phase = next;
        self.connected_at = None;
        self.changed = false;
        self.reopened = false;
        Effect::Down
    }

    fn pause(&mut self, now: Instant) -> Effect {
        let pause = FIRST_PAUSE * (1 << self.faults.min(DOUBLINGS));
        self.faults = self.faults.saturating_add(1);
        self.faulty = false;
        self.lose(Phase::Paused {
            until: now.saturating_add(pause),
        })
    }
}
