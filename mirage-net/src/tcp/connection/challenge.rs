//! Challenge acknowledgements (RFC 5961), and how often they are sent.

use core::time::Duration;

use super::{Connection, Context};
use crate::tcp::CongestionControl;

/// Out-of-window segments without data are answered once in this time: two ends that have lost each
/// other's numbers would answer each other for ever.
const ONCE_IN: Duration = Duration::from_millis(500);

impl<C: CongestionControl> Connection<C> {
    /// Asks a peer that seems to have reset, or to have begun anew, what it really means: only the
    /// real one knows the answer (RFC 5961 §3.2, §4.2, §5.2). The limit (§7) is the connection's own: by one that all shared
    /// a stranger would learn from its own connection whether it had guessed another's numbers (CVE-2016-5696).
    pub(super) fn challenge(&mut self, cx: &mut Context<'_, '_>) {
        if self.challenges.take(&cx.config.challenges, cx.now) {
            cx.counters.challenges_sent += 1;
            self.acknowledging.at_once();
        } else {
            cx.counters.challenges_limited += 1;
        }
    }

    /// Answers a segment that is not acceptable with what would be (RFC 9293 §3.10.7.4, first). With
    /// data it is answered at once: the acknowledgement of a retransmission was lost.
    pub(super) fn correct(&mut self, cx: &mut Context<'_, '_>, has_data: bool) {
        if has_data {
            self.acknowledging.at_once();
        } else if cx.now >= self.challenge_after {
            self.challenge_after = cx.now.saturating_add(ONCE_IN);
            self.acknowledging.at_once();
        } else {
            cx.counters.challenges_limited += 1;
        }
    }
}
