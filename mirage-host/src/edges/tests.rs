//! Readiness that is told once: nothing is lost, nobody hears of another's, and nothing is registered without need.

use super::*;
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use crate::reactor::Source;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Waits(Arc<Count>);

impl Waits {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.0))
    }

    fn woken(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }
}

fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap()
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
}

fn reactor(capacity: usize) -> &'static Reactor {
    Box::leak(Box::new(Reactor::new(capacity)))
}

fn look(reactor: &Reactor, platform: &OwnedFd) -> bool {
    reactor.poll(platform.as_fd(), Some(&NOW)).unwrap()
}

fn read(source: &EdgeSource, room: usize) -> Option<usize> {
    let mut buffer = vec![0; room];
    let read = source
        .try_read(|fd| recv(fd, &mut buffer[..], RecvFlags::empty()).map(|(length, _)| length));
    read.unwrap()
}

fn put(peer: &OwnedFd, octets: &[u8]) {
    assert_eq!(
        send(peer, octets, SendFlags::NOSIGNAL).unwrap(),
        octets.len()
    );
}

/// A source that epoll watches: somebody waited for it.
fn watched(reactor: &'static Reactor, platform: &OwnedFd, ours: OwnedFd) -> EdgeSource {
    let source = EdgeSource::new(reactor, ours).unwrap();
    assert_eq!(read(&source, 16), None);
    source.wake_when_readable(&mut Context::from_waker(Waker::noop()));
    look(reactor, platform);
    source
}

/// How many descriptors the epoll instance has, as the kernel says.
fn registered(reactor: &Reactor) -> usize {
    let epoll = reactor.edges.epoll().unwrap().as_raw_fd();
    let said = std::fs::read_to_string(format!("/proc/self/fdinfo/{epoll}")).unwrap();
    said.lines().filter(|line| line.starts_with("tfd:")).count()
}

#[test]
fn what_came_before_the_registration_is_read_without_it() {
    let (reactor, platform) = (reactor(4), event());
    let (ours, peer) = pair();
    put(&peer, b"early");
    let source = EdgeSource::new(reactor, ours).unwrap();
    assert_eq!(read(&source, 16), Some(5));
    source.took_all();
    assert_eq!(read(&source, 16), None);
    // Someone who looks whether there is more, and goes.
    source.wake_when_readable(&mut Context::from_waker(Waker::noop()));
    drop(source);
    assert!(!look(reactor, &platform));
    // The platform's.
    assert_eq!(registered(reactor), 1);
}

#[test]
fn what_came_between_a_look_and_the_registration_is_told() {
    let (reactor, platform) = (reactor(4), event());
    let (ours, peer) = pair();
    let source = EdgeSource::new(reactor, ours).unwrap();
    let waits = Waits::new();
    assert_eq!(read(&source, 16), None);
    put(&peer, b"early");
    source.wake_when_readable(&mut Context::from_waker(&waits.waker()));
    assert_eq!(waits.woken(), 0);
    assert!(!look(reactor, &platform));
    assert_eq!((waits.woken(), registered(reactor)), (1, 2));
    assert_eq!(read(&source, 16), Some(5));
}

#[test]
fn one_that_is_not_registered_is_read_again_after_each_look() {
    let (reactor, platform) = (reactor(4), event());
    let (ours, peer) = pair();
    let source = EdgeSource::new(reactor, ours).unwrap();
    put(&peer, b"a");
    assert_eq!(read(&source, 16), Some(1));
    source.took_all();
    put(&peer, b"b");
    assert_eq!(read(&source, 16), None, "it is not asked for");
    look(reactor, &platform);
    assert_eq!(read(&source, 16), Some(1), "nobody could have told");
    assert_eq!(read(&source, 16), None);
    put(&peer, b"c");
    look(reactor, &platform);
    assert_eq!(read(&source, 16), Some(1));
}

