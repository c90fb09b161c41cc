//! Bodies of requests: when they are asked for, what is read of them, and what follows one that is cut short or that
//! nobody reads. How long they may take is tested in `time_limits.rs`.

use std::io::ErrorKind;

use super::*;

#[test]
fn the_client_is_told_to_go_on_once_its_body_is_wanted() {
    run(async {
        let head = b"PUT / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        let (_line, mut far, request) = line_with(head).await;
        let mut answer = [0; 64];
        assert_eq!(far.read(&mut answer).unwrap_err().kind(), ErrorKind::WouldBlock, "nobody wants it yet");
        let mut body = request.body;
        for _ in 0..2 {
            let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx).is_pending())).await;
            assert!(polled);
        }
        let n = far.read(&mut answer).unwrap();
        assert_eq!(&answer[..n], b"HTTP/1.1 100 Continue\r\n\r\n", "once");
        far.write_all(b"ok").unwrap();
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "ok");
        assert!(body.is_end_stream());
    });
}

#[test]
fn a_body_that_is_cut_short_says_so_and_no_other_request_follows() {
    run(async {
        let (line, far, request) =
            line_with(b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhal").await;
        drop(far);
        let mut body = request.body;
        let first = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "hal");
        let refusal = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap_err();
        assert_eq!(refusal.reason, Reason::BadRequest);
        drop(body);
        assert!(!settles(&line).await);
        assert!(line.io.borrow().is_unread());
    });
}

#[test]
fn a_body_that_is_faulty_already_is_refused_before_anybody_sees_its_request() {
    for (body, refused) in [
        ("5\r\nhello\r\n0\r\nX-Forwarded-For: 10.9.9.9\r\n\r\n", true),
        ("5\r\nhello\r\n5\r\nhello!", true),
        ("g", true),
        ("5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\nno second request", false),
        ("5\r\nhel", false),
        ("", false),
    ] {
        run(async {
            let (line, mut far) = line();
            let head = "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
            far.write_all([head, body].concat().as_bytes()).unwrap();
            match next(&line).await {
                Ok(_) => assert!(!refused, "{body:?}"),
                Err(End::Refused(found)) => {
                    assert!(refused, "{body:?}");
                    assert_eq!(
                        (found.0.reason, &*found.1, &*found.2),
                        (Reason::BadRequest, &b"POST"[..], &b"/a"[..])
                    );
                }
                Err(_) => panic!("{body:?}"),
            }
        });
    }
}

#[test]
fn a_body_that_nobody_reads_is_taken_away_if_it_is_here() {
    run(async {
        for (sent, follows) in [(&b"whole"[..], true), (b"hal", false)] {
            let head = b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n";
            let (line, mut far, request) = line_with(head).await;
            far.write_all(sent).unwrap();
            drop(request);
            // What was sent is seen once the runtime has looked.
            tokio::task::yield_now().await;
            assert_eq!(settles(&line).await, follows, "{sent:?}");
        }
    });
}

#[test]
fn a_body_that_somebody_still_has_lets_no_request_follow() {
    run(async {
        let (line, _far, request) =
            line_with(b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nok").await;
        let mut body = request.body;
        poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
        assert!(body.is_end_stream());
        assert!(!settles(&line).await);
        drop(body);
        assert!(settles(&line).await);
    });
}

#[test]
fn a_small_body_in_chunks_takes_little_room_and_a_large_one_is_read_in_large_pieces() {
    run(async {
        let (line, mut far, request) =
            line_with(b"PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let mut body = request.body;
        let chunk = [&b"8000\r\n"[..], &[b'x'; 0x8000], b"\r\n"].concat();
        let (mut sizes, mut left) = (Vec::new(), 4 * 0x8000);
        for piece in [&b"1\r\nx\r\n"[..], &chunk, &chunk, &chunk, &chunk] {
            far.write_all(piece).unwrap();
            poll_fn(|cx| line.io.borrow().transport.poll_read_ready(cx)).await.unwrap();
            while let Poll::Ready(frame) = poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await
            {
                sizes.push(frame.unwrap().unwrap().into_data().unwrap().len());
            }
            if sizes.len() == 1 {
                let held = line.io.borrow().held.capacity();
                assert!(held <= 8 * 1024, "{held} bytes for a small body");
            }
        }
        left -= sizes[1..].iter().sum::<usize>();
        assert_eq!((sizes[0], left), (1, 0));
        assert!(sizes.iter().any(|size| *size >= 0x6000), "{sizes:?}");
    });
}
