//! Connections that end at once.

use super::*;

#[test]
fn a_reset_wakes_who_reads_and_who_writes() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let (client, server) = world.pair().await;
        let client: &'static TcpStream<'_, '_> = Box::leak(Box::new(client));
        let reading = executor.spawn(client.receive()).unwrap();
        let writing = executor
            .spawn(async move { client.write_all(&pattern(1_000_000, 1)).await })
            .unwrap();
        let delivering = executor.spawn(async move {
            executor.sleep(Duration::from_secs(3)).await;
            client.delivered().await
        });
        world.sleep(Duration::from_secs(1)).await;
        assert!(!reading.is_finished() && !writing.is_finished());
        server.abort();
        assert_eq!(server.receive().await.err(), Some(TcpError::NotOpen));
        assert_eq!(server.write(b"!").await, Err(TcpError::NotOpen));
        assert_eq!(server.state(), None);
        let read = executor.timeout(LONG, reading).await.unwrap().unwrap();
        assert_eq!(read.err(), Some(TcpError::Reset));
        let written = executor.timeout(LONG, writing).await.unwrap().unwrap();
        assert_eq!(written, Err(TcpError::Reset));
        assert_eq!(delivering.unwrap().await.unwrap(), Err(TcpError::Reset));
        // These do not wait for ever either.
        client.readable().await;
        client.writable().await;
    });
}

#[test]
fn an_abort_wakes_the_other_task_and_touches_no_other_connection() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let listener = world.listen(80);
        let first = world.connect(80).await;
        let (_, server) = listener.accept().await.unwrap();
        let first: &'static TcpStream<'_, '_> = Box::leak(Box::new(first));
        let reading = executor.spawn(first.receive()).unwrap();
        world.sleep(Duration::from_secs(1)).await;
        first.abort();
        let read = executor.timeout(LONG, reading).await.unwrap().unwrap();
        assert_eq!(read.err(), Some(TcpError::NotOpen));
        assert_eq!(server.receive().await.err(), Some(TcpError::Reset));
        // Its slot is another's now.
        let second = world.connect(80).await;
        let (_, server) = listener.accept().await.unwrap();
        let second: &'static TcpStream<'_, '_> = Box::leak(Box::new(second));
        let reading = executor.spawn(second.receive()).unwrap();
        world.sleep(Duration::from_secs(1)).await;
        first.abort();
        first.readable().await;
        assert_eq!(first.shutdown(), Err(TcpError::NotOpen));
        server.write_all(b"for the second").await.unwrap();
        let read = executor.timeout(LONG, reading).await.unwrap().unwrap();
        assert_eq!(&*read.unwrap().unwrap(), b"for the second");
    });
}

#[test]
fn a_stream_dropped_with_unread_bytes_resets_its_peer() {
    let world = World::new();
    world.executor.run_until(async {
        let (client, server) = world.pair().await;
        client.write_all(b"never read").await.unwrap();
        server.readable().await;
        drop(server);
        assert_eq!(client.receive().await.err(), Some(TcpError::Reset));
    });
    world.end();
}
