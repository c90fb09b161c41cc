//! What stands in an answer, what goes before it, and how it ends.

use http::StatusCode;
use tokio::io::AsyncWrite;
use tokio::task::coop::unconstrained;

use super::*;
use crate::clock::Moment;

#[test]
fn what_is_said_of_a_length_is_what_follows() {
    let asked =
        Asked { version_10: false, is_head: false, keep_alive: true, closes: false, takes_trailers: false };
    for (told, said) in
        [("5", "content-length: 5\r\n"), ("7", "content-length: 5\r\n"), ("+5", "content-length: 5\r\n")]
    {
        let mut answer = Response::new(StatusCode::OK, "hello".to_owned());
        answer.head.fields.add("content-length", told.as_bytes());
        let mut out = Vec::new();
        let now = Moment { nanos: 0, unix_micros: 0 };
        let course = head::write((&answer.head, &answer.body), (&asked, true), now, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(course.framing, head::Framing::Length(5));
        assert!(text.contains(said) && count(text.as_bytes(), "content-length") == 1, "{told}: {text}");
    }
}

#[test]
fn a_refusal_says_to_each_version_and_method_what_is_its_own() {
    let bytes = answered(
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n\
         GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n\
         HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    );
    let text = String::from_utf8(bytes).unwrap();
    let answers: Vec<_> = text.split("HTTP/1.1 403 Forbidden\r\n").skip(1).collect();
    let [of_11, of_10, to_head] = answers[..] else { panic!("{text}") };
    let length = |answer: &str| {
        let (_, told) = answer.split_once("content-length: ").unwrap();
        told.lines().next().unwrap().parse::<usize>().unwrap()
    };
    for (answer, connection) in [(of_11, None), (of_10, Some("keep-alive")), (to_head, Some("close"))] {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let told = head.lines().find_map(|line| line.strip_prefix("connection: "));
        assert_eq!(told, connection, "{head}");
        assert!(head.contains("date: ") && length(answer) > 0, "{head}");
        assert_eq!(body.len(), if answer == to_head { 0 } else { length(answer) }, "{answer}");
    }
}

/// A connection, its other end, and the refusal of its first request, which is to be sent.
async fn line_about_to_refuse() -> (Rc<Line>, UnixStream, Response<inbound::Reply>) {
    let (line, far, request) = line_with(GET).await;
    let answer = inbound::serve(&line.visitor, request, &line.early).await;
    (line, far, answer)
}

#[test]
fn hints_go_before_the_head_of_their_answer() {
    run(async {
        let (line, mut far, answer) = line_about_to_refuse().await;
        line.early.tell(StatusCode::EARLY_HINTS, Fields::default());
        assert!(answer::send(&line, answer).await.is_ok());
        let mut bytes = [0; 4096];
        let n = far.read(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..n]);
        assert!(text.starts_with("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 403 Forbidden\r\n"), "{text}");
    });
}

#[test]
fn an_answer_that_its_client_does_not_take_at_once_waits_for_it() {
    run(unconstrained(async {
        let (line, mut far, answer) = line_about_to_refuse().await;
        let before = poll_fn(|cx| {
            let (io, mut before) = (&mut *line.io.borrow_mut(), 0);
            while let Poll::Ready(n) = Pin::new(&mut io.transport).poll_write(cx, &[b'x'; 4096]) {
                before += n.unwrap();
            }
            Poll::Ready(before)
        })
        .await;
        let mut sending = pin!(answer::send(&line, answer));
        assert!(poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx).is_pending())).await);
        assert!(line.io.borrow().writing.is_some(), "the client is waited for");

        let mut all = take_all(&mut far);
        assert!(sending.await.is_ok());
        all.extend(take_all(&mut far));
        assert!(line.io.borrow().out.is_empty() && line.io.borrow().writing.is_none());
        let text = String::from_utf8(all.split_off(before)).unwrap();
        let (head, page) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{head}");
        assert!(head.contains(&format!("\r\ncontent-length: {}", page.len())), "{head}");
    }));
}

#[test]
fn an_answer_that_ends_with_its_connection_is_reset_if_it_is_not_complete() {
    for whole in [true, false] {
        run(async {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let far = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
            let (far, near) = tokio::join!(far, listener.accept());
            let (mut far, near) = (far.unwrap(), near.unwrap().0);
            let visitor = connection(&place()).1;
            let rest = Rest { transport: Socket::from(near).into(), since: visitor.now().nanos, heads: 0 };
            let line = Line::new(rest, &visitor);
            let answer = answer::WholeOrReset::until_close(&line);
            if whole {
                answer.sent()
            } else {
                drop(answer)
            }
            drop(line);
            assert_eq!(far.read(&mut [0; 8]).await.is_ok(), whole);
        });
    }
}
