//! Who waits to read or to write, gives up, or is woken inside of a call.

use super::*;

#[test]
fn a_writer_waits_while_the_window_is_full_without_spinning() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let (client, server) = world.pair().await;
        let sent = pattern(400_000, 7);
        let expected = sent.clone();
        let writing = executor
            .spawn(async move {
                client.write_all(&sent).await.unwrap();
                client
            })
            .unwrap();
        world.sleep(Duration::from_secs(1)).await;
        let polls = executor.counters().polls;
        world.sleep(Duration::from_secs(100)).await;
        assert!(!writing.is_finished());
        let polls = executor.counters().polls - polls;
        assert!(polls < 200, "{polls} polls while nothing could happen");
        let mut received = Vec::new();
        let mut buffer = [0; 10_000];
        while received.len() < expected.len() {
            let count = server.read(&mut buffer).await.unwrap();
            received.extend_from_slice(&buffer[..count]);
        }
        assert!(received == expected);
        drop(writing.await.unwrap());
    });
    world.end();
}

#[test]
fn a_writer_that_is_dropped_while_it_waits_has_written_nothing_more() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let (client, server) = world.pair().await;
        let chunk = pattern(10_000, 2);
        let mut queued = 0;
        while let Ok(count) = executor
            .timeout(Duration::from_secs(1), client.write(&chunk))
            .await
        {
            queued += count.unwrap();
        }
        // A send that waits, dropped: its page is not sent.
        let page = world.client.pool.alloc().unwrap();
        let sending = executor.timeout(Duration::from_secs(1), client.send(page));
        assert!(sending.await.is_err());
        assert!(
            executor
                .timeout(Duration::from_secs(1), client.writable())
                .await
                .is_err()
        );
        client.shutdown().unwrap();
        let received = read_to_end(&server).await.unwrap();
        assert_eq!(received.len(), queued);
        client.delivered().await.unwrap();
    });
    world.end();
}

#[test]
fn a_read_that_is_dropped_loses_nothing() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let (client, server) = world.pair().await;
        let mut buffer = [0; 100];
        for _ in 0..3 {
            let reading = executor.timeout(Duration::from_millis(10), server.read(&mut buffer));
            assert!(reading.await.is_err());
            let receiving = executor.timeout(Duration::from_millis(10), server.receive());
            assert!(receiving.await.is_err());
            let readable = executor.timeout(Duration::from_millis(10), server.readable());
            assert!(readable.await.is_err());
        }
        client.write_all(b"still here").await.unwrap();
        server.readable().await;
        assert_eq!(server.read(&mut buffer).await, Ok(10));
        assert_eq!(&buffer[..10], b"still here");
        // A task that waits, ended from outside: another takes its place.
        let server: &'static _ = Box::leak(Box::new(server));
        let waiting = executor.spawn(async move { drop(server.receive().await) });
        world.sleep(Duration::from_millis(1)).await;
        drop(waiting.unwrap());
        client.write_all(b"again").await.unwrap();
        let piece = executor.timeout(LONG, server.receive()).await;
        assert_eq!(&*piece.unwrap().unwrap().unwrap(), b"again");
    });
}

#[test]
fn what_is_dropped_or_called_inside_of_a_call_is_done_after_it() {
    let world = World::new();
    world.executor.run_until(async {
        let listener = world.listen(80);
        let client = world.connect(80).await;
        let (_, server) = listener.accept().await.unwrap();
        let second = world.connect(80).await;
        let (_, other) = listener.accept().await.unwrap();
        let shared = world.server.shared;
        shared.with(|stack, _| {
            let options = ListenOptions::bind(any(81));
            assert_eq!(shared.tcp_listen(options).err(), Some(BindError::InUse));
            let opened = shared.tcp_open(any(0), at(1, 9), ConnectionOptions::DEFAULT);
            assert_eq!(opened.err(), Some(TcpError::Busy));
            assert_eq!(listener.local(), None);
            assert_eq!(listener.try_accept().err(), Some(TcpError::Busy));
            assert_eq!(
                (server.local(), server.remote(), server.state()),
                (None, None, None)
            );
            assert_eq!(server.shutdown(), Err(TcpError::Busy));
            assert!(poll_once(listener.accept()).is_pending());
            assert!(poll_once(server.receive()).is_pending());
            assert!(poll_once(server.read(&mut [0; 1])).is_pending());
            assert!(poll_once(server.readable()).is_pending());
            assert!(poll_once(server.write(b"?")).is_pending());
            assert!(poll_once(server.writable()).is_pending());
            assert!(poll_once(server.delivered()).is_pending());
            drop(server);
            other.abort();
            drop(listener);
            assert_eq!(stack.tcp_population().0, 2, "nothing was done yet");
        });
        assert!(client.receive().await.unwrap().is_none());
        assert_eq!(second.receive().await.err(), Some(TcpError::Reset));
        let options = ConnectionOptions::DEFAULT;
        let refused = world.client.shared.tcp_connect(any(0), at(2, 80), options);
        assert_eq!(refused.await.err(), Some(TcpError::Refused));
    });
    world.end();
}

