//! The client's shell.

use super::*;

#[test]
fn the_client_s_shell_asks_and_asks_again() {
    let executor = executor();
    let (server, mut socket) = pipe(3_000, 500);
    let ended = start(executor, server);
    executor.run_until(async {
        let limits = ClientLimits::DEFAULT;
        let (mut input, mut output) = ([0; 4_000], [0; 500]);
        let mut slots = [FieldSlot::EMPTY; 32];
        let storage = Storage {
            input: &mut input,
            output: &mut output,
            slots: &mut slots,
        };
        let mut client = Client::new(&mut socket, &executor, &limits, storage);
        for (path, content) in [
            ("/long.txt", None),
            ("/echo", Some(Content::from("hello"))),
            ("/events", None),
            ("/none", None),
            ("/", None),
        ] {
            let method = if content.is_some() {
                Method::Post
            } else {
                Method::Get
            };
            let fetched = client.fetch(
                method,
                path,
                "x",
                |request| {
                    request.field("accept", b"*/*");
                },
                content,
                |head| (head.status(), head.fields().has(FieldName::ContentType)),
            );
            let (status, has_type) = fetched.await.expect("a response");
            assert!(has_type);
            assert_eq!(status == Status::NOT_FOUND, path == "/none");
            if path == "/none" {
                // What is left unread is read before the next request.
                continue;
            }
            let mut body = Vec::new();
            loop {
                let piece = client.fill().await.expect("a body");
                let length = piece.len();
                if length == 0 {
                    break;
                }
                body.extend_from_slice(piece);
                client.consume(length);
            }
            match path {
                "/long.txt" => assert_eq!(body, LONG),
                "/echo" => assert_eq!(body, b"hello"),
                "/events" => assert_eq!(body, b"data: 0\n\ndata: 1\n\ndata: 2\n\n"),
                _ => assert_eq!(body, b"<h1>It works</h1>"),
            }
            assert!(client.is_reusable());
        }
    });
    drop(socket);
    executor.run_until(executor.sleep(Duration::from_secs(1)));
    assert_eq!(
        ended.get().map(|(ending, _)| ending),
        Some(Ending::ByClient)
    );
}
