//! Heads, bodies and hints on their way to the worker and back, as fast as the slower end takes them.

use super::*;
use crate::forward::early::Early;

#[test]
fn the_head_is_said_as_http2_wants_it() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move { asked.answer("").await });
        let way = way(&[worker.address()], |_| {});
        let mut order = get("/a?b=c");
        for (name, value) in [("connection", "te"), ("te", "trailers"), ("x-request-id", "1")] {
            order.head.fields.add(name, value.as_bytes());
        }
        let answer = way.send(order).await.unwrap();
        assert_eq!(answer.head.fields.get("via"), Some(&b"2.0 buckler"[..]));
        let seen = worker.seen().remove(0);
        assert_eq!(seen.uri, "http://api.test/a?b=c");
        assert_eq!(seen.headers["te"], "trailers");
        assert!(!seen.headers.contains_key("connection") && !seen.headers.contains_key("host"), "{seen:?}");
    });
}

#[test]
fn body_and_answer_go_both_ways_at_once_with_trailers() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move { asked.echo().await });
        let way = way(&[worker.address()], |_| {});
        let (mut client, upload) = body().await;
        let mut answer = way.send(order(Method::POST, "/echo", upload)).await.unwrap().body;
        for said in ["one", "two", "three"] {
            client.send_data(Bytes::from(said), false).unwrap();
            assert_eq!(piece(&mut answer).await.unwrap().unwrap(), said);
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", "here".parse().unwrap());
        client.send_trailers(trailers).unwrap();
        let (rest, trailers) = read(answer).await.unwrap();
        let trailers = trailers.unwrap();
        assert!(rest.is_empty() && trailers["x-end"] == "here" && trailers.len() == 1, "{trailers:?}");
        assert_eq!(way.active(), 0);
    });
}

#[test]
fn early_hints_reach_the_client_and_are_no_answer() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move {
            asked.hint("</a.css>; rel=preload");
            asked.hint("</b.css>; rel=preload");
            asked.answer("page").await;
        });
        let way = way(&[worker.address()], |_| {});
        let early = Early::default();
        let answer = way.call(get("/"), Call { early: Some(&early), ..CALL }).await.unwrap();
        assert_eq!(answer.head.status, StatusCode::OK);
        let hints = early.take();
        assert_eq!(hints.len(), 2);
        assert_eq!(hints[1].fields.get("link"), Some(&b"</b.css>; rel=preload"[..]));
    });
}

#[test]
fn a_slow_reader_holds_its_worker_back_and_nobody_else() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move {
            match asked.path() {
                "/endless" => asked.pour(64 * 1024 * 1024).await,
                _ => asked.answer("quick").await,
            }
        });
        let way = way(&[worker.address()], |_| {});
        let mut slow = way.send(get("/endless")).await.unwrap().body;
        assert!(piece(&mut slow).await.unwrap().is_ok());
        let mut before = 0;
        until("it stands still", || std::mem::replace(&mut before, worker.poured()) == worker.poured()).await;
        let most = u64::from(connection::STREAM_WINDOW) * 2;
        assert!(worker.poured() <= most, "{} of {most}", worker.poured());
        for _ in 0..20 {
            let quick = way.send(get("/")).await.unwrap().body;
            assert_eq!(read(quick).await.unwrap().0, b"quick");
        }
        drop(slow);
        until("it was told", || worker.cancelled() == 1).await;
        assert_eq!((worker.connections(), way.active()), (1, 0));
    });
}

#[test]
fn a_worker_that_takes_nothing_holds_the_client_back() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move { asked.gate().await });
        let way = Rc::new(way(&[worker.address()], |_| {}));
        let (mut client, upload) = body().await;
        let watch = upload.watch();
        let sending = Rc::clone(&way);
        let sending = tokio::task::spawn_local(async move {
            sending.send(order(Method::POST, "/", upload)).await.map(drop)
        });
        client.reserve_capacity(1 << 24);
        client.send_data(Bytes::from(vec![b'x'; 1 << 24]), false).unwrap();
        let mut before = u64::MAX;
        until("it stands still", || {
            std::mem::replace(&mut before, watch.bytes()) == watch.bytes() && before > 0
        })
        .await;
        assert!(watch.bytes() <= 256 * 1024, "{}", watch.bytes());
        sending.abort();
    });
}
