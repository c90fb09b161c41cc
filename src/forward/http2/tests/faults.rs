//! Workers that break the rules, speak something else, or are silent: each is found out, and told by its reason.

use super::*;

#[test]
fn a_flood_of_interim_answers_is_the_workers_fault() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move {
            for _ in 0..1_000 {
                asked.hint("</a.css>");
            }
            asked.answer("page").await;
        });
        let way = way(&[worker.address()], |_| {});
        let refusal = way.send(get("/")).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::WorkerProtocol);
    });
}

#[test]
fn a_head_that_is_too_long_is_the_workers_fault() {
    on_a_shard(async {
        let worker =
            Worker::start(|mut asked: Asked| async move { asked.answer_with_head_of(64 * 1024).await });
        let way = way(&[worker.address()], |service| service.bounds.response_head_bytes = 16 * 1024);
        let refusal = way.send(get("/")).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::WorkerProtocol);
    });
}

#[test]
fn each_wait_has_its_end() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move {
            match asked.path() {
                "/silent" => asked.gate().await,
                "/stops" => asked.stop_after("some").await,
                _ => asked.answer("").await,
            }
        });
        let way = way(&[worker.address()], |service| {
            service.timeouts.response = Duration::from_millis(150);
            service.timeouts.idle = Duration::from_millis(150);
        });
        let refusal = way.send(get("/silent")).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::WorkerTimeout);
        let mut answer = way.send(get("/stops")).await.unwrap().body;
        assert_eq!(piece(&mut answer).await.unwrap().unwrap(), "some");
        assert_eq!(piece(&mut answer).await.unwrap().unwrap_err().reason, Reason::WorkerTimeout);
        drop(answer);
        let until = Some(tokio::time::Instant::now() + Duration::from_millis(50));
        let refusal = way.call(get("/silent"), Call { until, ..CALL }).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::WorkerTimeout);
        self::until("all were cancelled", || worker.cancelled() == 3).await;
        assert_eq!(way.active(), 0);
    });
}

#[test]
fn a_worker_of_http1_or_of_nothing_is_told_apart_and_passed_over() {
    on_a_shard(async {
        let http1 = Worker::raw(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        let silent = Worker::raw(b"");
        let short = |service: &mut config::Service| service.timeouts.connect = Duration::from_millis(150);
        let refusal = way(&[http1.address()], short).send(get("/")).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::WorkerProtocol, "{refusal}");
        let refusal = way(&[silent.address()], short).send(get("/")).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::WorkerTimeout, "{refusal}");
        let good = Worker::start(|mut asked: Asked| async move { asked.answer("").await });
        let both = way(&[http1.address(), good.address()], short);
        assert!(both.send(get("/")).await.is_ok());
    });
}

#[test]
fn a_connection_that_went_dead_is_found_out_by_the_next_request_and_ends_all_on_it() {
    on_a_shard(async {
        // Empty SETTINGS, and not a byte after that.
        let frozen = Worker::raw(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        let way = Rc::new(way(&[frozen.address()], |_| {}));
        let first = Rc::clone(&way);
        let asked = order(Method::POST, "/", Upload::none());
        let first = tokio::task::spawn_local(async move { first.send(asked).await.map(drop) });
        until("it is sent", || way.counted().0 == 1).await;
        let later = way.clock.refresh().plus(connection::QUIET_TIME);
        let mut outcome = way.scribe.begin(later, SocketAddr::from(([127, 0, 0, 1], 1)));
        let mut second = order(Method::POST, "/", Upload::none());
        let begun = Moment::read();
        let second = way.route.send(&mut second, Reserved::default(), &CALL, &mut outcome).await;
        assert!(Moment::read().since(begun) < connection::PING_WAIT * 3);
        assert_eq!(second.unwrap_err().reason, Reason::WorkerReset);
        assert_eq!(first.await.unwrap().unwrap_err().reason, Reason::WorkerReset);
        assert_eq!((way.counted().1, way.active()), (0, 0));
    });
}
