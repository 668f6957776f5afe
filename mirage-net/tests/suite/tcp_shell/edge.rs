//! Sockets and listeners as `edge-nal` traits.

use edge_nal::{Close, Readable, TcpAccept, TcpBind, TcpConnect, TcpShutdown, TcpSplit};
use embedded_io_async::{Read, Write};

use super::*;
use std::net::IpAddr;

/// Echoes one connection, by nothing but the traits.
async fn echo<N: TcpBind>(stack: &N) {
    let acceptor = stack.bind(any(80)).await.unwrap();
    let (remote, mut socket) = acceptor.accept().await.unwrap();
    assert_eq!(remote.ip(), IpAddr::from(ip(1)));
    let mut buffer = [0; 1_000];
    loop {
        let (mut reader, mut writer) = socket.split();
        reader.readable().await.unwrap();
        let count = reader.read(&mut buffer).await.unwrap();
        if count == 0 {
            break;
        }
        writer.write_all(&buffer[..count]).await.unwrap();
        writer.flush().await.unwrap();
    }
    socket.close(Close::Both).await.unwrap();
}

#[test]
fn a_server_that_knows_the_traits_alone_serves() {
    let world = World::new();
    let executor = world.executor;
    let server = world.server.shared;
    executor.spawn(echo(server)).unwrap().detach();
    executor.run_until(async {
        let mut socket = TcpConnect::connect(world.client.shared, at(2, 80))
            .await
            .unwrap();
        let sent = pattern(30_000, 4);
        socket.write_all(&sent).await.unwrap();
        let mut received = vec![0; sent.len()];
        socket.read_exact(&mut received).await.unwrap();
        assert!(received == sent);
        socket.close(Close::Write).await.unwrap();
        // Again is no error.
        socket.close(Close::Write).await.unwrap();
        assert_eq!(socket.read(&mut received).await.unwrap(), 0);
    });
    world.end();
}

#[test]
fn close_throws_away_what_comes_and_waits_for_the_end() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let (mut client, server) = world.pair().await;
        let writing = executor.spawn(async move {
            server.write_all(&pattern(300_000, 1)).await.unwrap();
            executor.sleep(Duration::from_secs(5)).await;
        });
        let began = executor.now();
        client.close(Close::Both).await.unwrap();
        assert!(executor.now() - began >= Duration::from_secs(5));
        writing.unwrap().await.unwrap();
    });
    world.end();
}

#[test]
fn an_abort_resets() {
    let world = World::new();
    world.executor.run_until(async {
        let (client, mut server) = world.pair().await;
        TcpShutdown::abort(&mut server).await.unwrap();
        assert_eq!(client.receive().await.err(), Some(TcpError::Reset));
    });
    world.end();
}
