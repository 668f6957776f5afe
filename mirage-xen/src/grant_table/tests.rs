use super::*;
use crate::testing::TestHypervisor;
use mirage_core::pool::{Access, LendError, Lender, Lent, LentMut, StaticSlice};
use mirage_core::{Page, PageMut, Pool, Segment};
use proptest::prelude::*;
use std::boxed::Box;
use std::format;
use std::vec::Vec;

const BLOCKS: usize = 8;
const BACKEND: DomainId = DomainId(3);

struct Fixture {
    hypervisor: &'static TestHypervisor,
    table: &'static GrantTable<TestHypervisor>,
    pool: &'static Pool,
    grants: &'static PoolGrants<TestHypervisor>,
    lender: &'static GrantLender<TestHypervisor>,
}

impl Fixture {
    fn new() -> Self {
        Self::with_statics(&[])
    }

    fn with_statics(ranges: &[&'static [u8]]) -> Self {
        let hypervisor = TestHypervisor::leak();
        let table = GrantTable::leak(hypervisor, 100).unwrap();
        let pool = Pool::leak(BLOCKS, 4_096).unwrap();
        for range in ranges {
            pool.register_static(range).unwrap();
        }
        let grants = table.leak_pool(pool).unwrap();
        let lender = grants.leak_lender(BACKEND).unwrap();
        Self {
            hypervisor,
            table,
            pool,
            grants,
            lender,
        }
    }

    fn page(&self) -> PageMut {
        self.pool.alloc().unwrap()
    }

    fn resume(&self) {
        let _ = self.hypervisor.suspend();
        self.table.restored();
    }

    /// Flags, domain and frame.
    fn entry(&self, reference: GrantReference) -> (u16, u16, u32) {
        let entry = &self.hypervisor.entries[reference.0 as usize];
        (
            entry.flags.load(Ordering::Relaxed),
            entry.domain.load(Ordering::Relaxed),
            entry.frame.load(Ordering::Relaxed),
        )
    }

    fn flags(&self, reference: GrantReference) -> u16 {
        self.entry(reference).0
    }

    fn mark(&self, reference: GrantReference, marks: GrantFlags) {
        let entry = &self.hypervisor.entries[reference.0 as usize];
        entry.flags.fetch_or(marks.bits(), Ordering::Relaxed);
    }

    fn unmark(&self, reference: GrantReference) {
        let entry = &self.hypervisor.entries[reference.0 as usize];
        let marks = GrantFlags::READING | GrantFlags::WRITING;
        entry.flags.fetch_and(!marks.bits(), Ordering::Relaxed);
    }

    fn reference(&self, lent: &LentMut) -> GrantReference {
        self.grants.reference(lent.block()).unwrap()
    }

    fn frame(&self, page: core::ptr::NonNull<u8>) -> u32 {
        self.hypervisor.frame_number(page).unwrap().0 as u32
    }
}

fn lend(page: PageMut, lender: &'static GrantLender<TestHypervisor>) -> LentMut {
    page.lend(lender).unwrap()
}

#[test]
fn an_entry_is_there_for_exactly_as_long_as_the_lending() {
    let fixture = Fixture::new();
    let lent = lend(fixture.page(), fixture.lender);
    let reference = fixture.reference(&lent);
    let frame = fixture.frame(lent.block().address());
    // GTF_permit_access.
    assert_eq!(fixture.entry(reference), (1, 3, frame));
    let page = lent.reclaim().unwrap();
    assert_eq!(fixture.flags(reference), 0);
    let page = page.freeze();
    let lent = page.lend(fixture.lender).unwrap();
    // GTF_permit_access | GTF_readonly, by the same reference.
    assert_eq!(fixture.entry(reference), (5, 3, frame));
    assert_eq!(fixture.grants.reference(page.block()), Some(reference));
    drop(lent.end().unwrap());
    assert_eq!(fixture.flags(reference), 0);
}

#[test]
fn each_block_has_a_reference_of_its_own_and_the_toolstacks_are_left_alone() {
    let fixture = Fixture::new();
    let other = fixture
        .table
        .leak_pool(Pool::leak(4, 4_096).unwrap())
        .unwrap();
    let references = |grants: &PoolGrants<TestHypervisor>| -> Vec<u32> {
        let pool = grants.pool();
        let block = |index| grants.reference(pool.block(index).unwrap()).unwrap().0;
        (0..pool.blocks()).map(block).collect()
    };
    assert_eq!(references(fixture.grants), (8..16).collect::<Vec<_>>());
    assert_eq!(references(other), (16..20).collect::<Vec<_>>());
    assert_eq!(
        fixture.grants.reference(other.pool().block(0).unwrap()),
        None
    );
    let refused = other
        .pool()
        .alloc()
        .unwrap()
        .lend(fixture.lender)
        .unwrap_err();
    assert_eq!(refused.1, LendError::OtherPool);
    // As the toolstack wrote them, also after a resume.
    fixture.hypervisor.entries[1]
        .flags
        .store(1, Ordering::Relaxed);
    fixture.table.restored();
    fixture.lender.set_domain(BACKEND).unwrap();
    assert_eq!(fixture.flags(GrantReference(1)), 1);
}

#[test]
fn lendings_for_reading_are_counted_and_the_last_ends_the_entry() {
    let fixture = Fixture::new();
    let page = fixture.page().freeze();
    let reference = fixture.grants.reference(page.block()).unwrap();
    let [first, second, third] = [(); 3].map(|()| page.lend(fixture.lender).unwrap());
    fixture.mark(reference, GrantFlags::READING);
    // In use, but not the last.
    drop(second.end().unwrap());
    drop(first.end().unwrap());
    let third = third.end().unwrap_err();
    assert_eq!(fixture.flags(reference), 5 | 8);
    fixture.unmark(reference);
    drop(third.end().unwrap());
    assert_eq!(fixture.flags(reference), 0);
}

#[test]
fn a_count_of_readings_that_would_wrap_refuses() {
    let fixture = Fixture::new();
    let page = fixture.page().freeze();
    let all: Vec<_> = (0..u16::MAX)
        .map(|_| page.lend(fixture.lender).unwrap())
        .collect();
    assert_eq!(page.lend(fixture.lender).unwrap_err(), LendError::Exhausted);
    let reference = fixture.grants.reference(page.block()).unwrap();
    assert_eq!(fixture.flags(reference), 5);
    for lent in all {
        drop(lent.end().unwrap());
    }
    assert_eq!(fixture.flags(reference), 0);
}

#[test]
fn a_page_that_the_peer_still_uses_is_not_taken_back() {
    let fixture = Fixture::new();
    for marks in [
        GrantFlags::READING,
        GrantFlags::WRITING,
        GrantFlags::READING | GrantFlags::WRITING,
    ] {
        let lent = lend(fixture.page(), fixture.lender);
        let reference = fixture.reference(&lent);
        fixture.mark(reference, marks);
        let lent = lent.reclaim().unwrap_err();
        assert_eq!(fixture.flags(reference), 1 | marks.bits());
        fixture.unmark(reference);
        drop(lent.reclaim().unwrap());
    }
    assert_eq!(fixture.pool.counters().still_in_use, 3);
}

#[test]
fn a_quarantined_pages_entry_stays_and_is_nobody_elses() {
    let fixture = Fixture::new();
    let lent = lend(fixture.page(), fixture.lender);
    let reference = fixture.reference(&lent);
    fixture.mark(reference, GrantFlags::WRITING);
    lent.reclaim().unwrap_err().quarantine();
    fixture.unmark(reference);
    assert_eq!(fixture.flags(reference), 1);
    let rest: Vec<_> = core::iter::from_fn(|| fixture.pool.alloc())
        .map(|page| lend(page, fixture.lender))
        .collect();
    assert_eq!(rest.len(), BLOCKS - 1);
    assert!(rest.iter().all(|lent| fixture.reference(lent) != reference));
    for lent in rest {
        drop(lent.reclaim().unwrap());
    }
}

#[test]
fn what_one_domain_has_is_not_given_to_another() {
    let fixture = Fixture::new();
    let other = fixture.grants.leak_lender(DomainId(4)).unwrap();
    let page = fixture.page().freeze();
    let lent = page.lend(fixture.lender).unwrap();
    assert_eq!(page.lend(other).unwrap_err(), LendError::Busy);
    let reference = fixture.grants.reference(page.block()).unwrap();
    assert_eq!(fixture.entry(reference).1, 3);
    drop(lent.end().unwrap());
    let lent = page.lend(other).unwrap();
    assert_eq!(fixture.entry(reference).1, 4);
    // The pool doesn't ask such a thing; the lender refuses it all the same.
    // SAFETY: nothing writes the page or refers to its bytes in this test, and the lendings fail.
    let refused = unsafe { fixture.lender.lend(page.block(), Access::Write) };
    assert_eq!(refused, Err(LendError::Busy));
    // SAFETY: as above.
    let refused = unsafe { other.lend(page.block(), Access::Write) };
    assert_eq!(refused, Err(LendError::Busy));
    drop(lent.end().unwrap());
    let lent = lend(page.try_unique().unwrap(), fixture.lender);
    for lender in [fixture.lender, other] {
        // SAFETY: as above.
        let refused = unsafe { lender.lend(lent.block(), Access::Read) };
        assert_eq!(refused, Err(LendError::Busy));
    }
    assert_eq!(fixture.entry(reference).0, 1);
    drop(lent.reclaim().unwrap());
}

#[test]
fn a_second_table_of_the_domain_does_not_take_entries_away() {
    let fixture = Fixture::new();
    let lent = lend(fixture.page(), fixture.lender);
    let reference = fixture.reference(&lent);
    let before = fixture.entry(reference);
    let table = GrantTable::leak(fixture.hypervisor, 100).unwrap();
    let pool = Pool::leak(1, 4_096).unwrap();
    let lender = table
        .leak_pool(pool)
        .unwrap()
        .leak_lender(DomainId(9))
        .unwrap();
    let (page, refused) = pool.alloc().unwrap().lend(lender).unwrap_err();
    assert_eq!(
        (refused, fixture.entry(reference)),
        (LendError::Busy, before)
    );
    drop(lent.reclaim().unwrap());
    let lent = lend(page, lender);
    let (page, refused) = fixture.page().lend(fixture.lender).unwrap_err();
    assert_eq!(refused, LendError::Busy);
    drop((lent.reclaim().unwrap(), page));
}

#[test]
fn more_references_than_xen_allows_are_refused_at_the_start() {
    let hypervisor = TestHypervisor::with_grant_frames(2);
    let refused = GrantTable::new(hypervisor, 1_017).unwrap_err();
    let expected = GrantError::TooManyReferences {
        wanted: 1_017,
        maximum: 1_016,
    };
    assert_eq!(refused, expected);
    assert_eq!(
        format!("{refused}"),
        "1017 grant references wanted, Xen allows 1016"
    );
    assert!(GrantTable::new(hypervisor, u32::MAX).is_err());
    let table = GrantTable::leak(hypervisor, 1_016).unwrap();
    assert_eq!(table.free(), 1_016);
    // Xen says that there may be more, and then maps fewer.
    hypervisor.maximum_grant_frames.set(4);
    assert!(GrantTable::new(hypervisor, 1_017).is_err());
    hypervisor.maximum_grant_frames.set(0);
    assert!(GrantTable::new(hypervisor, 0).is_err());
    let full = table
        .leak_pool(Pool::leak(1_017, 4_096).unwrap())
        .unwrap_err();
    assert_eq!(full, GrantError::Full);
    hypervisor.maximum_grant_frames.set(2);
    hypervisor.refusal.set(Some(XenError::OutOfMemory));
    let refused = GrantTable::new(hypervisor, 1).unwrap_err();
    assert_eq!(refused, GrantError::Xen(XenError::OutOfMemory));
}

#[test]
fn a_block_that_is_no_page_is_not_granted() {
    let fixture = Fixture::new();
    for size in [2_048, 8_192] {
        let refused = fixture
            .table
            .leak_pool(Pool::leak(2, size).unwrap())
            .unwrap_err();
        assert_eq!(refused, GrantError::BlockSize(size));
    }
    let short: &'static mut [BlockGrant; 1] = Box::leak(Box::new([BlockGrant::new()]));
    let refused = fixture
        .table
        .pool(Pool::leak(2, 4_096).unwrap(), short)
        .unwrap_err();
    assert_eq!(refused, GrantError::Memory);
}

#[test]
fn a_domain_that_cant_be_is_granted_nothing() {
    let fixture = Fixture::new();
    for domain in [DomainId::SELF, DomainId(u16::MAX)] {
        let refused = fixture.grants.leak_lender(domain).unwrap_err();
        assert_eq!(refused, GrantError::NoDomain(domain));
        assert_eq!(
            fixture.lender.set_domain(domain),
            Err(GrantError::NoDomain(domain))
        );
    }
    assert_eq!(fixture.lender.domain(), BACKEND);
}

#[test]
fn a_resumed_domain_grants_nothing_to_the_old_one_and_the_same_to_the_new_one() {
    let fixture = Fixture::with_statics(&[b"compiled in"]);
    let written = lend(fixture.page(), fixture.lender);
    let returned = lend(fixture.page(), fixture.lender);
    let page = fixture.page().freeze();
    let [first, second] = [(); 2].map(|()| page.lend(fixture.lender).unwrap());
    let reference = fixture.grants.reference(page.block()).unwrap();
    // The old backend had them mapped: the new domain's entries know nothing of it.
    fixture.mark(fixture.reference(&written), GrantFlags::WRITING);
    fixture.resume();
    assert!(!fixture.lender.is_attached());
    let (spare, refused) = fixture.page().lend(fixture.lender).unwrap_err();
    assert_eq!(refused, LendError::Gone);
    assert!((8..108).all(|number| fixture.flags(GrantReference(number)) == 0));
    // What the driver takes back meanwhile is not granted again.
    let taken = fixture.reference(&returned);
    drop(returned.reclaim().unwrap());
    drop(first.end().unwrap());
    fixture.lender.set_domain(DomainId(7)).unwrap();
    assert!(fixture.lender.is_attached());
    assert_eq!(fixture.flags(taken), 0);
    let frame = fixture.frame(written.block().address());
    assert_eq!(fixture.entry(fixture.reference(&written)), (1, 7, frame));
    let frame = fixture.frame(page.block().address());
    assert_eq!(fixture.entry(reference), (5, 7, frame));
    // The static page's reference comes behind the blocks'.
    assert_eq!(fixture.entry(GrantReference(16)).1, 7);
    drop(written.reclaim().unwrap());
    drop(second.end().unwrap());
    assert_eq!(fixture.flags(reference), 0);
    drop(lend(spare, fixture.lender).reclaim().unwrap());
    assert_eq!(fixture.pool.counters().quarantined, 0);
}

#[test]
fn a_resume_that_was_none_gives_no_page_back_that_the_peer_uses() {
    let fixture = Fixture::new();
    let lent = lend(fixture.page(), fixture.lender);
    let reference = fixture.reference(&lent);
    fixture.mark(reference, GrantFlags::WRITING);
    fixture.table.restored();
    let lent = lent.reclaim().unwrap_err();
    let refused = fixture.lender.set_domain(BACKEND);
    assert_eq!(refused, Err(GrantError::StillInUse(reference)));
    fixture.unmark(reference);
    drop(lent.reclaim().unwrap());
    assert_eq!(fixture.flags(reference), 0);
    fixture.lender.set_domain(BACKEND).unwrap();
}

#[test]
fn lendings_move_to_another_domain_only_when_the_old_one_is_out_of_all_of_them() {
    let fixture = Fixture::with_statics(&[b"compiled in"]);
    let all: Vec<_> = (0..3)
        .map(|_| lend(fixture.page(), fixture.lender))
        .collect();
    let held = fixture.reference(&all[2]);
    fixture.mark(held, GrantFlags::READING);
    let refused = fixture.lender.set_domain(DomainId(5));
    assert_eq!(refused, Err(GrantError::StillInUse(held)));
    assert_eq!(fixture.lender.domain(), BACKEND);
    for lent in &all {
        let (flags, domain, frame) = fixture.entry(fixture.reference(lent));
        assert_eq!((flags & 1, domain), (1, 3));
        assert_eq!(frame, fixture.frame(lent.block().address()));
    }
    assert_eq!(fixture.entry(GrantReference(16)).1, 3);
    fixture.unmark(held);
    fixture.lender.set_domain(DomainId(5)).unwrap();
    for lent in all {
        let (flags, domain, _) = fixture.entry(fixture.reference(&lent));
        assert_eq!((flags, domain), (1, 5));
        drop(lent.reclaim().unwrap());
    }
    assert_eq!(fixture.entry(GrantReference(16)).1, 5);
}

#[repr(align(4096))]
struct Aligned([u8; 10_000]);

static COMPILED_IN: Aligned = Aligned([7; 10_000]);

#[test]
fn compiled_in_bytes_are_sent_from_where_they_lie() {
    let bytes = &COMPILED_IN.0;
    let fixture = Fixture::with_statics(&[&[], &bytes[100..9_000], &bytes[4_096..8_192]]);
    // Three pages, then one, behind the blocks' eight.
    let slice = |from: usize, to: usize| match fixture.pool.static_segment(&bytes[from..to]) {
        Some(Segment::Static(slice)) => slice,
        other => panic!("{other:?}"),
    };
    let at = |slice: &StaticSlice, offset| fixture.lender.static_reference(slice, offset);
    let range = slice(100, 9_000);
    for (offset, page, in_page) in [
        (0, 0, 100),
        (3_995, 0, 4_095),
        (3_996, 1, 0),
        (8_092, 2, 0),
        (8_899, 2, 807),
    ] {
        let expected = Some((GrantReference(16 + page), in_page));
        assert_eq!(at(&range, offset), expected);
        let frame = fixture.frame(core::ptr::NonNull::from(&bytes[100 + offset]));
        assert_eq!(fixture.entry(GrantReference(16 + page)), (5, 3, frame));
    }
    assert_eq!(at(&range, 8_900), None);
    assert_eq!(at(&range, usize::MAX), None);
    assert_eq!(at(&slice(5_000, 6_000), 1), Some((GrantReference(17), 905)));
    assert_eq!(fixture.entry(GrantReference(19)).0, 5);
    assert_eq!(fixture.entry(GrantReference(20)).0, 0);
    // Another domain's lender has references of its own.
    let other = fixture.grants.leak_lender(DomainId(4)).unwrap();
    assert_eq!(
        other.static_reference(&range, 0),
        Some((GrantReference(20), 100))
    );
    assert_eq!(fixture.entry(GrantReference(20)).1, 4);
    // Too late for both, and another pool's.
    fixture.pool.register_static(&bytes[9_500..]).unwrap();
    assert_eq!(at(&slice(9_500, 9_600), 0), None);
    let elsewhere = Fixture::with_statics(&[&bytes[..1_000]]);
    match elsewhere.pool.static_segment(&bytes[..10]) {
        Some(Segment::Static(foreign)) => assert_eq!(at(&foreign, 0), None),
        other => panic!("{other:?}"),
    }
}

#[test]
fn static_ranges_that_the_table_has_no_room_for_are_refused() {
    let hypervisor = TestHypervisor::with_grant_frames(1);
    let table = GrantTable::leak(hypervisor, 504).unwrap();
    let pool = Pool::leak(503, 4_096).unwrap();
    let grants = table.leak_pool(pool).unwrap();
    pool.register_static(&COMPILED_IN.0).unwrap();
    assert_eq!(grants.leak_lender(BACKEND).unwrap_err(), GrantError::Full);
}

#[test]
#[cfg(feature = "simulated")]
fn a_table_grows_with_what_is_lent_as_far_as_xen_allows() {
    static LONG: [u8; 700 * 4_096] = [7; 700 * 4_096];
    let simulation = crate::simulated::Simulation::new(1);
    let hypervisor = simulation.hypervisor();
    let table = GrantTable::leak(hypervisor, 8).unwrap();
    let pool = Pool::leak(8, 4_096).unwrap();
    simulation.add_memory(pool);
    let grants = table.leak_pool(pool).unwrap();
    let all = 64 * 512 - 8;
    assert_eq!((table.available(), grants.available()), (all - 8, all - 8));
    let range = pool.register_static(&LONG).unwrap();
    // Each has references of its own to the pages of the range, one of which may be but begun.
    let pages = 700 + usize::from(!LONG.as_ptr().addr().is_multiple_of(4_096));
    let lenders = (all - 8) / pages;
    for number in 1..=lenders {
        let lender = grants.leak_lender(BACKEND).unwrap();
        assert_eq!(grants.available(), all - 8 - number * pages);
        let Some(Segment::Static(slice)) = range.slice(0..LONG.len()) else {
            panic!("a part of the range");
        };
        let (reference, _) = lender.static_reference(&slice, LONG.len() - 1).unwrap();
        assert_eq!(reference.0 as usize, 8 + 8 + number * pages - 1);
    }
    assert_eq!(grants.leak_lender(BACKEND).unwrap_err(), GrantError::Full);
    assert_eq!(simulation.violations(), []);
}

#[derive(Clone, Debug)]
enum Step {
    LendWritable(bool),
    LendPage(usize, bool),
    EndRead(usize),
    EndWrite(usize),
    Hold(usize),
    Release(usize),
    Resume,
    Attach(u16, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(Step::LendWritable),
        (0usize..8, any::<bool>()).prop_map(|(page, other)| Step::LendPage(page, other)),
        (0usize..8).prop_map(Step::EndRead),
        (0usize..8).prop_map(Step::EndWrite),
        (0usize..8).prop_map(Step::Hold),
        (0usize..8).prop_map(Step::Release),
        Just(Step::Resume),
        (0u16..4, any::<bool>()).prop_map(|(domain, other)| Step::Attach(domain, other)),
    ]
}

proptest! {
    /// Whatever is lent, ended, held on to, moved and resumed: an entry permits exactly what is lent, to whom it is lent.
    #[test]
    fn entries_say_what_is_lent(steps in proptest::collection::vec(step(), 0..80)) {
        let fixture = Fixture::new();
        let other = fixture.grants.leak_lender(DomainId(4)).unwrap();
        let lender = |is_other: bool| if is_other { other } else { fixture.lender };
        let mut writable: Vec<(LentMut, bool)> = Vec::new();
        let mut readable: Vec<(Lent, bool)> = Vec::new();
        let mut pages: Vec<Page> = Vec::new();
        let number = |block: usize| GrantReference(8 + block as u32);
        for step in steps {
            match step {
                Step::LendWritable(is_other) => {
                    if let Some(page) = fixture.pool.alloc() {
                        match page.lend(lender(is_other)) {
                            Ok(lent) => writable.push((lent, is_other)),
                            Err((_, reason)) => prop_assert_eq!(reason, LendError::Gone),
                        }
                    }
                }
                Step::LendPage(page, is_other) => {
                    if pages.get(page).is_none() {
                        pages.extend(fixture.pool.alloc().map(PageMut::freeze));
                    }
                    if let Some(page) = pages.get(page)
                        && let Ok(lent) = page.lend(lender(is_other))
                    {
                        readable.push((lent, is_other));
                    }
                }
                Step::EndRead(index) if index < readable.len() => {
                    let (lent, is_other) = readable.swap_remove(index);
                    if let Err(lent) = lent.end() {
                        readable.push((lent, is_other));
                    }
                }
                Step::EndWrite(index) if index < writable.len() => {
                    let (lent, is_other) = writable.swap_remove(index);
                    if let Err(lent) = lent.reclaim() {
                        writable.push((lent, is_other));
                    }
                }
                Step::Hold(block) => {
                    // Xen lets nobody into what isn't granted, or write what is for reading.
                    let flags = fixture.flags(number(block));
                    if flags & 4 != 0 {
                        fixture.mark(number(block), GrantFlags::READING);
                    } else if flags != 0 {
                        fixture.mark(number(block), GrantFlags::WRITING);
                    }
                }
                Step::Release(block) => fixture.unmark(number(block)),
                Step::Resume => fixture.resume(),
                Step::Attach(domain, is_other) => {
                    let _ = lender(is_other).set_domain(DomainId(domain));
                }
                Step::EndRead(_) | Step::EndWrite(_) => {}
            }
            for block in 0..BLOCKS {
                let (flags, domain, _) = fixture.entry(number(block));
                let write = writable.iter().find(|(lent, _)| lent.block().index() == block);
                let read = readable.iter().find(|(lent, _)| lent.block().index() == block);
                let lent = write.map(|lent| (1, lent.1)).or(read.map(|lent| (5, lent.1)));
                let lent = lent.map(|(flags, is_other)| (flags, lender(is_other)));
                match lent.filter(|(_, lender)| lender.is_attached()) {
                    Some((access, lender)) => {
                        prop_assert_eq!(flags & !24, access);
                        prop_assert_eq!(domain, lender.domain().0);
                    }
                    None => prop_assert_eq!(flags, 0),
                }
            }
        }
        fixture.resume();
        for (lent, _) in writable {
            drop(lent.reclaim().unwrap());
        }
        for (lent, _) in readable {
            drop(lent.end().unwrap());
        }
        drop(pages);
        prop_assert_eq!(fixture.pool.free(), BLOCKS);
    }
}
