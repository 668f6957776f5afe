use proptest::prelude::*;

use super::*;

const NOW: Instant = Instant::from_secs(1_000);

fn up(state: XenbusState) -> Backend {
    Backend {
        state,
        carrier: true,
        online: true,
    }
}

/// A handshake that waits for the backend to be ready.
fn found() -> Handshake {
    let mut handshake = Handshake::new();
    assert_eq!(handshake.action(), Action::Read(Subject::Device));
    let _ = handshake.handle_device(NOW, Found::Other);
    assert_eq!(handshake.action(), Action::Read(Subject::Backend));
    handshake
}

fn offered() -> Handshake {
    let mut handshake = found();
    let _ = handshake.handle_backend(NOW, up(XenbusState::InitWait), true);
    assert_eq!(handshake.action(), Action::Offer);
    assert_eq!(handshake.handle_offered(NOW, true), Effect::None);
    assert_eq!(handshake.action(), Action::Wait(None));
    handshake
}

fn connected() -> Handshake {
    let mut handshake = offered();
    handshake.handle_change();
    assert_eq!(handshake.action(), Action::Read(Subject::Status));
    let effect = handshake.handle_status(NOW, up(XenbusState::Connected));
    assert_eq!(effect, Effect::Up { carrier: true });
    assert_eq!(handshake.action(), Action::Wait(None));
    handshake
}

fn sees(handshake: &mut Handshake, now: Instant, state: XenbusState) -> Effect {
    handshake.handle_change();
    match handshake.action() {
        Action::Read(Subject::Status) => handshake.handle_status(now, up(state)),
        Action::Read(Subject::Backend) => handshake.handle_backend(now, up(state), true),
        other => panic!("{other:?} though the backend changed"),
    }
}

#[test]
fn a_backend_that_is_not_ready_is_waited_for() {
    let mut handshake = found();
    // It has not said what it offers, either: that is no reason not to use it.
    let _ = handshake.handle_backend(NOW, up(XenbusState::Initialising), false);
    assert_eq!(handshake.action(), Action::Wait(None));
    handshake.handle_change();
    assert_eq!(handshake.action(), Action::Read(Subject::Backend));
    let effect = sees(&mut handshake, NOW, XenbusState::InitWait);
    assert_eq!(effect, Effect::None);
    assert_eq!(handshake.action(), Action::Offer);
}

#[test]
fn a_backend_that_waits_for_its_scripts_is_not_offered_rings_twice() {
    let mut handshake = offered();
    for _ in 0..3 {
        let effect = sees(&mut handshake, NOW, XenbusState::InitWait);
        assert_eq!(effect, Effect::None);
        assert_eq!(handshake.action(), Action::Wait(None));
    }
    let effect = sees(&mut handshake, NOW, XenbusState::Connected);
    assert_eq!(effect, Effect::Up { carrier: true });
}

#[test]
fn the_carrier_goes_and_comes_without_a_new_connection() {
    let mut handshake = connected();
    for carrier in [false, true] {
        handshake.handle_change();
        let state = XenbusState::Connected;
        let effect = handshake.handle_status(
            NOW,
            Backend {
                carrier,
                ..up(state)
            },
        );
        assert_eq!(effect, Effect::Up { carrier });
    }
}

#[test]
fn a_backend_that_closes_is_closed_with_and_offered_new_rings() {
    for closing in [XenbusState::Closing, XenbusState::Closed] {
        let mut handshake = connected();
        let effect = sees(&mut handshake, NOW, closing);
        assert_eq!(effect, Effect::Down);
        assert_eq!(handshake.action(), Action::Write(XenbusState::Closed));
        assert_eq!(handshake.handle_written(NOW, true), Effect::None);
        // Without a watch: it may have closed before.
        assert_eq!(handshake.action(), Action::Read(Subject::Status));
        let _ = handshake.handle_status(NOW, up(XenbusState::Closed));
        let action = Action::Write(XenbusState::Initialising);
        assert_eq!(handshake.action(), action);
        let _ = handshake.handle_written(NOW, true);
        assert_eq!(handshake.action(), Action::Read(Subject::Backend));
        // It has not seen us yet: we say it once.
        let _ = handshake.handle_backend(NOW, up(XenbusState::Closed), true);
        assert_eq!(handshake.action(), Action::Wait(None));
        let _ = sees(&mut handshake, NOW, XenbusState::InitWait);
        assert_eq!(handshake.action(), Action::Offer);
    }
}

