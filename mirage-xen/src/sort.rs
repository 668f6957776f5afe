//! Sorting short lists.

/// Sorts by `key`, by insertion: equal ones keep their order. For some hundred elements at most, on paths that are
/// rare; the library's sort is three kilobytes of text for each type.
pub(crate) fn sort_few<T: Copy, K: Ord>(list: &mut [T], key: impl Fn(&T) -> K) {
    for next in 1..list.len() {
        let sorted = list.get_mut(..=next).unwrap_or_default();
        let mut rest = sorted;
        while let [.., before, last] = rest {
            if key(before) <= key(last) {
                break;
            }
            core::mem::swap(before, last);
            let length = rest.len() - 1;
            rest = rest.get_mut(..length).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sorts_as_the_library_does(list: Vec<(u8, u8)>) {
            let mut ours = list.clone();
            sort_few(&mut ours, |(key, _)| *key);
            let mut theirs = list;
            theirs.sort_by_key(|(key, _)| *key);
            prop_assert_eq!(ours, theirs);
        }
    }
}
