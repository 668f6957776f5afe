//! Connections that begin, listeners, and who waits to accept.

use super::*;

#[test]
fn a_connection_that_nobody_wants_is_refused() {
    let world = World::new();
    world.executor.run_until(async {
        let options = ConnectionOptions::DEFAULT;
        let shared = world.client.shared;
        let refused = shared.tcp_connect(any(0), at(2, 81), options).await;
        assert_eq!(refused.err(), Some(TcpError::Refused));
        let nobody = shared.tcp_connect(any(0), at(99, 80), options).await;
        let error = nobody.err().unwrap();
        assert!(
            matches!(error, TcpError::Unreachable(_) | TcpError::TimedOut),
            "{error}"
        );
        let bad = shared.tcp_connect(any(0), at(2, 0), options).await;
        assert_eq!(bad.err(), Some(TcpError::BadAddress));
    });
    world.end();
}

#[test]
fn a_connect_that_is_dropped_leaves_nothing() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let shared = world.client.shared;
        // Nobody is there: it would be tried for three minutes.
        let connecting = shared.tcp_connect(any(0), at(99, 80), ConnectionOptions::DEFAULT);
        let result = executor
            .timeout(Duration::from_millis(500), connecting)
            .await;
        assert!(result.is_err());
        let population = shared.with(|stack, _| stack.tcp_population());
        assert_eq!(population, (0, 0, 0));
    });
    world.end();
}

#[test]
fn a_connection_that_is_opened_takes_data_before_it_is_there() {
    let world = World::new();
    let listener = world.listen(80);
    world.executor.run_until(async {
        let options = ConnectionOptions::DEFAULT;
        let client = world.client.shared.tcp_open(any(0), at(2, 80), options);
        let client = client.unwrap();
        assert_eq!(client.state(), Some(TcpState::SynSent));
        assert_eq!(client.write(b"early").await, Ok(5));
        let (_, server) = listener.accept().await.unwrap();
        assert_eq!(&*server.receive().await.unwrap().unwrap(), b"early");
        server.write_all(b"bird").await.unwrap();
        let mut buffer = [0; 9];
        assert_eq!(client.read(&mut buffer).await, Ok(4));
        assert_eq!(client.read(&mut []).await, Ok(0));
        assert_eq!(client.write(&[]).await, Ok(0));
    });
    drop(listener);
    world.end();
}

#[test]
fn many_wait_to_accept_and_each_connection_finds_one() {
    let world = World::new();
    let executor = world.executor;
    let listener: &'static _ = Box::leak(Box::new(world.listen(80)));
    let served = Rc::new(Cell::new([0; 5]));
    for number in 0..5 {
        let served = served.clone();
        let task = async move {
            loop {
                let (_, stream) = listener.accept().await.unwrap();
                let mut counts = served.get();
                counts[number] += 1;
                served.set(counts);
                let request = read_to_end(&stream).await.unwrap();
                executor.sleep(Duration::from_millis(100)).await;
                stream.write_all(&request).await.unwrap();
            }
        };
        executor.spawn(task).unwrap().detach();
    }
    executor.run_until(async {
        let mut clients = Vec::new();
        for number in 0..20 {
            clients.push((number, world.connect(80).await));
        }
        for (number, client) in &clients {
            client.write_all(&pattern(100, *number)).await.unwrap();
            client.shutdown().unwrap();
        }
        for (number, client) in &clients {
            let answer = executor.timeout(LONG, read_to_end(client)).await;
            assert_eq!(answer.unwrap().unwrap(), pattern(100, *number));
        }
    });
    // Nobody is left out, and nobody gets two before another gets one.
    assert_eq!(served.get(), [4; 5]);
}