#[test]
fn a_backend_that_begins_anew_unasked_has_to_close_before_it_is_offered_new_rings() {
    let mut handshake = connected();
    let effect = sees(&mut handshake, NOW, XenbusState::InitWait);
    assert_eq!(effect, Effect::Down);
    assert_eq!(handshake.action(), Action::Write(XenbusState::Closed));
    let _ = handshake.handle_written(NOW, true);
    let _ = handshake.handle_status(NOW, up(XenbusState::InitWait));
    assert!(matches!(handshake.action(), Action::Wait(Some(_))));
    let _ = sees(&mut handshake, NOW, XenbusState::Closed);
    let action = Action::Write(XenbusState::Initialising);
    assert_eq!(handshake.action(), action);
    let _ = handshake.handle_written(NOW, true);
    let _ = handshake.handle_backend(NOW, up(XenbusState::InitWait), true);
    assert_eq!(handshake.action(), Action::Offer);
}

#[test]
fn what_somebody_left_connected_is_closed_first() {
    let mut handshake = found();
    let _ = handshake.handle_backend(NOW, up(XenbusState::Connected), true);
    assert_eq!(handshake.action(), Action::Write(XenbusState::Closed));
}

#[test]
fn a_backend_that_was_left_closed_is_told_that_we_are_there() {
    let mut handshake = found();
    let _ = handshake.handle_backend(NOW, up(XenbusState::Closed), true);
    let action = Action::Write(XenbusState::Initialising);
    assert_eq!(handshake.action(), action);
}

#[test]
fn a_backend_that_never_closes_is_left_alone_for_a_while_and_no_longer() {
    let mut handshake = connected();
    let _ = sees(&mut handshake, NOW, XenbusState::Closing);
    let _ = handshake.handle_written(NOW, true);
    let _ = handshake.handle_status(NOW, up(XenbusState::Closing));
    let until = NOW + CLOSE_TIMEOUT;
    assert_eq!(handshake.action(), Action::Wait(Some(until)));
    let _ = handshake.handle_timeout(NOW);
    assert_eq!(handshake.action(), Action::Wait(Some(until)));
    let _ = handshake.handle_timeout(until);
    let later = until + FIRST_PAUSE;
    assert_eq!(handshake.action(), Action::Wait(Some(later)));
    let _ = handshake.handle_timeout(later);
    assert_eq!(handshake.action(), Action::Read(Subject::Device));
}

#[test]
fn a_backend_that_is_about_to_be_taken_away_is_closed_and_not_asked_to_begin_anew() {
    let leaving = Backend {
        online: false,
        ..up(XenbusState::Closed)
    };
    let mut handshake = connected();
    let _ = sees(&mut handshake, NOW, XenbusState::Closing);
    assert_eq!(handshake.action(), Action::Write(XenbusState::Closed));
    let _ = handshake.handle_written(NOW, true);
    let _ = handshake.handle_status(NOW, leaving);
    assert_eq!(handshake.action(), Action::Wait(None));
    // Nor when one of its keys changes once more.
    handshake.handle_change();
    let _ = handshake.handle_device(NOW, Found::Same);
    let _ = handshake.handle_backend(NOW, leaving, true);
    assert_eq!(handshake.action(), Action::Wait(None));
}

#[test]
fn a_device_that_was_taken_away_is_not_written_to() {
    let mut handshake = connected();
    let effect = sees(&mut handshake, NOW, XenbusState::Unknown);
    assert_eq!(effect, Effect::Down);
    assert_eq!(handshake.action(), Action::Wait(None));

    let mut handshake = connected();
    handshake.handle_device_change();
    assert_eq!(handshake.action(), Action::Read(Subject::Device));
    assert_eq!(handshake.handle_device(NOW, Found::Missing), Effect::Down);
    assert_eq!(handshake.action(), Action::Wait(None));
    // And one that comes is used.
    handshake.handle_device_change();
    let _ = handshake.handle_device(NOW, Found::Same);
    assert_eq!(handshake.action(), Action::Read(Subject::Backend));

    // It went while we were at it.
    let mut handshake = connected();
    let _ = sees(&mut handshake, NOW, XenbusState::Closing);
    assert_eq!(handshake.handle_written(NOW, false), Effect::Down);
    assert_eq!(handshake.action(), Action::Wait(None));
}

#[test]
fn a_watch_on_the_device_that_says_nothing_new_disturbs_nothing() {
    let mut handshake = connected();
    handshake.handle_device_change();
    assert_eq!(handshake.handle_device(NOW, Found::Same), Effect::None);
    assert_eq!(handshake.action(), Action::Wait(None));
    handshake.handle_device_change();
    assert_eq!(handshake.handle_device(NOW, Found::Other), Effect::Down);
    assert_eq!(handshake.action(), Action::Read(Subject::Backend));
}

