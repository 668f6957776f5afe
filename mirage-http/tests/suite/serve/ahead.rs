//! Requests that were sent ahead, and when each is answered.

use super::*;

#[test]
fn requests_that_were_sent_ahead_are_answered_in_turn() {
    let mut stream = String::new();
    for number in 0..20 {
        let content = format!("{number}").repeat(number);
        stream += &format!(
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{content}",
            content.len()
        );
        stream += "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n";
    }
    stream += "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (answer, ending, _) = send(stream.as_bytes(), 1 << 16);
    assert_eq!(ending, Ending::AsAsked);
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 41);
    for number in 0..20 {
        assert!(answer.contains(&format!(
            "\r\n\r\n{}HTTP/1.1",
            format!("{number}").repeat(number)
        )));
    }
    assert_eq!(send(stream.as_bytes(), 1).0, answer);
    assert_eq!(send(stream.as_bytes(), 333).0, answer);
}

/// The buffer has 9,000 octets: whatever requests came before it, and wherever they end, there is room for a body and for trailers.
#[test]
fn a_head_that_ends_where_the_buffer_does_has_room_for_its_body() {
    let before = "GET /none HTTP/1.1\r\nHost: x\r\nX-Filler: ";
    let head =
        "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = "4\r\nbody\r\n0\r\nX-Trailer: of more than a few octets\r\n\r\n";
    for short in [0, 1, 2, 9, 10, 20, 60] {
        let filler = 9_000 - before.len() - 4 - head.len() - short;
        let (many, last) = (filler / 3_000, filler % 3_000);
        let mut stream = String::new();
        for _ in 0..many {
            let rest = 3_000 - before.len() - 4;
            stream += &format!("{before}{}\r\n\r\n", "f".repeat(rest));
        }
        let rest = last + before.len() + 4;
        let rest = rest - before.len() - 4;
        stream += &format!("{before}{}\r\n\r\n{head}", "f".repeat(rest));
        assert_eq!(stream.len(), 9_000 - short);
        stream += chunks;
        let (answer, ending, _) = send(stream.as_bytes(), 1 << 16);
        assert!(answer.ends_with("\r\n\r\nbody"), "{short}: {answer}");
        assert_eq!(ending, Ending::AsAsked);
    }
}

/// Numbers that look random, the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }

    /// A request that is well-formed, and asks for no end of the connection.
    fn request(&mut self) -> String {
        let octets = self.below(3) * self.below(900);
        let content = "x".repeat(octets);
        let host = "Host: x\r\n";
        match self.below(8) {
            0 => format!("GET / HTTP/1.1\r\n{host}\r\n"),
            1 => format!("HEAD /long.txt HTTP/1.1\r\n{host}\r\n"),
            2 => format!(
                "\r\nGET /long.txt HTTP/1.1\r\n{host}Range: bytes={octets}-{}\r\n\r\n",
                octets + 9
            ),
            3 => format!(
                "GET http://y/css/site.css HTTP/1.1\r\n{host}Accept-Encoding: br\r\nX: {content}\r\n\r\n"
            ),
            4 => format!("POST /echo HTTP/1.1\r\n{host}Content-Length: {octets}\r\n\r\n{content}"),
            // A body that nobody reads.
            5 => format!("POST / HTTP/1.1\r\n{host}Content-Length: {octets}\r\n\r\n{content}"),
            kind => {
                let (path, mut chunks) = (["/echo", "/nowhere"][kind - 6], String::new());
                let mut rest = &content[..];
                while !rest.is_empty() {
                    let (chunk, behind) = rest.split_at(1 + self.below(rest.len()));
                    let extension = ["", ";a", " ;b=\"c\""][self.below(3)];
                    chunks += &format!("{:x}{extension}\r\n{chunk}\r\n", chunk.len());
                    rest = behind;
                }
                let trailers = ["", "A: b\r\n", "Content-Length: 5\r\nHost: z\r\n"][self.below(3)];
                format!(
                    "POST {path} HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n{trailers}\r\n"
                )
            }
        }
    }
}

/// The model: each request alone, and their answers one behind the other.
#[test]
fn whatever_was_sent_ahead_in_whatever_pieces_is_answered_as_each_alone() {
    for seed in 1..=60 {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 + seed * 0x1_0001);
        let (mut stream, mut expected) = (String::new(), String::new());
        for _ in 0..1 + numbers.below(30) {
            let request = numbers.request();
            let (answer, ending, _) = send(request.as_bytes(), 1 << 16);
            assert_eq!(ending, Ending::Idle, "{request}");
            stream += &request;
            expected += &answer;
        }
        let wrong = [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\nHost: x\n\n",
            "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ];
        let last = wrong[numbers.below(3)];
        stream += last;
        expected += &send(last.as_bytes(), 1 << 16).0;
        for piece in [1, 2 + numbers.below(50), 1 + numbers.below(9_000), 1 << 16] {
            let (answer, ending, _) = send(stream.as_bytes(), piece);
            assert_eq!(ending, Ending::Rejected, "{seed}");
            assert_eq!(answer, expected, "{seed}, in pieces of {piece}: {stream}");
        }
    }
}

/// Writes all of it, and reads as many octets.
async fn exchange(client: &mut End, octets: &[u8], mut expected: usize) {
    let mut rest = octets;
    while !rest.is_empty() {
        let Ok(length) = client.write(rest).await;
        rest = &rest[length..];
    }
    let mut room = [0; 4_096];
    while expected > 0 {
        let Ok(length) = client.read(&mut room).await;
        assert_ne!(length, 0, "the connection is over");
        expected = expected.checked_sub(length).expect("no more than that");
    }
}

const HEAD: &[u8] = b"HEAD /css/site.css HTTP/1.1\r\nHost: x\r\n\r\n";

/// Octets of the answer to it.
fn head_answer() -> usize {
    let close = "Connection: close\r\n";
    let request = format!("HEAD /css/site.css HTTP/1.1\r\nHost: x\r\n{close}\r\n");
    send(request.as_bytes(), 1 << 16).0.len() - close.len()
}

#[test]
fn a_request_is_answered_in_the_poll_that_reads_it() {
    let (executor, answer) = (executor(), head_answer());
    let (server, mut client) = pipe(1 << 16, 1 << 16);
    let _ended = start(executor, server);
    executor.run_until(async {
        exchange(&mut client, HEAD, answer).await;
        let before = executor.counters().polls;
        for _ in 0..50 {
            exchange(&mut client, HEAD, answer).await;
        }
        assert_eq!(executor.counters().polls - before, 50);
    });
}

#[test]
fn requests_that_are_always_there_keep_nobody_else_from_running() {
    // All of them at once, and one with each read.
    for piece in [1 << 16, HEAD.len()] {
        let (executor, answer) = (executor(), head_answer());
        let (server, mut client) = pipe(1 << 16, piece);
        let _ended = start(executor, server);
        let ran = Rc::new(Cell::new(0));
        let running = ran.clone();
        let other = executor.spawn(async move {
            loop {
                running.set(running.get() + 1);
                yield_now().await;
            }
        });
        other.expect("a task").detach();
        executor.run_until(exchange(&mut client, &HEAD.repeat(100), 100 * answer));
        assert!(ran.get() >= 100, "{}", ran.get());
    }
}
