//! Pages and bytes both ways; halves; what is acknowledged with what.

use super::*;

#[test]
fn pages_go_there_and_back_and_none_is_copied_by_the_shell() {
    let world = World::new();
    world.executor.run_until(async {
        let (client, server) = world.pair().await;
        let question = pattern(1_000, 1);
        let mut page = world.client.pool.alloc().unwrap();
        page.extend_from_slice(&question).unwrap();
        client.send(page).await.unwrap();
        let piece = server.receive().await.unwrap().unwrap();
        assert_eq!(*piece, *question);
        // The page that came in goes out again: no other is taken.
        let free = world.server.pool.free();
        server.send(piece).await.unwrap();
        assert_eq!(world.server.pool.free(), free);
        let answer = client.receive().await.unwrap().unwrap();
        assert_eq!(*answer, *question);
        drop(server);
        assert!(client.receive().await.unwrap().is_none(), "the end");
        assert!(client.receive().await.unwrap().is_none(), "and it stays");
    });
    world.end();
}

#[test]
fn a_page_that_is_sent_is_free_when_the_peer_has_it() {
    let world = World::new();
    world.executor.run_until(async {
        let (client, server) = world.pair().await;
        world.sleep(Duration::from_secs(10)).await;
        let free = world.client.pool.free();
        let mut page = world.client.pool.alloc().unwrap();
        page.extend_from_slice(b"one page").unwrap();
        client.send(page).await.unwrap();
        assert_eq!(world.client.pool.free(), free - 1);
        client.delivered().await.unwrap();
        assert_eq!(world.client.pool.free(), free);
        assert_eq!(&*server.receive().await.unwrap().unwrap(), b"one page");
    });
    world.end();
}

/// Who fills pages and sends them waits for those that may be filled, and leaves others to what is received.
#[test]
fn pages_to_be_filled_are_waited_for() {
    let world = World::new();
    let executor = world.executor;
    world.executor.run_until(async {
        let (client, server) = world.pair().await;
        let pool = world.client.pool;
        let mut taken = vec![];
        while pool.free() > pool.general() / 16 {
            taken.push(pool.alloc().unwrap());
        }
        // Nothing is in the network whose acknowledgement could say that there is more.
        let begun = executor.now();
        let release = async move {
            executor.sleep(Duration::from_secs(1)).await;
            drop(taken);
        };
        executor.spawn(release).unwrap().detach();
        let mut page = client.page().await.unwrap();
        assert!(executor.now() >= begun + Duration::from_secs(1));
        page.extend_from_slice(b"one page").unwrap();
        client.send(page).await.unwrap();
        assert_eq!(&*server.receive().await.unwrap().unwrap(), b"one page");
        client.shutdown().unwrap();
        let closing = client.page().await.map(drop);
        assert_eq!(closing, Err(TcpError::Closing));
    });
    world.end();
}

#[test]
fn one_task_reads_while_another_writes_through_one_reference() {
    let faults = Faults {
        loss: Chance::percent(2),
        reordering: Chance::percent(5),
        duplication: Chance::percent(2),
        delay: Duration::from_millis(3),
        reordering_delay: Duration::from_millis(4),
        ..Faults::NONE
    };
    let world = World::with(faults, CONNECTIONS, 8);
    let executor = world.executor;
    let there = pattern(700_000, 1);
    let back = pattern(500_000, 9);
    executor.run_until(async {
        let (client, server) = world.pair().await;
        let both = |stream: TcpStream<'static, 'static>, sent: Vec<u8>| async move {
            let stream: &'static TcpStream<'static, 'static> = Box::leak(Box::new(stream));
            let writing = executor.spawn(async move {
                stream.write_all(&sent).await.unwrap();
                stream.shutdown().unwrap();
                stream.delivered().await.unwrap();
                assert_eq!(stream.shutdown(), Err(TcpError::Closing));
            });
            let read = read_to_end(stream).await.unwrap();
            writing.unwrap().await.unwrap();
            read
        };
        let serving = executor.spawn(both(server, back.clone())).unwrap();
        let received = both(client, there.clone()).await;
        assert!(received == back);
        assert!(serving.await.unwrap() == there);
    });
}