#[test]
fn a_device_that_the_toolstack_makes_anew_is_offered_again() {
    let mut handshake = connected();
    assert!(handshake.has_offered());
    handshake.handle_device_change();
    assert_eq!(handshake.handle_device(NOW, Found::Anew), Effect::Down);
    assert!(!handshake.has_offered());
    assert_eq!(handshake.action(), Action::Read(Subject::Backend));
}

#[test]
fn faults_close_the_device_and_space_its_connections_out() {
    let mut handshake = connected();
    let mut now = NOW;
    let mut pauses = std::vec::Vec::new();
    for _ in 0..9 {
        assert_eq!(handshake.handle_fault(now), Effect::Down);
        // Once: it is not connected any more.
        assert_eq!(handshake.handle_fault(now), Effect::None);
        assert_eq!(handshake.action(), Action::Write(XenbusState::Closed));
        let _ = handshake.handle_written(now, true);
        let _ = handshake.handle_status(now, up(XenbusState::Closed));
        let Action::Wait(Some(until)) = handshake.action() else {
            panic!("connected again at once")
        };
        pauses.push(until.saturating_duration_since(now).as_secs());
        now = until;
        let _ = handshake.handle_timeout(now);
        let _ = handshake.handle_device(now, Found::Same);
        let _ = handshake.handle_backend(now, up(XenbusState::InitWait), true);
        let _ = handshake.handle_offered(now, true);
        let _ = sees(&mut handshake, now, XenbusState::Connected);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
    // A connection that holds is forgiven.
    now += STEADY;
    let _ = handshake.handle_fault(now);
    let _ = handshake.handle_written(now, true);
    let _ = handshake.handle_status(now, up(XenbusState::Closed));
    let action = Action::Wait(Some(now + FIRST_PAUSE));
    assert_eq!(handshake.action(), action);
}

#[test]
fn a_device_that_can_not_be_used_is_looked_at_again_when_it_changes() {
    let mut handshake = Handshake::new();
    let _ = handshake.handle_device(NOW, Found::Unusable);
    let action = Action::Wait(Some(NOW + FIRST_PAUSE));
    assert_eq!(handshake.action(), action);
    handshake.handle_device_change();
    assert_eq!(handshake.action(), Action::Read(Subject::Device));
    let _ = handshake.handle_device(NOW, Found::Other);
    assert_eq!(handshake.action(), Action::Read(Subject::Backend));
    let effect = handshake.handle_backend(NOW, up(XenbusState::InitWait), false);
    assert_eq!(effect, Effect::Down);
    assert!(matches!(handshake.action(), Action::Wait(Some(_))));
}

#[test]
fn what_xenstored_can_not_say_now_is_asked_again_later() {
    let mut handshake = connected();
    handshake.handle_change();
    assert_eq!(handshake.action(), Action::Read(Subject::Status));
    handshake.handle_failed(NOW);
    let action = Action::Wait(Some(NOW + RETRY));
    assert_eq!(handshake.action(), action);
    assert_eq!(handshake.handle_timeout(NOW + RETRY), Effect::None);
    assert_eq!(handshake.action(), Action::Read(Subject::Status));
    let _ = handshake.handle_status(NOW, up(XenbusState::Connected));
    // A watch that is lost doesn't end the connection; everything is looked at.
    handshake.handle_watch_lost(NOW);
    let _ = handshake.handle_timeout(NOW + RETRY);
    assert_eq!(handshake.action(), Action::Read(Subject::Device));
    assert_eq!(handshake.handle_device(NOW, Found::Same), Effect::None);
    assert_eq!(handshake.action(), Action::Read(Subject::Status));
}

/// Its writing may have been told wrongly: new rings would be made while the backend connects to the old ones.
#[test]
fn an_offer_that_may_have_been_written_is_taken_back_before_another_is_made() {
    let mut handshake = found();
    let _ = handshake.handle_backend(NOW, up(XenbusState::InitWait), true);
    assert_eq!(handshake.action(), Action::Offer);
    handshake.handle_failed(NOW);
    assert_eq!(handshake.action(), Action::Wait(Some(NOW + RETRY)));
    // It was written.
    handshake.handle_change();
    let _ = handshake.handle_timeout(NOW + RETRY);
    assert_eq!(handshake.action(), Action::Write(XenbusState::Closed));
    let _ = handshake.handle_written(NOW + RETRY, true);
    let effect = handshake.handle_status(NOW + RETRY, up(XenbusState::Connected));
    assert_eq!(effect, Effect::None);
    assert!(matches!(handshake.action(), Action::Wait(Some(_))));
    let _ = sees(&mut handshake, NOW + RETRY, XenbusState::Closed);
    let action = Action::Write(XenbusState::Initialising);
    assert_eq!(handshake.action(), action);
    let _ = handshake.handle_written(NOW + RETRY, true);
    let _ = handshake.handle_backend(NOW + RETRY, up(XenbusState::InitWait), true);
    assert_eq!(handshake.action(), Action::Offer);
}

#[test]
fn a_device_that_was_given_up_is_closed_and_stays_so() {
    let mut handshake = connected();
    assert_eq!(handshake.handle_death(), Effect::Down);
    assert_eq!(handshake.action(), Action::Write(XenbusState::Closed));
    let _ = handshake.handle_written(NOW, true);
    assert_eq!(handshake.action(), Action::Wait(None));
    handshake.handle_change();
    handshake.handle_device_change();
    let _ = handshake.handle_resume();
    assert_eq!(handshake.action(), Action::Wait(None));
}

/// What may happen to a handshake at any time.
#[derive(Clone, Copy, Debug)]
enum Input {
    Change,
    DeviceChange,
    Resume,
    Fault,
    Failed,
    WatchLost,
    Time(u8),
    /// The action is done, and the world is so.
    Done(Found, XenbusState, bool),
}

fn state() -> impl Strategy<Value = XenbusState> {
    prop::sample::select(
        &[
            XenbusState::Unknown,
            XenbusState::Initialising,
            XenbusState::InitWait,
            XenbusState::Initialised,
            XenbusState::Connected,
            XenbusState::Closing,
            XenbusState::Closed,
            XenbusState::Reconfiguring,
            XenbusState::Reconfigured,
        ][..],
    )
}

fn input() -> impl Strategy<Value = Input> {
    let found = prop::sample::select(
        &[
            Found::Missing,
            Found::Unusable,
            Found::Same,
            Found::Anew,
            Found::Other,
        ][..],
    );
    prop_oneof![
        1 => Just(Input::Change),
        1 => Just(Input::DeviceChange),
        1 => Just(Input::Resume),
        1 => Just(Input::Fault),
        1 => Just(Input::Failed),
        1 => Just(Input::WatchLost),
        1 => any::<u8>().prop_map(Input::Time),
        10 => (found, state(), any::<bool>()).prop_map(|(found, state, ok)| Input::Done(found, state, ok)),
    ]
}

/// Carries an action out in a world that is so.
fn perform(
    handshake: &mut Handshake,
    now: Instant,
    found: Found,
    state: XenbusState,
    ok: bool,
) -> Option<Effect> {
    let effect = match handshake.action() {
        Action::Read(Subject::Device) => handshake.handle_device(now, found),
        Action::Read(Subject::Backend) => handshake.handle_backend(now, up(state), ok),
        Action::Offer => handshake.handle_offered(now, ok),
        Action::Write(_) => handshake.handle_written(now, ok),
        Action::Read(Subject::Status) => handshake.handle_status(now, up(state)),
        Action::Wait(_) => return None,
    };
    Some(effect)
}

proptest! {
    /// Whatever happens, in whatever order: frames move only between an offer and the next end, and a world that stands still
    /// is looked at a bounded number of times.
    #[test]
    fn a_world_that_stands_still_is_not_looked_at_for_ever(inputs in prop::collection::vec(input(), 0..60), last in state(), ok: bool) {
        let mut handshake = Handshake::new();
        let mut now = NOW;
        let mut offered = false;
        for input in inputs {
            let action = handshake.action();
            let effect = match input {
                Input::Change => {
                    handshake.handle_change();
                    Effect::None
                }
                Input::DeviceChange => {
                    handshake.handle_device_change();
                    Effect::None
                }
                Input::Resume => handshake.handle_resume(),
                Input::Fault => handshake.handle_fault(now),
                Input::Failed => {
                    handshake.handle_failed(now);
                    Effect::None
                }
                Input::WatchLost => {
                    handshake.handle_watch_lost(now);
                    Effect::None
                }
                Input::Time(seconds) => {
                    now += Duration::from_secs(seconds.into());
                    handshake.handle_timeout(now)
                }
                Input::Done(found, state, ok) => {
                    perform(&mut handshake, now, found, state, ok).unwrap_or(Effect::None)
                }
            };
            match effect {
                Effect::Up { .. } => prop_assert!(offered, "up without an offer"),
                Effect::Down => offered = false,
                Effect::None => {
                    if let (Action::Offer, Input::Done(.., true)) = (action, input) {
                        offered = true;
                    }
                }
            }
        }
        for _ in 0..12 {
            if perform(&mut handshake, now, Found::Same, last, ok).is_none() {
                return Ok(());
            }
        }
        prop_assert!(false, "still busy: {handshake:?}");
    }
}
