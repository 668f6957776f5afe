//! The sender against a receiver behind a path that loses, delays and repeats, in virtual time.

mod path;

use core::time::Duration;

use super::*;
use crate::tcp::NewReno;
use crate::tcp::send_queue::tests::check;
use crate::tcp::testing::{block, table};
use crate::wire::tcp::SackBlock;
use mirage_core::{Frame, Pool};
use path::{FIRST, Fate, Path, SEGMENT};
use proptest::prelude::*;
use std::vec::Vec;

const ROUND_TRIP: Duration = Duration::from_millis(100);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A path of 100 ms with so many segments to send.
fn path(segments: u64) -> Path {
    let mut path = Path::new(ROUND_TRIP);
    path.supply = segments * u64::from(SEGMENT);
    path
}

fn retransmission_timeouts(path: &Path) -> usize {
    let timeouts = path.timeouts.iter();
    timeouts
        .filter(|timeout| matches!(timeout, LossTimeout::Retransmission { .. }))
        .count()
}

fn repeated(path: &Path) -> usize {
    path.sent.iter().filter(|sent| sent.again).count()
}

fn undone(path: &Path) -> bool {
    path.outcomes.iter().any(|outcome| outcome.undone)
}

#[test]
fn nothing_is_sent_twice_without_a_loss() {
    let mut path = path(500);
    path.finish = true;
    path.run_to_the_end();
    assert_eq!(repeated(&path), 0);
    assert!(path.timeouts.is_empty());
    assert!(path.sender.queue().fin_acknowledged());
    assert!(path.receiver.is_drained());
}

#[test]
fn rfc8985_6_one_loss_is_repaired_in_a_round_trip() {
    let mut path = path(60);
    path.lose_these(&[12]);
    path.run_to_the_end();
    assert_eq!((repeated(&path), retransmission_timeouts(&path)), (1, 0));
    let again = path.sent.iter().find(|sent| sent.again).unwrap();
    assert_eq!((again.offset, again.octets), (12 * SEGMENT, SEGMENT));
    let first = path.sent[12].at;
    // A round trip, and at most a quarter of one to wait for what was only reordered.
    assert!(again.at - first <= ms(126), "{:?}", again.at - first);
    // CUBIC's window: seven tenths of what was in flight.
    assert!(path.sender.congestion().slow_start_threshold() < 30 * SEGMENT);
}

#[test]
fn rfc8985_6_many_losses_of_one_window_are_repaired_without_a_time_out() {
    let mut path = path(300);
    path.lose_these(&[30, 31, 33, 35, 36, 37, 40, 44, 50, 51, 52, 53, 60]);
    path.run_to_the_end();
    assert_eq!((repeated(&path), retransmission_timeouts(&path)), (13, 0));
}

#[test]
fn rfc8985_6_a_lost_retransmission_is_found_without_a_time_out() {
    let mut path = path(300);
    // The first time that segment 20 is sent again, that is lost too.
    path.fate = std::boxed::Box::new(|number, sent| {
        let is_it = sent.offset == 20 * SEGMENT;
        if is_it && (number == 20 || number < 60) {
            Fate::IsLost
        } else {
            Fate::Arrives
        }
    });
    path.run_to_the_end();
    assert_eq!(retransmission_timeouts(&path), 0);
    let times = path.sent.iter().filter(|sent| sent.offset == 20 * SEGMENT);
    assert!(times.count() >= 3);
}

#[test]
fn rfc8985_7_a_lost_tail_is_probed_for() {
    for lost in [&[29][..], &[27, 28, 29], &[20, 24, 29]] {
        let mut path = path(30);
        path.finish = true;
        let lost: &'static [usize] = lost.to_vec().leak();
        path.lose_these(lost);
        path.run_to_the_end();
        assert_eq!(retransmission_timeouts(&path), 0, "{lost:?}");
        assert!(path.receiver.is_drained());
    }
}

#[test]
fn rfc8985_7_4_a_loss_that_the_probe_repaired_reduces_the_window() {
    let mut path = path(30);
    path.lose_these(&[29]);
    path.run_to_the_end();
    assert!(path.timeouts.contains(&LossTimeout::TailProbe));
    // The next data are acknowledged beyond the probe.
    path.supply = 4 * u64::from(SEGMENT);
    path.run_to_the_end();
    assert!(path.sender.congestion().slow_start_threshold() < u32::MAX);
}