#[test]
fn who_waits_for_what_epoll_does_not_take_is_told_why() {
    let (reactor, platform) = (reactor(4), event());
    // Of a file epoll tells nothing.
    let file = tempfile::tempfile().unwrap();
    let source = EdgeSource::new(reactor, file.into()).unwrap();
    let again = || source.try_read(|_| Err::<(), _>(Errno::AGAIN));
    let full = || source.try_write(|_| Err::<(), _>(Errno::AGAIN));
    let waits = [Waits::new(), Waits::new()];
    for time in 1..=2 {
        assert_eq!((again(), full()), (Ok(None), Ok(None)));
        source.wake_when_readable(&mut Context::from_waker(&waits[0].waker()));
        source.wake_when_writable(&mut Context::from_waker(&waits[1].waker()));
        look(reactor, &platform);
        assert_eq!([waits[0].woken(), waits[1].woken()], [time, time]);
        assert_eq!(again(), Err(Errno::PERM));
    }
    assert_eq!(full(), Ok(None));
    source.wake_when_writable(&mut Context::from_waker(&waits[1].waker()));
    look(reactor, &platform);
    assert_eq!(full(), Err(Errno::PERM));
}

#[test]
fn a_wait_of_who_had_the_slot_before_registers_nobody() {
    let (reactor, platform) = (reactor(1), event());
    let source = EdgeSource::new(reactor, pair().0).unwrap();
    assert_eq!(read(&source, 16), Some(0), "its peer is gone");
    source.took_all();
    source.wake_when_readable(&mut Context::from_waker(Waker::noop()));
    drop(source);
    let (ours, _peer) = pair();
    let next = EdgeSource::new(reactor, ours).unwrap();
    look(reactor, &platform);
    assert_eq!((next.slot, registered(reactor)), (0, 1));
}

#[test]
fn slots_that_are_waited_for_and_given_back_are_listed_once() {
    let (reactor, platform) = (reactor(1), event());
    for _ in 0..3 {
        let (ours, _peer) = pair();
        let source = EdgeSource::new(reactor, ours).unwrap();
        assert_eq!(read(&source, 16), None);
        source.wake_when_readable(&mut Context::from_waker(Waker::noop()));
        assert_eq!(reactor.edges.unwatched.borrow().as_slice(), [0]);
    }
    // The last who waits has the place of those before.
    let (ours, peer) = pair();
    let source = EdgeSource::new(reactor, ours).unwrap();
    assert_eq!(read(&source, 16), None);
    let waits = Waits::new();
    source.wake_when_readable(&mut Context::from_waker(&waits.waker()));
    put(&peer, b"to the last");
    look(reactor, &platform);
    assert_eq!((waits.woken(), read(&source, 16)), (1, Some(11)));
    assert!(reactor.edges.unwatched.borrow().is_empty());
}

#[test]
fn one_that_is_registered_at_once_is_refused_at_once() {
    let (reactor, platform) = (reactor(4), event());
    let file = tempfile::tempfile().unwrap();
    let source = EdgeSource::new(reactor, file.into()).unwrap();
    assert_eq!(source.watch(), Err(Errno::PERM));
    let (ours, peer) = pair();
    let source = EdgeSource::new(reactor, ours).unwrap();
    assert_eq!((source.watch(), source.watch()), (Ok(()), Ok(())));
    assert_eq!((registered(reactor), read(&source, 16)), (1, None));
    put(&peer, b"told");
    look(reactor, &platform);
    assert_eq!(read(&source, 16), Some(4));
}

