//! Clients that are slow or wrong, and streams that fail.

use super::*;

#[test]
fn what_is_no_request_is_answered_and_ends() {
    for (stream, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\n\r\n", 505),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n",
            413,
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n", 417),
    ] {
        let (answer, ending, _) = send(
            format!("{stream}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
            100,
        );
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{stream:?}: {answer}"
        );
        assert!(has(&answer, "connection: close"));
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert_eq!(ending, Ending::Rejected);
        assert!(ending.lingers());
    }
    let large = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
        "a".repeat(10_000)
    );
    assert!(send(large.as_bytes(), 100).0.starts_with("HTTP/1.1 431 "));
}

#[test]
fn slow_client_that_holds_a_connection() {
    // Nothing at all; part of a head; part of a body.
    let (answer, ending, at) = send(b"", 100);
    assert_eq!(
        (answer.as_str(), ending, at),
        ("", Ending::Idle, Instant::ZERO + LIMITS.idle)
    );
    let (answer, ending, at) = send(b"GET / HT", 100);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(
        (ending, at),
        (Ending::Rejected, Instant::ZERO + LIMITS.head_time)
    );
    let (answer, ending, at) = send(
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab",
        100,
    );
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(ending, Ending::Rejected);
    assert_eq!(at, Instant::ZERO + LIMITS.grace + Duration::from_millis(2));
}

#[test]
fn slow_client_that_takes_nothing() {
    let executor = executor();
    let (server, mut client) = pipe(1_000, 1_000);
    let ended = start(executor, server);
    executor.run_until(async {
        let request = b"GET /long.txt HTTP/1.1\r\nHost: x\r\n\r\n";
        client
            .write(request)
            .await
            .unwrap_or_else(|never| match never {});
        executor.sleep(Duration::from_secs(200)).await;
    });
    let (ending, at) = ended.get().expect("it has ended");
    assert_eq!(ending, Ending::TooSlow);
    assert!(
        at <= Instant::ZERO + LIMITS.grace + Duration::from_secs(51),
        "{at}"
    );
    drop(client);
}

/// A stream that fails.
struct Failing(End, usize);

#[derive(Debug)]
struct Failure;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed")
    }
}

impl core::error::Error for Failure {}

impl embedded_io_async::Error for Failure {
    fn kind(&self) -> ErrorKind {
        ErrorKind::ConnectionReset
    }
}

impl ErrorType for Failing {
    type Error = Failure;
}

impl Read for Failing {
    async fn read(&mut self, room: &mut [u8]) -> Result<usize, Failure> {
        self.0.read(room).await.map_err(|never| match never {})
    }
}

impl Write for Failing {
    async fn write(&mut self, octets: &[u8]) -> Result<usize, Failure> {
        let most = octets.len().min(self.1);
        self.1 -= most;
        match most {
            0 => Err(Failure),
            most => self
                .0
                .write(&octets[..most])
                .await
                .map_err(|never| match never {}),
        }
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn a_stream_that_fails_ends_the_connection() {
    for octets in [0, 1, 300, 5_000] {
        let executor = executor();
        let (server, mut client) = pipe(1 << 16, 1 << 16);
        let mut socket = Failing(server, octets);
        let request = b"GET /long.txt HTTP/1.1\r\nHost: x\r\n\r\n";
        let ending = executor.run_until(async {
            client
                .write(request)
                .await
                .unwrap_or_else(|never| match never {});
            let server = Server::new(LIMITS);
            let (mut input, mut output) = ([0; 9_000], [0; 2_048]);
            let mut slots = [FieldSlot::EMPTY; 32];
            let storage = Storage {
                input: &mut input,
                output: &mut output,
                slots: &mut slots,
            };
            serve(
                &mut Written(&mut socket),
                &executor,
                &server,
                &Site,
                storage,
            )
            .await
        });
        assert_eq!(ending, Ending::Truncated, "{octets}");
    }
}