#[test]
fn rfc8985_7_a_probe_that_was_needless_reduces_nothing() {
    let mut path = path(30);
    // The acknowledgement of the last two segments is lost, the data arrived.
    path.acknowledgement_fate = std::boxed::Box::new(|number| match number {
        14 => Fate::IsLost,
        _ => Fate::Arrives,
    });
    path.run_to_the_end();
    path.supply = 4 * u64::from(SEGMENT);
    path.run_to_the_end();
    assert_eq!(path.sender.congestion().slow_start_threshold(), u32::MAX);
    assert_eq!(retransmission_timeouts(&path), 0);
}

#[test]
fn fast_retransmit_of_a_lone_fin() {
    let mut path = path(3);
    path.run_to_the_end();
    path.finish = true;
    path.lose_these(&[3]);
    path.run_to_the_end();
    assert!(path.sender.queue().fin_acknowledged() && path.receiver.is_finished());
    assert_eq!(retransmission_timeouts(&path), 0);
}

#[test]
fn rfc6298_5_when_all_is_lost_the_timer_sends_the_first_again() {
    let mut path = path(20);
    path.fate = std::boxed::Box::new(|_, sent| {
        if sent.at < Instant::from_secs(3) {
            Fate::IsLost
        } else {
            Fate::Arrives
        }
    });
    path.run_to_the_end();
    // Nothing was measured: a second, less what the probe took of it, then two.
    assert!(retransmission_timeouts(&path) >= 1);
    assert!(repeated(&path) >= 10);
}

#[test]
fn rfc6298_5_5_the_timer_backs_off_while_nothing_is_heard() {
    let mut path = path(5);
    path.fate = std::boxed::Box::new(|_, _| Fate::IsLost);
    path.run_for(Duration::from_secs(200));
    let times: Vec<Instant> = path.sent.iter().skip(5).map(|sent| sent.at).collect();
    let gaps: Vec<u64> = times
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs())
        .collect();
    assert_eq!(gaps, [1, 2, 4, 8, 16, 32, 60, 60], "{times:?}");
    let last = path.timeouts.last().unwrap();
    assert_eq!(*last, LossTimeout::Retransmission { consecutive: 8 });
}

#[test]
fn rfc6298_5_4_the_first_segment_that_is_not_acknowledged_is_sent_again_first() {
    // What was lost before it, later, and again, is in the list of what is lost in another order.
    let (mut sender, mut table) = by_hand(6, false);
    let now = |milliseconds| Instant::from_secs(1) + ms(milliseconds);
    sender.queue_mut().mark_head_lost(&mut table, 100);
    let mut frame = Frame::new();
    let sent = sender.retransmit(now(10), &mut table, 100, &mut frame);
    assert_eq!(sent.unwrap().sequence, FIRST);
    sender.queue_mut().mark_all_lost(&mut table);
    let sent = sender.retransmit(now(20), &mut table, 100, &mut frame);
    assert_eq!(sent.unwrap().sequence, FIRST);
    sender.clear(&mut table);
}

#[test]
fn rfc3522_a_spurious_time_out_is_undone_by_timestamps() {
    let mut path = path(200);
    // Everything stops for more than half a second, and nothing is lost.
    let stop = Instant::from_millis(1_350);
    path.fate = std::boxed::Box::new(move |_, sent| {
        if sent.at >= stop && sent.at < stop + ms(600) {
            Fate::IsLate(stop + ms(600) - sent.at)
        } else {
            Fate::Arrives
        }
    });
    path.run_to_the_end();
    assert!(retransmission_timeouts(&path) >= 1);
    assert!(undone(&path));
    assert_eq!(path.sender.congestion().slow_start_threshold(), u32::MAX);
    assert!(repeated(&path) < 10, "{}", repeated(&path));
}

#[test]
fn rfc5682_a_spurious_time_out_is_undone_without_timestamps() {
    let mut path = path(400);
    path.timestamps = false;
    let stop = Instant::from_millis(1_350);
    path.fate = std::boxed::Box::new(move |_, sent| {
        if sent.at >= stop && sent.at < stop + ms(600) {
            Fate::IsLate(stop + ms(600) - sent.at)
        } else {
            Fate::Arrives
        }
    });
    path.run_to_the_end();
    assert!(retransmission_timeouts(&path) >= 1);
    assert!(undone(&path));
    assert_eq!(path.sender.congestion().slow_start_threshold(), u32::MAX);
}

