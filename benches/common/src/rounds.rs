//! The order in which systems take turns, so that what drifts on the machine meanwhile meets each alike.

/// All rounds: in each, every system once; every other round backwards, so that none is always the first.
pub fn alternate<T: Clone>(rounds: usize, systems: &[T]) -> Vec<(usize, T)> {
    let mut turns = Vec::with_capacity(rounds * systems.len());
    for round in 0..rounds {
        let turn = |system: &T| (round, system.clone());
        if round.is_multiple_of(2) {
            turns.extend(systems.iter().map(turn));
        } else {
            turns.extend(systems.iter().rev().map(turn));
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_has_one_turn_a_round_and_none_is_always_first() {
        let turns = alternate(3, &["a", "b"]);
        assert_eq!(
            turns,
            [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]
        );
        assert!(alternate::<u8>(3, &[]).is_empty());
    }
}
