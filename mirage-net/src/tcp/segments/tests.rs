//! The table and its chains against what they stand for.

use super::*;
use crate::tcp::testing::table;
use mirage_core::Pool;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::vec::Vec;

fn page(pool: &'static Pool, bytes: &[u8]) -> Segment {
    let mut page = pool.alloc().unwrap();
    page.extend_from_slice(bytes).unwrap();
    page.into()
}

fn put(table: &mut SegmentTable<'_>, list: &mut SegmentList, start: u32, segment: Segment) -> u32 {
    let index = table.take_for_data().unwrap();
    let slot = table.get_mut(index).unwrap();
    slot.sequence = SequenceNumber::new(start);
    slot.length = segment.len() as u32;
    slot.pages = 1;
    slot.segment = Some(segment);
    list.push_back(table, index);
    index
}

#[test]
fn an_eighth_of_the_slots_is_kept_from_data() {
    let mut table = table(32);
    let taken = (0..).map_while(|_| table.take_for_data()).count();
    assert_eq!((taken, table.free_for_data(), table.free()), (28, 0, 4));
    let taken = (0..).map_while(|_| table.take()).count();
    assert_eq!((taken, table.free()), (4, 0));
    assert_eq!(table.capacity(), 32);
}

#[test]
fn another_eighth_is_kept_from_what_is_to_be_sent() {
    let mut table = table(32);
    assert_eq!((table.free_for_sending(), table.free_for_data()), (24, 28));
    let taken = (0..24).map_while(|_| table.take_for_data()).count();
    assert_eq!(taken, 24);
    assert_eq!((table.free_for_sending(), table.free_for_data()), (0, 4));
    let taken = (0..).map_while(|_| table.take_for_data()).count();
    assert_eq!((taken, table.free_for_sending()), (4, 0));
}

#[test]
fn a_table_without_slots_gives_none() {
    let mut table = table(0);
    assert!(table.take().is_none() && table.take_for_data().is_none());
    assert!(table.get(0).is_none() && table.get(END).is_none());
    table.release(END);
    assert_eq!(table.free(), 0);
}

#[test]
fn a_split_keeps_bytes_order_and_pages() {
    let pool = Pool::leak(4, 64).unwrap();
    let range = pool.register_static(b"0123456789").unwrap();
    let frozen = page(pool, b"0123456789").freeze();
    for segment in [page(pool, b"0123456789"), frozen, range.slice(..).unwrap()] {
        let mut table = table(8);
        let mut list = SegmentList::EMPTY;
        let index = put(&mut table, &mut list, 100, segment);
        for nowhere in [0, 10, 11] {
            assert_eq!(list.split(&mut table, index, nowhere), None);
        }
        let back = list.split(&mut table, index, 4).unwrap();
        assert_eq!((list.octets, list.pages, list.tail), (10, 1, back));
        let (first, second) = (table.get(index).unwrap(), table.get(back).unwrap());
        assert_eq!(first.segment.as_deref(), Some(&b"0123"[..]));
        assert_eq!(second.segment.as_deref(), Some(&b"456789"[..]));
        assert_eq!(second.sequence, SequenceNumber::new(104));
        // The page is free when its last part is.
        assert_eq!((first.pages, second.pages), (0, 1));
        assert_eq!(list.pop_front(&mut table).as_deref(), Some(&b"0123"[..]));
        assert_eq!((list.octets, list.pages), (6, 1));
        assert_eq!(list.pop_front(&mut table).as_deref(), Some(&b"456789"[..]));
        assert_eq!((list, table.free()), (SegmentList::EMPTY, 8));
    }
    assert_eq!(pool.free(), 4);
}

#[test]
fn a_split_without_a_free_slot_changes_nothing() {
    let pool = Pool::leak(4, 64).unwrap();
    let mut table = table(1);
    let mut list = SegmentList::EMPTY;
    let index = put(&mut table, &mut list, 0, page(pool, b"abcdef"));
    assert_eq!(list.split(&mut table, index, 3), None);
    assert_eq!(list.pop_front(&mut table).as_deref(), Some(&b"abcdef"[..]));
}

#[test]
fn clear_gives_all_back() {
    let pool = Pool::leak(4, 64).unwrap();
    let mut table = table(8);
    let mut list = SegmentList::EMPTY;
    for start in 0..4 {
        put(&mut table, &mut list, start * 5, page(pool, b"abcde"));
    }
    assert_eq!((pool.free(), table.free(), list.octets), (0, 4, 20));
    list.clear(&mut table);
    assert_eq!(
        (pool.free(), table.free(), list),
        (4, 8, SegmentList::EMPTY)
    );
}

proptest! {
    #[test]
    fn a_state_list_is_a_queue_with_removal(
        actions in proptest::collection::vec((0u8..4, 0usize..16), 0..120)
    ) {
        let mut table = table(16);
        let all: Vec<u32> = (0..16).map(|_| table.take().unwrap()).collect();
        for index in &all {
            table.get_mut(*index).unwrap().length = index + 1;
        }
        let mut list = StateList::EMPTY;
        let mut model: VecDeque<u32> = VecDeque::new();
        for (action, which) in actions {
            let index = all[which];
            let place = model.iter().position(|other| *other == index);
            match (action, place) {
                (0, None) => {
                    list.push_back(&mut table, index);
                    model.push_back(index);
                }
                (1, None) => {
                    list.push_front(&mut table, index);
                    model.push_front(index);
                }
                (2, Some(place)) => {
                    list.remove(&mut table, index);
                    model.remove(place);
                }
                _ => {}
            }
            let mut forward = Vec::new();
            let mut at = list.head;
            while let Some(slot) = table.get(at) {
                forward.push(at);
                at = slot.newer;
            }
            let mut backward = VecDeque::new();
            let mut at = list.tail;
            while let Some(slot) = table.get(at) {
                backward.push_front(at);
                at = slot.older;
            }
            prop_assert_eq!(&forward, &model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(&backward, &model);
            let octets: u32 = model.iter().map(|index| index + 1).sum();
            prop_assert_eq!(list.octets, octets);
        }
    }
}