#[test]
fn rfc8985_6_2_what_is_reordered_by_less_than_a_quarter_of_a_round_trip_is_waited_for() {
    for timestamps in [true, false] {
        let mut path = path(2_000);
        path.timestamps = timestamps;
        path.fate = std::boxed::Box::new(|number, _| {
            if number % 7 == 3 {
                Fate::IsLate(ms(15))
            } else {
                Fate::Arrives
            }
        });
        path.run_to_the_end();
        // Until reordering was seen something may be sent again in vain.
        assert!(repeated(&path) < 20, "{}", repeated(&path));
        assert_eq!(retransmission_timeouts(&path), 0);
    }
}

#[test]
fn rfc3708_what_arrived_twice_was_not_lost() {
    let mut path = path(400);
    path.timestamps = false;
    // One segment is later than any reordering window.
    path.fate = std::boxed::Box::new(|number, _| {
        if number == 40 {
            Fate::IsLate(ms(70))
        } else {
            Fate::Arrives
        }
    });
    path.run_to_the_end();
    assert_eq!(repeated(&path), 1);
    assert!(undone(&path));
    assert!(
        path.outcomes
            .iter()
            .any(|outcome| outcome.duplicate_reported)
    );
    assert_eq!(path.sender.congestion().slow_start_threshold(), u32::MAX);
}

#[test]
fn a_segment_that_is_repeated_by_the_path_is_no_loss() {
    let mut path = path(400);
    path.fate = std::boxed::Box::new(|number, _| {
        if number % 10 == 0 {
            Fate::Twice
        } else {
            Fate::Arrives
        }
    });
    path.run_to_the_end();
    assert_eq!(repeated(&path), 0);
    assert_eq!(path.sender.congestion().slow_start_threshold(), u32::MAX);
}

#[test]
fn rfc6582_without_sack_losses_are_repaired_one_a_round_trip() {
    for lost in [&[20][..], &[20, 24], &[20, 21, 22, 30]] {
        let mut path = path(200);
        path.sender.set_sack(false);
        let lost: &'static [usize] = lost.to_vec().leak();
        path.lose_these(lost);
        path.run_to_the_end();
        assert_eq!(retransmission_timeouts(&path), 0, "{lost:?}");
        assert_eq!(repeated(&path), lost.len(), "{lost:?}");
    }
}

#[test]
fn rfc5681_3_2_a_loss_in_a_small_window_needs_no_time_out() {
    for sack in [true, false] {
        let mut path = path(40);
        path.window = 6 * SEGMENT;
        path.sender.set_sack(sack);
        path.lose_these(&[9]);
        path.run_to_the_end();
        assert_eq!(retransmission_timeouts(&path), 0, "SACK {sack}");
    }
}

#[test]
fn rfc3168_6_1_2_a_mark_reduces_the_window_once_a_round_trip() {
    let mut path = path(400);
    path.marks = 30..60;
    path.run_to_the_end();
    let reductions = path
        .outcomes
        .iter()
        .filter(|outcome| outcome.congestion_reduced);
    let reductions = reductions.count();
    assert!((1..=3).contains(&reductions), "{reductions}");
    assert_eq!(repeated(&path), 0);
    assert!(path.sender.congestion().slow_start_threshold() < u32::MAX);
}

/// A sender with `segments` sent, each a page of 100 octets, to be acknowledged by hand.
fn by_hand(segments: usize, sack: bool) -> (Sender, SegmentTable<'static>) {
    let pool = Pool::leak(segments, 128).unwrap();
    let mut table = table(4 * segments + 64);
    let mut sender = Sender::new(
        FIRST,
        100,
        AnyCongestion::default(),
        RoundTripConfig::DEFAULT,
    );
    sender.set_sack(sack);
    for _ in 0..segments {
        let page = crate::tcp::testing::page(pool, 0, &[7; 100]);
        sender.queue_mut().push(&mut table, page).unwrap();
        let mut frame = Frame::new();
        let sent = sender.transmit(Instant::from_secs(1), &mut table, 100, 1 << 20, &mut frame);
        assert!(sent.is_some());
    }
    (sender, table)
}

fn offer(
    sender: &mut Sender,
    table: &mut SegmentTable<'_>,
    milliseconds: u64,
    to: u32,
    sack: &[(u32, u32)],
) -> AcknowledgementOutcome {
    offer_with_echo(sender, table, milliseconds, to, sack, None)
}

