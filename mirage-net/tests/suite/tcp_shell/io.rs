//! A connection as `embedded-io-async` traits.

use embedded_io_async::{BufRead, Error, ErrorKind, Read, Write};

use super::*;

#[test]
fn lines_are_read_where_they_lie() {
    let world = World::new();
    let executor = world.executor;
    executor.run_until(async {
        let (mut client, mut server) = world.pair().await;
        let text = (0..5_000).map(|number| format!("{number}\n"));
        let text: String = text.collect();
        let sent = text.clone();
        let writing = executor.spawn(async move {
            Write::write_all(&mut client, sent.as_bytes())
                .await
                .unwrap();
            Write::flush(&mut client).await.unwrap();
            client.shutdown().unwrap();
            client
        });
        let mut received = Vec::new();
        let mut rounds = 0;
        loop {
            rounds += 1;
            // By the stream, by a half, and by reading, from one and the same place.
            let piece = server.fill_buf().await.unwrap();
            if piece.is_empty() {
                break;
            }
            let count = piece.len().min(3);
            received.extend_from_slice(&piece[..count]);
            server.consume(count);
            if rounds % 5 == 0 {
                let (mut reader, _) = server.split();
                let piece = reader.fill_buf().await.unwrap();
                let count = piece.len().div_ceil(2);
                received.extend_from_slice(&piece[..count]);
                reader.consume(count);
            }
            if rounds % 7 == 0 {
                let mut buffer = [0; 5];
                let count = Read::read(&mut &server, &mut buffer).await.unwrap();
                received.extend_from_slice(&buffer[..count]);
            }
            if rounds % 11 == 0
                && let Some(piece) = server.receive().await.unwrap()
            {
                received.extend_from_slice(&piece);
            }
        }
        assert!(received == text.as_bytes());
        drop(writing.unwrap().await.unwrap());
    });
    world.end();
}

#[test]
fn what_lies_in_a_buffer_unread_resets_the_peer_too() {
    let world = World::new();
    world.executor.run_until(async {
        let (client, mut server) = world.pair().await;
        client.write_all(b"half of it").await.unwrap();
        assert_eq!(server.fill_buf().await.unwrap(), b"half of it");
        server.consume(4);
        drop(server);
        assert_eq!(client.receive().await.err(), Some(TcpError::Reset));
        let error = Write::write(&mut &client, b"!").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let flushed = Write::flush(&mut &client).await;
        assert_eq!(flushed, Err(TcpError::Reset));
    });
    world.end();
}
