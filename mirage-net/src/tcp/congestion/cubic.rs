//! CUBIC (RFC 9438), in integers.
//!
//! The specification counts in segments and seconds; here it is octets and milliseconds. With C = 0.4 the curve
//! `W_cubic(t) = C·(t - K)³ + W_max` segments is `W_max + (2/5)·MSS·(t - K)³/10⁹` octets for `t` in milliseconds, and
//! `K = ∛((W_max - cwnd_epoch)/C)` seconds is `∛((5/2)·10⁹·(W_max - cwnd_epoch)/MSS)` milliseconds.

use mirage_core::Instant;

use super::slow_start::Window;
use super::{AcknowledgedEvent, CongestionControl, CongestionSignal, MAX_WINDOW};

/// β_cubic = 0.7 (RFC 9438 §4.6).
const BETA: (u32, u32) = (7, 10);
/// (1 + β_cubic)/2, of fast convergence (RFC 9438 §4.7).
const FAST_CONVERGENCE: (u32, u32) = (17, 20);
/// α_cubic = 3·(1 - β_cubic)/(1 + β_cubic) = 9/17 (RFC 9438 §4.3).
const ALPHA: (u64, u64) = (9, 17);
/// The curve is followed this far from its plateau, in milliseconds: a thousand seconds, by which any window is at its
/// largest. The cube of it, 10¹⁸, fits into 63 bits.
const FARTHEST: u64 = 1_000_000;

/// RFC 9438, with fast convergence.
#[derive(Debug, Clone)]
pub struct Cubic {
    window: Window,
    /// W_max: the window before the last reduction, less where fast convergence says so. Zero after a time-out.
    maximum: u32,
    /// cwnd_prior: the window before the last reduction.
    before: u32,
    epoch: Option<Epoch>,
    /// When the last acknowledgement came: a time in which the window was not used does not count (§5.8).
    last: Instant,
    prior: Option<Prior>,
}

/// A stage of congestion avoidance.
#[derive(Debug, Clone)]
struct Epoch {
    start: Instant,
    /// K, in milliseconds.
    plateau_after: u64,
    /// The window on the plateau.
    plateau: u32,
    /// W_est: what Reno would have.
    estimate: u32,
    /// Parts of an octet that `estimate` is to grow by, of `17 · window`.
    estimate_rest: u64,
    /// Parts of an octet that the window is to grow by, of `window`.
    rest: u64,
}

/// What a spurious reduction is undone to.
#[derive(Debug, Clone)]
struct Prior {
    octets: u32,
    threshold: u32,
    maximum: u32,
    before: u32,
    epoch: Option<Epoch>,
}

impl Cubic {
    /// With the initial window of ten segments.
    pub const fn new() -> Self {
        Cubic {
            window: Window::new(),
            maximum: 0,
            before: 0,
            epoch: None,
            last: Instant::ZERO,
            prior: None,
        }
    }

    fn remember(&mut self) {
        self.prior = Some(Prior {
            octets: self.window.octets,
            threshold: self.window.threshold,
            maximum: self.maximum,
            before: self.before,
            epoch: self.epoch.take(),
        });
        self.before = self.window.octets;
    }

    /// §4.6.
    fn reduced(&self) -> u32 {
        scaled(self.window.octets, BETA)
    }

    fn begin_epoch(&self, now: Instant) -> Epoch {
        let window = self.window.octets;
        let plateau = self.maximum.max(window);
        Epoch {
            start: now,
            plateau_after: plateau_after(plateau - window, self.window.maximum_segment),
            plateau,
            estimate: window,
            estimate_rest: 0,
            rest: 0,
        }
    }

    /// §4.2 to §4.5: congestion avoidance.
    fn avoid(&mut self, event: &AcknowledgedEvent) {
        let mut epoch = match self.epoch.take() {
            Some(epoch) => epoch,
            None => self.begin_epoch(event.now),
        };
        let segment = self.window.maximum_segment;
        let window = self.window.octets.max(1);
        let acknowledged = u64::from(event.octets.min(window));

        // §4.3: W_est grows by α segments for each window acknowledged, and by one once it is where Reno would have been
        // before the reduction.
        let (numerator, denominator) = if epoch.estimate >= self.before {
            (ALPHA.1, ALPHA.1)
        } else {
            ALPHA
        };
        let parts = numerator * u64::from(segment) * acknowledged + epoch.estimate_rest;
        let whole = denominator * u64::from(window);
        epoch.estimate = bounded(u64::from(epoch.estimate) + parts / whole);
        epoch.estimate_rest = parts % whole;

        let elapsed = (event.now - epoch.start).as_millis() as u64;
        let round_trip = event.smoothed.as_millis() as u64;
        if epoch.at(elapsed, segment) < epoch.estimate {
            // §4.3: the Reno-friendly region.
            self.window.octets = window.max(epoch.estimate);
            epoch.rest = 0;
        } else {
            // §4.2: the target is where the curve will be in a round trip, at most half as much again.
            let target = epoch
                .at(elapsed.saturating_add(round_trip), segment)
                .clamp(window, bounded(u64::from(window) + u64::from(window / 2)));
            // §4.4 and §4.5: (target - cwnd)/cwnd for each segment.
            let parts = u64::from(target - window) * acknowledged + epoch.rest;
            self.window.grow((parts / u64::from(window)) as u32);
            epoch.rest = parts % u64::from(window);
        }
        self.epoch = Some(epoch);
    }
}