/// `echo` is when the segment was sent whose timestamp comes back, in milliseconds as the time.
fn offer_with_echo(
    sender: &mut Sender,
    table: &mut SegmentTable<'_>,
    milliseconds: u64,
    to: u32,
    sack: &[(u32, u32)],
    echo: Option<u64>,
) -> AcknowledgementOutcome {
    let number = |offset: u32| (FIRST + offset).get();
    let blocks: Vec<SackBlock> = sack
        .iter()
        .map(|(left, right)| block(number(*left), number(*right)))
        .collect();
    let now = Instant::from_secs(1) + ms(milliseconds);
    sender.handle_acknowledgement(
        now,
        table,
        &Acknowledgement {
            acknowledgement: FIRST + to,
            window: 1 << 20,
            sack: &blocks,
            timestamp_echo: echo.map(|milliseconds| Instant::from_secs(1) + ms(milliseconds)),
            duplicate: true,
            ecn_echo: false,
        },
    )
}

/// A sender that has measured 50 ms, has one segment in flight since then, and has sent it again after a time-out.
fn timed_out() -> (Sender, SegmentTable<'static>) {
    let (mut sender, mut table) = by_hand(2, true);
    offer_with_echo(&mut sender, &mut table, 50, 100, &[], Some(0));
    let mut frame = Frame::new();
    loop {
        let at = sender.poll_timeout().unwrap();
        let outcome = sender.handle_timeout(at, &mut table, 1 << 20);
        frame.truncate(0);
        assert!(sender.retransmit(at, &mut table, 100, &mut frame).is_some());
        if matches!(outcome, LossTimeout::Retransmission { consecutive: 3 }) {
            break;
        }
    }
    assert!(sender.sent_at > Instant::from_secs(1) + ms(1_000));
    (sender, table)
}

#[test]
fn an_acknowledgement_that_was_lost_is_not_measured_by_the_one_of_the_second_copy() {
    // The peer has got the first copy, and says that the last one was the second; it echoes the first one's timestamp.
    let (mut sender, mut table) = timed_out();
    let now = (sender.sent_at - Instant::from_secs(1)).as_millis() as u64 + 50;
    let outcome = offer_with_echo(&mut sender, &mut table, now, 200, &[(100, 200)], Some(0));
    assert_eq!(
        (outcome.acknowledged, outcome.duplicate_reported),
        (100, true)
    );
    assert_eq!(sender.round_trip().smoothed(), Some(ms(50)));
    sender.clear(&mut table);
}

#[test]
fn rfc7323_4_a_late_acknowledgement_of_the_first_copy_is_measured() {
    // Nothing arrived twice: the path has become slow, and the time-out has to learn it.
    let (mut sender, mut table) = timed_out();
    let now = (sender.sent_at - Instant::from_secs(1)).as_millis() as u64 + 50;
    offer_with_echo(&mut sender, &mut table, now, 200, &[], Some(0));
    assert!(sender.round_trip().smoothed() > Some(ms(150)));
    sender.clear(&mut table);
}

#[test]
fn what_comes_out_of_order_is_timed_and_not_what_is_acknowledged_with_it() {
    let (mut sender, mut table) = by_hand(4, true);
    offer_with_echo(&mut sender, &mut table, 50, 100, &[], Some(0));
    // The acknowledgement of the second segment is lost; long after, a fifth and a sixth are sent, and the fifth is lost.
    let pool = Pool::leak(2, 128).unwrap();
    let later = Instant::from_secs(1) + ms(5_000);
    for _ in 0..2 {
        let page = crate::tcp::testing::page(pool, 0, &[7; 100]);
        sender.queue_mut().push(&mut table, page).unwrap();
        let mut frame = Frame::new();
        let sent = sender.transmit(later, &mut table, 100, 1 << 20, &mut frame);
        assert!(sent.is_some());
    }
    let outcome = offer_with_echo(&mut sender, &mut table, 5_050, 400, &[(500, 600)], Some(0));
    assert_eq!(outcome.acknowledged, 300);
    let smoothed = sender.round_trip().smoothed().unwrap();
    assert!(smoothed <= ms(51), "{smoothed:?}");
    sender.clear(&mut table);
}