/// Calls are dropped while they wait, again and again, on a bad line: what was read and written is whole all the same.
#[test]
fn whatever_is_dropped_while_it_waits_all_bytes_arrive_in_order() {
    let faults = Faults {
        loss: Chance::percent(2),
        reordering: Chance::percent(5),
        duplication: Chance::percent(2),
        delay: Duration::from_millis(2),
        reordering_delay: Duration::from_millis(3),
        ..Faults::NONE
    };
    for seed in 0..5 {
        let world = World::with(faults, CONNECTIONS, 8);
        let executor = world.executor;
        let mut rng = SplitMix64::new(seed);
        let sent = pattern(150_000, seed as usize);
        let expected = sent.clone();
        executor.run_until(async {
            let (client, server) = world.pair().await;
            let mut random = rng.split();
            let pool = world.client.pool;
            let writing = executor.spawn(async move {
                let mut at = 0;
                let mut dropped = 0;
                while at < sent.len() {
                    let patience = Duration::from_micros(random.below(3_000));
                    let end = sent.len().min(at + 1 + random.below(9_000) as usize);
                    match random.below(4) {
                        0 => {
                            let end = end.min(at + 2_000);
                            let Some(mut page) = pool.alloc() else {
                                continue;
                            };
                            page.extend_from_slice(&sent[at..end]).unwrap();
                            match executor.timeout(patience, client.send(page)).await {
                                Ok(result) => result.unwrap(),
                                Err(_) => {
                                    dropped += 1;
                                    continue;
                                }
                            }
                            at = end;
                        }
                        1 => drop(executor.timeout(patience, client.writable()).await),
                        _ => match executor
                            .timeout(patience, client.write(&sent[at..end]))
                            .await
                        {
                            Ok(result) => at += result.unwrap(),
                            Err(_) => dropped += 1,
                        },
                    }
                }
                client.shutdown().unwrap();
                client.delivered().await.unwrap();
                (client, dropped)
            });
            let mut random = rng.split();
            let mut received = Vec::new();
            let mut buffer = [0; 5_000];
            let mut dropped = 0;
            loop {
                let patience = Duration::from_micros(random.below(3_000));
                let pause = Duration::from_micros(random.below(200));
                executor.sleep(pause).await;
                match random.below(3) {
                    0 => drop(executor.timeout(patience, server.readable()).await),
                    1 => match executor.timeout(patience, server.receive()).await {
                        Ok(Ok(Some(piece))) => received.extend_from_slice(&piece),
                        Ok(Ok(None)) => break,
                        Ok(Err(error)) => panic!("{error}"),
                        Err(_) => dropped += 1,
                    },
                    _ => {
                        let length = 1 + random.below(buffer.len() as u64) as usize;
                        let reading = server.read(&mut buffer[..length]);
                        match executor.timeout(patience, reading).await {
                            Ok(Ok(0)) => break,
                            Ok(Ok(count)) => received.extend_from_slice(&buffer[..count]),
                            Ok(Err(error)) => panic!("{error}"),
                            Err(_) => dropped += 1,
                        }
                    }
                }
            }
            assert!(received == expected, "seed {seed}");
            let (client, writes_dropped) = writing.unwrap().await.unwrap();
            assert!(dropped > 0 && writes_dropped > 0, "nothing was dropped");
            drop((client, server));
        });
        world.end();
    }
}