#[test]
fn what_came_while_nobody_waited_is_not_forgotten() {
    let (reactor, platform) = (reactor(4), event());
    let (ours, peer) = pair();
    let source = EdgeSource::new(reactor, ours).unwrap();
    put(&peer, b"abcd");
    // Told, and nobody waits.
    look(reactor, &platform);
    let waits = Waits::new();
    source.wake_when_readable(&mut Context::from_waker(&waits.waker()));
    assert_eq!(waits.woken(), 1, "at once");
    // A part is left: it fills the room, so there may be more, and it is not told again.
    assert_eq!(read(&source, 2), Some(2));
    look(reactor, &platform);
    source.wake_when_readable(&mut Context::from_waker(&waits.waker()));
    assert_eq!(waits.woken(), 2);
    assert_eq!(read(&source, 2), Some(2));
    assert_eq!(read(&source, 2), None);
    source.wake_when_readable(&mut Context::from_waker(&waits.waker()));
    look(reactor, &platform);
    assert_eq!(waits.woken(), 2);
    put(&peer, b"e");
    look(reactor, &platform);
    assert_eq!(waits.woken(), 3);
}

#[test]
fn what_comes_between_a_read_that_took_all_and_the_wait_is_told() {
    let (reactor, platform) = (reactor(4), event());
    let (ours, peer) = pair();
    let source = EdgeSource::new(reactor, ours).unwrap();
    put(&peer, b"abc");
    look(reactor, &platform);
    assert_eq!(read(&source, 16), Some(3));
    put(&peer, b"d");
    source.took_all();
    assert_eq!(read(&source, 16), None, "it is not asked for");
    let waits = Waits::new();
    source.wake_when_readable(&mut Context::from_waker(&waits.waker()));
    assert_eq!(waits.woken(), 0);
    look(reactor, &platform);
    assert_eq!((waits.woken(), read(&source, 16)), (1, Some(1)));
}

#[test]
fn an_end_that_was_told_with_the_last_octets_is_read_behind_them() {
    let (reactor, platform) = (reactor(4), event());
    let (ours, peer) = pair();
    let source = watched(reactor, &platform, ours);
    put(&peer, b"last");
    drop(peer);
    look(reactor, &platform);
    assert_eq!(read(&source, 16), Some(4));
    source.took_all();
    assert_eq!(read(&source, 16), Some(0), "no further event would come");
}

#[test]
fn an_end_behind_the_last_octets_is_told_to_who_waits_first_then() {
    let (reactor, platform) = (reactor(4), event());
    let (ours, peer) = pair();
    let source = EdgeSource::new(reactor, ours).unwrap();
    put(&peer, b"last");
    drop(peer);
    assert_eq!(read(&source, 16), Some(4));
    source.took_all();
    assert_eq!(read(&source, 16), None);
    let waits = Waits::new();
    source.wake_when_readable(&mut Context::from_waker(&waits.waker()));
    look(reactor, &platform);
    assert_eq!((waits.woken(), read(&source, 16)), (1, Some(0)));
}

#[test]
fn a_writer_is_woken_when_there_is_room_again() {
    let (reactor, platform) = (reactor(4), event());
    let (ours, peer) = pair();
    let source = EdgeSource::new(reactor, ours).unwrap();
    let waits = Waits::new();
    let octets = vec![0; 1 << 16];
    let write = || {
        let written = source.try_write(|fd| send(fd, &octets, SendFlags::NOSIGNAL));
        written.unwrap()
    };
    for _ in 0..2 {
        while write().is_some() {}
        source.wake_when_writable(&mut Context::from_waker(&waits.waker()));
        let before = waits.woken();
        look(reactor, &platform);
        assert_eq!(waits.woken(), before);
        let mut room = vec![0; 1 << 16];
        while recv(&peer, &mut room[..], RecvFlags::empty()).is_ok_and(|(read, _)| read > 0) {}
        look(reactor, &platform);
        assert_eq!(waits.woken(), before + 1);
    }
}

#[test]
fn a_slot_that_was_given_back_has_no_events_of_who_had_it() {
    let (reactor, platform) = (reactor(1), event());
    let (ours, peer) = pair();
    // The same connection under a second descriptor, which keeps it registered.
    let kept = rustix::io::dup(&ours).unwrap();
    drop(watched(reactor, &platform, ours));
    // The platform's, and that one.
    assert_eq!(registered(reactor), 2);
    let (next, _next_peer) = pair();
    let source = watched(reactor, &platform, next);
    assert_eq!(source.slot, 0);
    put(&peer, b"to whom?");
    let waits = Waits::new();
    source.wake_when_readable(&mut Context::from_waker(&waits.waker()));
    look(reactor, &platform);
    assert_eq!((waits.woken(), read(&source, 16)), (0, None));
    drop(kept);
}