#[test]
fn rfc7323_4_the_echo_says_which_of_several_is_acknowledged() {
    let (mut sender, mut table) = by_hand(2, true);
    offer_with_echo(&mut sender, &mut table, 50, 100, &[], Some(0));
    let pool = Pool::leak(1, 128).unwrap();
    let page = crate::tcp::testing::page(pool, 0, &[7; 100]);
    sender.queue_mut().push(&mut table, page).unwrap();
    let later = Instant::from_secs(1) + ms(5_000);
    let mut frame = Frame::new();
    let sent = sender.transmit(later, &mut table, 100, 1 << 20, &mut frame);
    assert!(sent.is_some());
    // The acknowledgement of the second segment was lost: this one is of the third.
    offer_with_echo(&mut sender, &mut table, 5_050, 300, &[], Some(5_000));
    let smoothed = sender.round_trip().smoothed().unwrap();
    assert!(smoothed <= ms(51), "{smoothed:?}");
    sender.clear(&mut table);
}

#[test]
fn an_ack_for_data_never_sent_is_not_accepted() {
    let (mut sender, mut table) = by_hand(4, true);
    for to in [401, 500, 1 << 31, u32::MAX] {
        let outcome = offer(&mut sender, &mut table, 50, to, &[]);
        assert_eq!(outcome, AcknowledgementOutcome::default());
    }
    assert_eq!(sender.queue().outstanding(), 400);
    sender.clear(&mut table);
}

#[test]
fn rfc2018_8_blocks_that_can_t_be_are_ignored() {
    let (mut sender, mut table) = by_hand(4, true);
    let blocks = [(300, 500), (200, 200), (300, 200)];
    let outcome = offer(&mut sender, &mut table, 50, 0, &blocks);
    assert_eq!((outcome.invalid_blocks, outcome.delivered), (3, 0));
    assert_eq!(sender.queue().sacked(), 0);
    // Of one that is acknowledged in part the rest counts.
    let outcome = offer(&mut sender, &mut table, 60, 100, &[(300, 400), (50, 200)]);
    assert_eq!((outcome.acknowledged, outcome.delivered), (100, 300));
    assert_eq!(sender.queue().sacked(), 200);
    sender.clear(&mut table);
}

#[test]
fn rfc6675_a_block_may_begin_and_end_anywhere() {
    let (mut sender, mut table) = by_hand(4, true);
    let outcome = offer(&mut sender, &mut table, 50, 0, &[(150, 250)]);
    assert_eq!((outcome.delivered, sender.queue().sacked()), (100, 100));
    assert_eq!(
        offer(&mut sender, &mut table, 50, 0, &[(150, 250)]).delivered,
        0
    );
    assert_eq!(
        offer(&mut sender, &mut table, 50, 0, &[(101, 399)]).delivered,
        198
    );
    assert_eq!(sender.queue().sacked(), 298);
    let outcome = offer(&mut sender, &mut table, 60, 400, &[]);
    assert_eq!((outcome.acknowledged, outcome.delivered), (400, 102));
    assert_eq!(
        (sender.queue().sacked(), sender.queue().in_flight()),
        (0, 0)
    );
    assert_eq!(table.free(), table.capacity());
}

#[test]
fn rfc2018_8_what_a_peer_took_back_is_sent_again_after_the_time_out() {
    let (mut sender, mut table) = by_hand(6, true);
    offer(&mut sender, &mut table, 50, 0, &[(100, 600)]);
    assert_eq!(sender.queue().sacked(), 500);
    // The first is acknowledged, and what was reported behind it is not: the peer has dropped it.
    offer(&mut sender, &mut table, 100, 100, &[]);
    let mut now = sender.poll_timeout().unwrap();
    while !matches!(
        sender.handle_timeout(now, &mut table, 1 << 20),
        LossTimeout::Retransmission { .. }
    ) {
        let mut frame = Frame::new();
        while sender
            .retransmit(now, &mut table, 100, &mut frame)
            .is_some()
        {}
        now = sender.poll_timeout().unwrap();
    }
    assert_eq!((sender.queue().sacked(), sender.queue().lost()), (0, 500));
    let mut frame = Frame::new();
    let sent = sender.retransmit(now, &mut table, 100, &mut frame).unwrap();
    assert_eq!(sent.sequence, FIRST + 100);
    sender.clear(&mut table);
}

#[test]
fn one_acknowledgement_passes_over_a_bounded_number_of_slots() {
    let (mut sender, mut table) = by_hand(3_000, true);
    // What is too far is not found.
    let outcome = offer(&mut sender, &mut table, 50, 0, &[(299_900, 300_000)]);
    assert_eq!(outcome.delivered, 0);
    let outcome = offer(&mut sender, &mut table, 50, 0, &[(80_000, 80_100)]);
    assert_eq!(outcome.delivered, 100);
    // From there on it goes farther.
    let outcome = offer(&mut sender, &mut table, 50, 0, &[(160_000, 160_100)]);
    assert_eq!(outcome.delivered, 100);
    sender.clear(&mut table);
}

