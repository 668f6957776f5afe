//! From ticks to nanoseconds.

/// What makes a system time of a time stamp counter's value (`struct vcpu_time_info`, xen.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeScale {
    /// The counter at [`system_time`](Self::system_time).
    pub tsc_timestamp: u64,
    /// Nanoseconds.
    pub system_time: u64,
    /// Nanoseconds of a shifted tick, times 2³².
    pub tsc_to_system_multiplier: u32,
    /// By how much ticks are shifted left, or right where it is negative.
    pub tsc_shift: i8,
}

impl TimeScale {
    /// The system time when the counter is at `ticks`, in nanoseconds:
    /// `system_time + ((((tsc - tsc_timestamp) << tsc_shift) * tsc_to_system_mul) >> 32)`, without an overflow on the way, and
    /// 2⁶⁴ - 1 at most. A counter before [`tsc_timestamp`](Self::tsc_timestamp) is taken for that.
    pub fn system_time_at(&self, ticks: u64) -> u64 {
        let passed = u128::from(ticks.saturating_sub(self.tsc_timestamp));
        let shift = u32::from(self.tsc_shift.unsigned_abs());
        let shifted = if self.tsc_shift < 0 {
            passed.checked_shr(shift).unwrap_or(0)
        } else if passed.leading_zeros() >= shift + 32 || passed == 0 {
            passed.checked_shl(shift).unwrap_or(0)
        } else {
            // It would be more than 2⁶⁴ nanoseconds with any multiplier that Xen uses.
            return u64::MAX;
        };
        let nanos = (shifted * u128::from(self.tsc_to_system_multiplier)) >> 32;
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.system_time.saturating_add(nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scale(multiplier: u32, shift: i8) -> TimeScale {
        TimeScale {
            tsc_timestamp: 1_000,
            system_time: 7_000_000_000,
            tsc_to_system_multiplier: multiplier,
            tsc_shift: shift,
        }
    }

    #[test]
    fn golden_values() {
        // 1 GHz: half a nanosecond, of twice the ticks.
        let one = scale(0x8000_0000, 1);
        assert_eq!(one.system_time_at(1_000), 7_000_000_000);
        assert_eq!(one.system_time_at(1_001), 7_000_000_001);
        assert_eq!(
            one.system_time_at(1_000 + 3_600_000_000_000),
            3_607_000_000_000
        );
        // 2,893.202 MHz, as Xen writes it: 2³² * 10⁹ / (2,893,202,000 / 2) = 2,969,006,171.
        let real = scale(2_969_006_171, -1);
        assert_eq!(real.system_time_at(1_000 + 2_893_202_000), 7_999_999_999);
        assert_eq!(
            real.system_time_at(1_000 + 86_400 * 2_893_202_000),
            86_406_999_999_492
        );
        assert_eq!(real.system_time_at(1_001), 7_000_000_000);
        assert_eq!(real.system_time_at(1_003), 7_000_000_000);
        assert_eq!(real.system_time_at(1_004), 7_000_000_001);
        // The counter was read ahead of the page.
        assert_eq!(real.system_time_at(999), 7_000_000_000);
        assert_eq!(real.system_time_at(0), 7_000_000_000);
    }

    #[test]
    fn scales_that_make_no_sense_give_some_time_and_no_panic() {
        for shift in [i8::MIN, -65, -64, -63, 0, 31, 32, 63, 64, i8::MAX] {
            for multiplier in [0, 1, u32::MAX] {
                let scale = scale(multiplier, shift);
                for ticks in [0, 1_000, 1_001, u64::MAX / 2, u64::MAX] {
                    assert!(scale.system_time_at(ticks) >= 7_000_000_000);
                }
            }
        }
        assert_eq!(
            scale(u32::MAX, i8::MIN).system_time_at(u64::MAX),
            7_000_000_000
        );
        assert_eq!(scale(u32::MAX, i8::MAX).system_time_at(u64::MAX), u64::MAX);
        assert_eq!(
            scale(u32::MAX, i8::MAX).system_time_at(1_000),
            7_000_000_000
        );
    }

    proptest! {
        /// As xen.h has it, where 64 bits hold what it shifts.
        #[test]
        fn as_the_header_has_it(
            passed in 0u64..1 << 40, multiplier in any::<u32>(), shift in -32i8..=23
        ) {
            let shifted = if shift < 0 { passed >> -shift } else { passed << shift };
            let nanos = (u128::from(shifted) * u128::from(multiplier)) >> 32;
            let expected = 7_000_000_000 + nanos as u64;
            prop_assert_eq!(scale(multiplier, shift).system_time_at(1_000 + passed), expected);
        }

        /// More ticks are never less time.
        #[test]
        fn time_goes_on_with_the_ticks(
            a in any::<u64>(), b in any::<u64>(), multiplier in any::<u32>(), shift in any::<i8>()
        ) {
            let scale = scale(multiplier, shift);
            prop_assert!(scale.system_time_at(a.min(b)) <= scale.system_time_at(a.max(b)));
        }
    }
}
