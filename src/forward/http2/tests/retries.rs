//! What is tried once more, at the same worker or at another, and what never is.

use super::*;

/// A worker that takes everything, and the way to it past one that is asked first.
fn taking_beside(refusing: &Worker) -> (Worker, Way) {
    let taking = Worker::start(|mut asked: Asked| async move { asked.echo().await });
    let way = way(&[refusing.address(), taking.address()], |_| {});
    (taking, way)
}

#[test]
fn a_refused_stream_is_tried_again_at_another_worker_with_its_body() {
    on_a_shard(async {
        let refusing = Worker::start(|mut asked: Asked| async move {
            asked.reset(h2::Reason::REFUSED_STREAM).await;
        });
        let (taking, way) = taking_beside(&refusing);
        let (mut client, upload) = body().await;
        client.send_data(Bytes::from("whole"), false).unwrap();
        client.send_data(Bytes::new(), true).unwrap();
        let answer = way.send(order(Method::POST, "/", upload)).await.unwrap();
        assert_eq!(read(answer.body).await.unwrap().0, b"whole");
        assert_eq!((refusing.seen().len(), taking.seen().len()), (1, 1));
    });
}

#[test]
fn a_refused_stream_that_took_more_than_is_kept_is_not_tried_again() {
    on_a_shard(async {
        let refusing = Worker::start(|mut asked: Asked| async move {
            asked.take(128 * 1024).await;
            asked.reset(h2::Reason::REFUSED_STREAM).await;
        });
        let (taking, way) = taking_beside(&refusing);
        let (mut client, upload) = body().await;
        let sending = tokio::task::spawn_local(async move {
            for _ in 0..32 {
                client.reserve_capacity(16 * 1024);
                while client.capacity() < 16 * 1024 {
                    if poll_fn(|cx| client.poll_capacity(cx)).await.is_none_or(|got| got.is_err()) {
                        return client;
                    }
                }
                client.send_data(Bytes::from(vec![b'x'; 16 * 1024]), false).unwrap();
            }
            client
        });
        let refusal = way.send(order(Method::PUT, "/", upload)).await.unwrap_err();
        assert_eq!((refusal.reason, taking.seen().len()), (Reason::WorkerReset, 0));
        sending.abort();
    });
}

#[test]
fn a_worker_that_dies_gets_idempotent_requests_once_more_and_others_not() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move {
            match asked.path() {
                "/die" => asked.die().await,
                _ => asked.answer("alive").await,
            }
        });
        let way = way(&[worker.address()], |_| {});
        assert!(way.send(get("/")).await.is_ok());
        let refusal = way.send(get("/die")).await.unwrap_err();
        assert_eq!((refusal.reason, way.counted().0), (Reason::WorkerReset, 3));
        assert!(way.send(get("/")).await.is_ok());
        let (mut client, upload) = body().await;
        client.send_data(Bytes::from("once"), true).unwrap();
        let refusal = way.send(order(Method::POST, "/die", upload)).await.unwrap_err();
        assert_eq!((refusal.reason, way.counted().0), (Reason::WorkerReset, 5));
    });
}

#[test]
fn a_request_that_leaves_gives_its_trial_of_a_returning_worker_back() {
    on_a_shard(async {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = way(&[silent.local_addr().unwrap()], |_| {});
        let worker = Arc::clone(&way.workers.load().members[0].worker);
        // Long enough ago that its back-off is over.
        let now = Moment::read();
        way.workers.connect_failed(&worker, Moment::at(now.nanos - 1_000_000_000));
        {
            let mut left = pin!(way.send(get("/")));
            assert!(poll_fn(|cx| Poll::Ready(left.as_mut().poll(cx).is_pending())).await);
            assert!(!way.workers.begin_trial(&worker, Moment::read()), "it is being tried");
        }
        assert!(way.workers.begin_trial(&worker, Moment::read()));
    });
}