#[test]
fn a_block_that_grows_by_a_segment_is_found_at_its_end() {
    let (mut sender, mut table) = by_hand(3_000, true);
    for number in 2..=3_000 {
        let outcome = offer(&mut sender, &mut table, 50, 0, &[(100, 100 * number)]);
        assert_eq!(outcome.delivered, 100, "{number}");
    }
    check(sender.queue(), &table);
    // A second hole, filled: two runs become one.
    let (mut sender, mut table) = by_hand(3_000, true);
    offer(&mut sender, &mut table, 50, 0, &[(100, 100_000)]);
    offer(
        &mut sender,
        &mut table,
        50,
        0,
        &[(100_100, 299_000), (100, 100_000)],
    );
    check(sender.queue(), &table);
    let outcome = offer(&mut sender, &mut table, 50, 0, &[(100, 299_000)]);
    assert_eq!(outcome.delivered, 100);
    check(sender.queue(), &table);
    // Acknowledged in the middle of the run, which goes on.
    offer(&mut sender, &mut table, 50, 150_050, &[]);
    check(sender.queue(), &table);
    let outcome = offer(&mut sender, &mut table, 50, 150_050, &[(150_050, 300_000)]);
    assert_eq!(outcome.delivered, 1_000);
    check(sender.queue(), &table);
    sender.clear(&mut table);
}

#[test]
fn rfc3042_each_duplicate_lets_one_more_segment_out() {
    for sack in [true, false] {
        let (mut sender, mut table) = by_hand(10, sack);
        let now = Instant::from_secs(1) + ms(50);
        assert_eq!(sender.allowance(now), 0);
        for number in 1..3 {
            let blocks = [(100, 100 + 100 * number)];
            offer(&mut sender, &mut table, 50, 0, &blocks);
            assert_eq!(sender.allowance(now), 100 * number);
        }
        sender.clear(&mut table);
    }
}

#[test]
fn rfc5681_3_2_two_duplicates_are_no_loss_and_three_are() {
    let (mut sender, mut table) = by_hand(8, false);
    offer(&mut sender, &mut table, 50, 100, &[]);
    assert_eq!(offer(&mut sender, &mut table, 60, 100, &[]).lost, 0);
    assert_eq!(offer(&mut sender, &mut table, 61, 100, &[]).lost, 0);
    assert_eq!(offer(&mut sender, &mut table, 62, 100, &[]).lost, 100);
    let mut frame = Frame::new();
    let now = Instant::from_secs(1) + ms(62);
    let sent = sender.retransmit(now, &mut table, 100, &mut frame).unwrap();
    assert_eq!((sent.sequence, sent.octets), (FIRST + 100, 100));
    // More duplicates than there are segments let nothing more out.
    for _ in 0..100 {
        offer(&mut sender, &mut table, 63, 100, &[]);
    }
    assert!(sender.allowance(now) <= 10 * 100);
    sender.clear(&mut table);
}

#[test]
fn rfc1191_6_5_after_a_smaller_path_mtu_all_is_sent_again_in_smaller_segments() {
    let (mut sender, mut table) = by_hand(4, true);
    sender.path_mtu_reduced(&mut table, 60);
    let now = Instant::from_secs(1) + ms(10);
    let mut octets = 0;
    loop {
        let mut frame = Frame::new();
        let Some(sent) = sender.retransmit(now, &mut table, 1_000, &mut frame) else {
            break;
        };
        assert!(sent.octets <= 60);
        octets += sent.octets;
    }
    assert_eq!(octets, 400);
    assert_eq!(sender.congestion().slow_start_threshold(), u32::MAX);
    assert_eq!(
        offer(&mut sender, &mut table, 50, 400, &[]).acknowledged,
        400
    );
}

#[test]
fn rfc4821_7_6_2_what_a_router_called_too_large_is_sent_again_without_a_congestion_event() {
    let (mut sender, mut table) = by_hand(4, true);
    let window = sender.congestion().window();
    sender.segment_too_large(&mut table, FIRST + 200, 100);
    assert_eq!(
        (sender.queue().lost(), sender.queue().in_flight()),
        (100, 300)
    );
    let mut frame = Frame::new();
    let now = Instant::from_secs(1) + ms(10);
    let sent = sender.retransmit(now, &mut table, 60, &mut frame).unwrap();
    assert_eq!((sent.sequence, sent.octets), (FIRST + 200, 60));
    assert!(!sender.is_recovering());
    assert_eq!(sender.congestion().window(), window);
    sender.clear(&mut table);
}