#[test]
fn an_accept_that_is_dropped_after_it_was_woken_passes_the_connection_on() {
    let world = World::new();
    let executor = world.executor;
    let listener = world.listen(80);
    executor.run_until(async {
        let mut first = Box::pin(listener.accept());
        let mut second = Box::pin(listener.accept());
        let woken = Rc::new(Cell::new(false));
        std::future::poll_fn(|context| {
            assert!(first.as_mut().poll(context).is_pending());
            assert!(second.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        let client = world.connect(80).await;
        // The first was woken, and is dropped before it looks.
        drop(first);
        let other = woken.clone();
        let (remote, _server) = executor.timeout(LONG, second).await.unwrap().unwrap();
        other.set(true);
        assert_eq!(Some(remote), client.local());
        assert!(woken.get());
        // One that was never woken is dropped, too, and the next is none the worse.
        assert!(poll_once(listener.accept()).is_pending());
        let _client = world.connect(80).await;
        let accepted = executor.timeout(LONG, listener.accept()).await;
        accepted.unwrap().unwrap();
    });
    drop(listener);
    world.end();
}

#[test]
fn a_dropped_listener_resets_who_waits_and_refuses_who_comes() {
    let world = World::new();
    world.executor.run_until(async {
        let listener = world.listen(80);
        assert_eq!(listener.local(), Some(any(80)));
        let twice = world.server.shared.tcp_listen(ListenOptions::bind(any(80)));
        assert_eq!(twice.err(), Some(BindError::AddressInUse));
        let accepted = world.connect(80).await;
        let (_, server) = listener.accept().await.unwrap();
        let waiting = world.connect(80).await;
        world.sleep(Duration::from_secs(1)).await;
        drop(listener);
        assert_eq!(waiting.receive().await.err(), Some(TcpError::Reset));
        let options = ConnectionOptions::DEFAULT;
        let refused = world.client.shared.tcp_connect(any(0), at(2, 80), options);
        assert_eq!(refused.await.err(), Some(TcpError::Refused));
        // What was accepted goes on.
        server.write_all(b"goes on").await.unwrap();
        assert_eq!(&*accepted.receive().await.unwrap().unwrap(), b"goes on");
        // A new one at the same place has nothing of the old one.
        let listener = world.listen(80);
        assert!(poll_once(listener.accept()).is_pending());
        assert!(listener.try_accept().unwrap().is_none());
    });
    world.end();
}

#[test]
fn more_connections_than_wakers_are_refused() {
    let world = World::with(Faults::NONE, 2, 1);
    world.executor.run_until(async {
        let listener = world.listen(80);
        let other = world.server.shared.tcp_listen(ListenOptions::bind(any(81)));
        assert_eq!(other.err(), Some(BindError::TableFull));
        let mut pairs = Vec::new();
        for _ in 0..2 {
            let client = world.connect(80).await;
            pairs.push((client, listener.accept().await.unwrap()));
        }
        let options = ConnectionOptions::DEFAULT;
        let third = world.client.shared.tcp_connect(any(0), at(2, 80), options);
        assert_eq!(third.await.err(), Some(TcpError::TableFull));
        // A peer with more room: the server's third is reset when it is accepted.
        let handle = world.client.shared.with(|stack, now| {
            let opened = stack.tcp_connect(now, any(0), at(2, 80), options);
            opened.unwrap()
        });
        assert_eq!(listener.accept().await.err(), Some(TcpError::TableFull));
        world.sleep(Duration::from_secs(1)).await;
        world.client.shared.with(|stack, now| {
            assert_eq!(stack.tcp_error(handle), Some(TcpError::Reset));
            stack.tcp_close(now, handle);
        });
        // The others are none the worse, and when one is gone there is room again.
        pairs.pop();
        world.sleep(Duration::from_secs(100)).await;
        let client = world.connect(80).await;
        let (_, server) = listener.accept().await.unwrap();
        server.write_all(b"room").await.unwrap();
        assert_eq!(&*client.receive().await.unwrap().unwrap(), b"room");
    });
    world.end();
}

/// Tasks wait to accept, give up, and come again: each connection is accepted once, and none waits while somebody would take it.
#[test]
fn whoever_gives_up_waiting_to_accept_no_connection_is_left() {
    let slow = Faults {
        delay: Duration::from_micros(20),
        jitter: Duration::from_micros(30),
        ..Faults::NONE
    };
    let world = World::with(slow, CONNECTIONS, 8);
    let executor = world.executor;
    let listener: &'static _ = Box::leak(Box::new(world.listen(80)));
    let (accepted, given_up) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let mut rng = SplitMix64::new(3);
    for _ in 0..6 {
        let (accepted, given_up) = (accepted.clone(), given_up.clone());
        let mut random = rng.split();
        let task = async move {
            loop {
                let patience = Duration::from_micros(1 + random.below(50));
                match executor.timeout(patience, listener.accept()).await {
                    Ok(result) => {
                        let (_, stream) = result.unwrap();
                        accepted.set(accepted.get() + 1);
                        stream.write_all(b"welcome").await.unwrap();
                    }
                    Err(_) => given_up.set(given_up.get() + 1),
                }
            }
        };
        executor.spawn(task).unwrap().detach();
    }
    executor.run_until(async {
        for number in 1..=200 {
            world.sleep(Duration::from_micros(rng.below(300))).await;
            let client = world.connect(80).await;
            let greeting = executor.timeout(Duration::from_millis(2), client.receive());
            let greeting = greeting.await.expect("somebody accepts at once");
            assert_eq!(&*greeting.unwrap().unwrap(), b"welcome");
            assert_eq!(accepted.get(), number);
        }
    });
    assert!(given_up.get() > 200, "{}", given_up.get());
}