impl Epoch {
    /// W_cubic, `elapsed` milliseconds after the epoch began.
    fn at(&self, elapsed: u64, maximum_segment: u32) -> u32 {
        let distance = elapsed.abs_diff(self.plateau_after).min(FARTHEST);
        // (2/5)·MSS·d³/10⁹, in an order that neither overflows nor loses more than a few octets: d³ is at most 10¹⁸, so the
        // quotient is at most 10¹¹, and with a segment of 65,535 octets the product is below 2⁵⁵.
        let cube = distance * distance * distance / 10_000_000;
        let octets = cube * u64::from(maximum_segment) * 2 / 500;
        if elapsed >= self.plateau_after {
            bounded(u64::from(self.plateau) + octets)
        } else {
            u64::from(self.plateau).saturating_sub(octets) as u32
        }
    }
}

impl Default for Cubic {
    fn default() -> Self {
        Self::new()
    }
}

impl CongestionControl for Cubic {
    fn window(&self) -> u32 {
        self.window.octets
    }

    fn slow_start_threshold(&self) -> u32 {
        self.window.threshold
    }

    fn set_maximum_segment(&mut self, octets: u32) {
        self.window.set_maximum_segment(octets);
    }

    fn on_handshake_timeout(&mut self) {
        self.window.one_segment();
    }

    fn on_acknowledged(&mut self, event: &AcknowledgedEvent) {
        let last = core::mem::replace(&mut self.last, event.now);
        if !event.window_limited {
            // §5.8: the window stays, and so does the curve.
            if let Some(epoch) = &mut self.epoch {
                epoch.start += event.now - last;
            }
            self.window.touch();
        } else if self.window.in_slow_start() {
            self.window.slow_start(event);
        } else {
            self.window.touch();
            self.avoid(event);
        }
    }

    fn on_congestion(&mut self, now: Instant, _in_flight: u32, _signal: CongestionSignal) {
        let window = self.window.octets;
        self.remember();
        // §4.7: a flow whose window shrank since the last time leaves room to others.
        self.maximum = if window < self.maximum {
            scaled(window, FAST_CONVERGENCE)
        } else {
            window
        };
        self.window.reduce(self.reduced());
        self.last = now;
    }

    fn on_retransmission_timeout(&mut self, now: Instant, _in_flight: u32, repeated: bool) {
        if !repeated {
            self.remember();
        }
        // §4.8: the first stage after it begins on the plateau.
        self.maximum = 0;
        self.epoch = None;
        self.window.collapse(self.reduced(), repeated);
        self.last = now;
    }

    fn on_spurious(&mut self, _now: Instant) {
        // §4.9.
        if let Some(prior) = self.prior.take() {
            self.window.octets = self.window.octets.max(prior.octets);
            self.window.threshold = self.window.threshold.max(prior.threshold);
            self.maximum = prior.maximum;
            self.before = prior.before;
            self.epoch = prior.epoch;
        }
    }

    fn on_idle(&mut self, now: Instant) {
        // §5.8: the epoch begins anew, so that the idle time does not count.
        self.epoch = None;
        self.last = now;
        self.window.restart();
    }
}

/// K in milliseconds, for a window that lies `octets` below the plateau.
fn plateau_after(octets: u32, maximum_segment: u32) -> u64 {
    // At most 2³⁰·5·10⁹/2, which is below 2⁶².
    cube_root(u64::from(octets.min(MAX_WINDOW)) * 2_500_000_000 / u64::from(maximum_segment.max(1)))
}

/// The largest number whose cube is at most `value`: digit by digit, three bits of the value for one of the root.
fn cube_root(value: u64) -> u64 {
    let mut rest = value;
    let mut root: u64 = 0;
    let mut shift = 63;
    loop {
        root *= 2;
        // (root + 1)³ - root³. The root is below 2²² here, and the sum below 2⁴⁶.
        let step = 3 * root * (root + 1) + 1;
        if rest >> shift >= step {
            rest -= step << shift;
            root += 1;
        }
        if shift == 0 {
            return root;
        }
        shift -= 3;
    }
}

/// A window times a fraction below one.
fn scaled(window: u32, (numerator, denominator): (u32, u32)) -> u32 {
    (u64::from(window) * u64::from(numerator) / u64::from(denominator)) as u32
}

/// A window, at most the largest.
fn bounded(octets: u64) -> u32 {
    octets.min(u64::from(MAX_WINDOW)) as u32
}

#[cfg(test)]
mod tests;