#[test]
fn halves_are_two_tasks_own() {
    let world = World::new();
    world.executor.run_until(async {
        let (mut client, server) = world.pair().await;
        let sent = pattern(200_000, 3);
        let expected = sent.clone();
        let echo = async {
            while let Some(piece) = server.receive().await.unwrap() {
                server.send(piece).await.unwrap();
            }
            server.shutdown().unwrap();
        };
        let (mut reader, mut writer) = client.split();
        let write = async {
            let mut rest = &sent[..];
            while !rest.is_empty() {
                let count = writer.write(rest).await.unwrap();
                rest = &rest[count..];
            }
            writer.delivered().await.unwrap();
        };
        let read = async {
            let mut received = Vec::new();
            let mut buffer = [0; 777];
            while received.len() < expected.len() {
                reader.readable().await;
                let count = reader.read(&mut buffer).await.unwrap();
                received.extend_from_slice(&buffer[..count]);
            }
            assert!(received == expected);
        };
        let (mut write, mut read) = (pin!(write), pin!(read));
        let (mut written, mut was_read) = (false, false);
        let both = std::future::poll_fn(|context| {
            written = written || write.as_mut().poll(context).is_ready();
            was_read = was_read || read.as_mut().poll(context).is_ready();
            match written && was_read {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        let mut echo = pin!(echo);
        let mut both = pin!(both);
        std::future::poll_fn(|context| {
            let _ = echo.as_mut().poll(context);
            both.as_mut().poll(context)
        })
        .await;
    });
}

#[test]
fn a_half_close_leaves_the_other_direction_open() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let (client, server) = world.pair().await;
        client.write_all(b"all of it").await.unwrap();
        client.shutdown().unwrap();
        client.delivered().await.unwrap();
        assert_eq!(client.state(), Some(TcpState::FinWait2));
        assert_eq!(client.write(b"more").await, Err(TcpError::Closing));
        assert_eq!(read_to_end(&server).await.unwrap(), b"all of it");
        let answer = pattern(150_000, 5);
        let sent = answer.clone();
        let answering = executor.spawn(async move {
            server.write_all(&sent).await.unwrap();
        });
        assert!(read_to_end(&client).await.unwrap() == answer);
        answering.unwrap().await.unwrap();
    });
    world.end();
}

#[test]
fn a_page_from_the_receive_ring_waits_while_there_is_none_to_exchange() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let (client, server) = world.pair().await;
        let mut options = UdpOptions::bind(any(53));
        options.broadcast = true;
        let socket = world.server.shared.udp_bind(options).unwrap();
        let asker = world.client.shared.udp_bind(UdpOptions::bind(any(0)));
        let asker = asker.unwrap();
        asker
            .send(Some(at(2, 53)), b"from a datagram")
            .await
            .unwrap();
        let datagram = socket.receive().await.unwrap();
        let piece = datagram.payload.into_single().unwrap();
        let hoard: Vec<_> = std::iter::from_fn(|| world.server.pool.alloc()).collect();
        let sending = executor
            .spawn(async move {
                server.send(piece).await.unwrap();
                server.delivered().await.unwrap();
            })
            .unwrap();
        world.sleep(Duration::from_secs(1)).await;
        drop(hoard);
        let received = executor.timeout(LONG, client.receive()).await.unwrap();
        assert_eq!(&*received.unwrap().unwrap(), b"from a datagram");
        sending.await.unwrap();
    });
    world.end();
}

/// RFC 9293 §3.8.6.3, RFC 1122 §4.2.3.2: what is received is acknowledged by what its reader answers, from the first question on.
#[test]
fn an_answer_takes_the_acknowledgement_of_its_question_with_it() {
    let world = World::new();
    let executor = world.executor;
    let listener = world.listen(80);
    let accepting = async move {
        let (_, stream) = listener.accept().await.unwrap();
        // As a server does it: a task for each connection.
        let serving = async move {
            while let Some(question) = stream.receive().await.unwrap() {
                stream.send(question).await.unwrap();
            }
        };
        executor.spawn(serving).unwrap().detach();
    };
    executor.spawn(accepting).unwrap().detach();
    executor.run_until(async {
        let sent = || {
            let counters = world.server.shared.with(|stack, _| stack.counters());
            counters.tcp.sent
        };
        let client = world.connect(80).await;
        let mut buffer = [0; 100];
        for question in 0..20 {
            client.write_all(b"a question").await.unwrap();
            assert_eq!(client.read(&mut buffer).await, Ok(10));
            // The SYN's answer is the first.
            assert_eq!(sent(), question + 2);
        }
    });
    world.end();
}

/// What comes in one batch is acknowledged once, with the window that its reader has opened by then.
#[test]
fn a_batch_is_acknowledged_once_it_was_read() {
    let world = World::new();
    world.executor.run_until(async {
        let (client, server) = world.pair().await;
        let bytes = pattern(500_000, 7);
        let written = bytes.clone();
        let sending = async move {
            client.write_all(&written).await.unwrap();
            client.shutdown().unwrap();
            client.delivered().await.unwrap();
        };
        world.executor.spawn(sending).unwrap().detach();
        let received = read_to_end(&server).await;
        assert_eq!(received.unwrap(), bytes);
        let counters = world.server.shared.with(|stack, _| stack.counters()).tcp;
        // Every second segment would be half of them (RFC 5681 §4.2 allows more to be acknowledged together).
        assert!(counters.sent * 3 < counters.received, "{counters:?}");
    });
    world.end();
}