#[test]
fn rfc9293_3_8_6_1_a_closed_window_is_probed_with_one_octet() {
    let pool = Pool::leak(2, 128).unwrap();
    let mut table = table(16);
    let mut sender = Sender::new(
        FIRST,
        100,
        AnyCongestion::default(),
        RoundTripConfig::DEFAULT,
    );
    let page = crate::tcp::testing::page(pool, 0, b"waiting");
    sender.queue_mut().push(&mut table, page).unwrap();
    let now = Instant::from_secs(1);
    for again in [false, true, true] {
        let mut frame = Frame::new();
        let sent = sender.probe_window(now, &mut table, &mut frame).unwrap();
        assert_eq!(
            (sent.sequence, sent.octets, sent.retransmission),
            (FIRST, 1, again)
        );
        assert_eq!(crate::tcp::testing::bytes(&frame), b"w");
        assert_eq!(sender.poll_timeout(), None);
    }
    sender.window_opened(now + Duration::from_secs(60));
    assert!(sender.poll_timeout().unwrap() > now + Duration::from_secs(60));
    let mut frame = Frame::new();
    let sent = sender
        .transmit(now, &mut table, 100, 100, &mut frame)
        .unwrap();
    assert_eq!((sent.sequence, sent.octets), (FIRST + 1, 6));
    sender.clear(&mut table);
}

#[test]
fn rfc5681_4_1_an_idle_connection_begins_with_the_initial_window() {
    let mut path = path(2_000);
    path.run_to_the_end();
    let now = path.now;
    assert!(path.sender.allowance(now) > 20 * SEGMENT);
    path.now += Duration::from_secs(5);
    let now = path.now;
    assert_eq!(path.sender.allowance(now), 10 * SEGMENT);
    path.supply = 100 * u64::from(SEGMENT);
    path.run_to_the_end();
}

#[test]
fn karn_what_was_sent_twice_is_not_timed() {
    let mut path = path(30);
    path.timestamps = false;
    path.lose_these(&[5, 12, 13]);
    path.run_to_the_end();
    let smoothed = path.sender.round_trip().smoothed().unwrap();
    assert!(smoothed >= ms(99) && smoothed <= ms(141), "{smoothed:?}");
    let minimum = path.sender.round_trip().minimum().unwrap();
    assert!(minimum >= ms(99) && minimum <= ms(100), "{minimum:?}");
}

#[test]
fn goodput_a_lossless_link_of_100_mbit_is_filled_to_nine_tenths() {
    let mut path = path(1_000_000);
    path.window = 4 << 20;
    path.table = table(16_384);
    // A queue of half a round trip's octets.
    path.bottleneck = Some((12_500_000, 625_000));
    let start = path.now;
    path.run_for(Duration::from_secs(20));
    let goodput = path.goodput(start);
    // In a segment's 1,500 octets 1,448 are data.
    let link = 12_500_000.0 * 1_448.0 / 1_500.0;
    std::println!("of a link of {link:.0} octets/s: {goodput:.0}");
    assert!(goodput > 0.9 * link, "{goodput}");
}

#[test]
fn goodput_with_a_loss_in_a_thousand_nine_tenths_of_the_response_function_are_reached() {
    let p: f64 = 0.001;
    // RFC 9438 §5.1, figure 9, and §5.1's Reno; the larger one counts (§4.3).
    let cubic = (0.4f64 * 3.7 / 1.2).powf(0.25) * 0.1f64.powf(0.75) / p.powf(0.75);
    let reno = (1.5 / p).sqrt();
    let response = cubic.max(reno) * f64::from(SEGMENT) / 0.1;
    let mut total = 0.0;
    for seed in 0..4 {
        let mut path = path(1_000_000);
        path.lose(1, seed);
        path.acknowledgement_fate = std::boxed::Box::new(|_| Fate::Arrives);
        let start = path.now;
        path.run_for(Duration::from_secs(100));
        total += path.goodput(start) / 4.0;
    }
    std::println!("of a response of {response:.0} octets/s: {total:.0}");
    assert!(total > 0.9 * response, "{total} of {response}");
}

