//! Bodies and events, and what an application makes of them.

use super::*;

#[test]
fn who_sends_more_than_it_said_is_lingered_for() {
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (answer, ending, _) = send(request.as_bytes(), 1 << 16);
    assert_eq!(ending, Ending::AsAsked);
    let twice = send(request.repeat(2).as_bytes(), 1 << 16);
    assert_eq!((twice.0, twice.1), (answer, Ending::Complete));
}

#[test]
fn bodies_larger_than_the_buffer_come_in_pieces() {
    let chunk = "x".repeat(500);
    let body_text: String = (0..8).map(|_| format!("1f4;e\r\n{chunk}\r\n")).collect();
    let head =
        "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let stream = format!("{head}{body_text}0\r\nA: b\r\n\r\n");
    for piece in [1, 7, 5_000] {
        let (answer, ending, _) = send(stream.as_bytes(), piece);
        assert_eq!(ending, Ending::AsAsked);
        assert_eq!(body(&answer), "x".repeat(4_000), "{piece}");
    }
    // One octet more than the application has room for.
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4097\r\n";
    let large = format!("{head}Connection: close\r\n\r\n{}", "x".repeat(4_097));
    let (answer, ending, _) = send(large.as_bytes(), 5_000);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(ending, Ending::Complete);
}

#[test]
fn a_client_that_expects_is_told_to_go_on() {
    let executor = executor();
    let (server, mut client) = pipe(1_000, 1_000);
    start(executor, server);
    let answer = executor.run_until(async move {
        let never = |never: Infallible| match never {};
        let head =
            b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        client.write(head).await.unwrap_or_else(never);
        let mut room = [0; 500];
        let length = client.read(&mut room).await.unwrap_or_else(never);
        assert_eq!(&room[..length], b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write(b"hello").await.unwrap_or_else(never);
        let length = client.read(&mut room).await.unwrap_or_else(never);
        String::from_utf8(room[..length].to_vec()).unwrap()
    });
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && body(&answer) == "hello",
        "{answer}"
    );
}

#[test]
fn events_go_out_when_they_happen() {
    let answer = get("/events", "");
    assert!(has(&answer, "transfer-encoding: chunked"));
    assert_eq!(
        body(&answer),
        "9\r\ndata: 0\n\n\r\n9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n"
    );
    let request = "GET /events HTTP/1.0\r\n\r\n";
    let (answer, ending, at) = send(request.as_bytes(), 100);
    assert_eq!(body(&answer), "data: 0\n\ndata: 1\n\ndata: 2\n\n");
    assert_eq!((ending, at), (Ending::AsAsked, Instant::from_secs(3)));
}

#[test]
fn an_application_that_answers_nothing_or_half() {
    let (answer, ending, _) = send(
        b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        100,
    );
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert_eq!(ending, Ending::AsAsked);
    let (answer, ending, _) = send(b"GET /half HTTP/1.1\r\nHost: x\r\n\r\n", 100);
    assert_eq!(ending, Ending::Broken);
    assert!(
        !answer.contains("half") || !answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
}