#[test]
fn full_is_refused_and_counts_both_kinds() {
    let reactor = reactor(2);
    let (ours, peer) = pair();
    let source = EdgeSource::new(reactor, ours).unwrap();
    let level = Source::new(reactor, event()).unwrap();
    let full = RegisterError::TooMany(TooManySources);
    let refused = EdgeSource::new(reactor, peer).err();
    assert_eq!(refused, Some(full));
    assert_eq!(Source::new(reactor, event()).err(), Some(TooManySources));
    drop(source);
    assert!(EdgeSource::new(reactor, pair().0).is_ok());
    drop(level);
}

#[test]
fn sources_of_both_kinds_and_the_platform_are_watched_together() {
    let (reactor, platform) = (reactor(4), event());
    let before = Source::new(reactor, event()).unwrap();
    let waits = Waits::new();
    before.wake_when_readable(&mut Context::from_waker(&waits.waker()));
    assert!(!look(reactor, &platform));
    // From now on by epoll.
    let (ours, _peer) = pair();
    let edge = EdgeSource::new(reactor, ours).unwrap();
    let after = Source::new(reactor, event()).unwrap();
    after.wake_when_readable(&mut Context::from_waker(&waits.waker()));
    assert!(reactor.is_watching());
    assert!(!look(reactor, &platform));
    assert_eq!(waits.woken(), 0);
    for (number, source) in [&before, &after].into_iter().enumerate() {
        rustix::io::write(source, &1_u64.to_ne_bytes()).unwrap();
        look(reactor, &platform);
        assert_eq!(waits.woken(), number + 1);
        // Told once, and not again without being asked.
        look(reactor, &platform);
        assert_eq!(waits.woken(), number + 1);
    }
    // Asked again, while it is readable still: a level.
    before.wake_when_readable(&mut Context::from_waker(&waits.waker()));
    look(reactor, &platform);
    assert_eq!(waits.woken(), 3);
    after.wake_when_writable(&mut Context::from_waker(&waits.waker()));
    look(reactor, &platform);
    assert_eq!(waits.woken(), 4);
    rustix::io::write(&platform, &1_u64.to_ne_bytes()).unwrap();
    assert!(look(reactor, &platform));
    // A source that goes leaves nothing, and its slot is another's.
    drop(before);
    let next = Source::new(reactor, event()).unwrap();
    next.wake_when_readable(&mut Context::from_waker(&waits.waker()));
    look(reactor, &platform);
    assert_eq!(waits.woken(), 4);
    drop(edge);
}

#[test]
fn a_sleep_by_epoll_ends_no_later_than_it_should() {
    let (reactor, platform) = (reactor(1), event());
    let (ours, _peer) = pair();
    let _source = EdgeSource::new(reactor, ours).unwrap();
    for (nanoseconds, least) in [(300_000, 300_000), (2_700_000, 2_000_000)] {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: nanoseconds,
        };
        let started = std::time::Instant::now();
        reactor.poll(platform.as_fd(), Some(&timeout)).unwrap();
        assert!(started.elapsed().as_nanos() >= least);
    }
    // What the peer's sleep is cut to is what the caller asks for again.
    let mut events = Vec::with_capacity(1);
    let epoll = reactor.edges.epoll().unwrap();
    let far = Timespec {
        tv_sec: i64::MAX,
        tv_nsec: 999_999_999,
    };
    rustix::io::write(&platform, &1_u64.to_ne_bytes()).unwrap();
    wait(epoll, &mut events, Some(&far)).unwrap();
    assert_eq!(events.len(), 1);
}