#[test]
fn goodput_falls_gracefully_with_losses_both_ways() {
    // At least, in octets a second, with 32 KiB of window: far above what a stack without SACK has.
    for (per_mille, least) in [
        (10, 140_000),
        (50, 50_000),
        (100, 20_000),
        (200, 5_000),
        (300, 1_000),
    ] {
        let mut path = path(100_000);
        path.window = 32 * 1_024;
        path.lose(per_mille, 7);
        let start = path.now;
        path.run_for(Duration::from_secs(120));
        let goodput = path.goodput(start);
        std::println!("{per_mille} of 1,000 lost: {goodput:.0} octets/s");
        assert!(goodput > f64::from(least), "{per_mille}: {goodput}");
    }
}

#[test]
fn reno_is_a_choice() {
    let congestion = AnyCongestion::NewReno(NewReno::new());
    let mut path = path(2_000);
    path.sender = Sender::new(FIRST, SEGMENT, congestion, RoundTripConfig::DEFAULT);
    path.sender.set_sack(true);
    path.lose(10, 3);
    path.run_to_the_end();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any mixture of losses, delays and repetitions, with and without SACK and timestamps: the stream arrives whole, the
    /// connection ends, and no page or slot is lost.
    #[test]
    fn whatever_the_path_does_the_stream_arrives(
        seed: u64, loss in 0u32..300, delay in 0u32..300, sack: bool, timestamps: bool, reno: bool,
        window in 2u32..200, segments in 1u64..150,
    ) {
        use rand_chacha::rand_core::{Rng, SeedableRng};
        let mut path = path(segments);
        if reno {
            let congestion = AnyCongestion::NewReno(NewReno::new());
            path.sender = Sender::new(FIRST, SEGMENT, congestion, RoundTripConfig::DEFAULT);
        }
        path.sender.set_sack(sack);
        path.timestamps = timestamps;
        path.window = window * SEGMENT;
        path.finish = true;
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut fate = move || match rng.next_u32() % 1_000 {
            number if number < loss => Fate::IsLost,
            number if number < loss + delay => Fate::IsLate(Duration::from_micros(u64::from(rng.next_u32() % 200_000))),
            number if number % 50 == 0 => Fate::Twice,
            _ => Fate::Arrives,
        };
        let mut back = {
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed ^ 1);
            move || if rng.next_u32() % 1_000 < loss / 2 { Fate::IsLost } else { Fate::Arrives }
        };
        path.fate = std::boxed::Box::new(move |_, _| fate());
        path.acknowledgement_fate = std::boxed::Box::new(move |_| back());
        path.run_to_the_end();
        prop_assert_eq!(path.received, segments * u64::from(SEGMENT));
        prop_assert!(path.receiver.is_drained());
    }

    /// Acknowledgements and blocks of any kind: no count goes below zero, and nothing panics.
    #[test]
    fn hostile_acknowledgements_do_no_harm(
        offers in proptest::collection::vec(
            (0u32..2_200, proptest::collection::vec((0u32..2_300, 0u32..2_300), 0..4), 0u8..8, 0u64..400),
            1..80,
        ),
        sack: bool,
    ) {
        let (mut sender, mut table) = by_hand(20, sack);
        let mut milliseconds = 20;
        for (to, blocks, action, wait) in offers {
            milliseconds += wait;
            let now = Instant::from_secs(1) + ms(milliseconds);
            match action {
                0 | 1 => {
                    if sender.poll_timeout().is_some_and(|deadline| deadline <= now) {
                        sender.handle_timeout(now, &mut table, 1_000);
                    }
                }
                2 | 3 => {
                    let mut frame = Frame::new();
                    let _ = sender.retransmit(now, &mut table, 70, &mut frame);
                }
                _ => {
                    let to = if action == 4 { to } else { to / 8 };
                    offer(&mut sender, &mut table, milliseconds, to, &blocks);
                }
            }
            let queue = sender.queue();
            check(queue, &table);
            prop_assert_eq!(queue.in_flight() + queue.lost() + queue.sacked(), queue.outstanding());
            prop_assert!(queue.outstanding() <= 2_000);
            prop_assert_eq!(sender.poll_timeout().is_none(), queue.outstanding() == 0);
            prop_assert!(sender.congestion().window() >= 100);
        }
        sender.clear(&mut table);
        prop_assert_eq!(table.free(), table.capacity());
    }
}
