//! Which connection a request goes over: when another one is opened beside it, and when one ends.

use tokio::task::JoinSet;

use super::*;

/// So many requests at the same time, and what is read of each answer.
fn read_many(way: &Rc<Way>, count: usize) -> JoinSet<Vec<u8>> {
    let mut requests = JoinSet::new();
    for _ in 0..count {
        let way = Rc::clone(way);
        requests.spawn_local(async move {
            let answer = way.send(get("/")).await.unwrap();
            read(answer.body).await.unwrap().0
        });
    }
    requests
}

/// What a worker does with each request of [`share`].
async fn pass_the_gate(mut asked: Asked) {
    asked.gate().await;
    asked.answer("").await;
}

/// So many requests at the same time get so many connections, and all of them are answered.
async fn share(way: Way, worker: &Worker, count: usize, connections: usize) {
    let way = Rc::new(way);
    let mut requests = JoinSet::new();
    for _ in 0..count {
        let way = Rc::clone(&way);
        requests.spawn_local(async move { way.send(get("/")).await.map(|answer| answer.head.status) });
    }
    until("all streams", || worker.streams() == count).await;
    assert_eq!(worker.connections(), connections);
    worker.open();
    while let Some(status) = requests.join_next().await {
        assert_eq!(status.unwrap().unwrap(), StatusCode::OK);
    }
}

#[test]
fn requests_at_the_same_time_share_one_connection() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move {
            asked.gate().await;
            asked.answer("hello").await;
        });
        let way = Rc::new(way(&[worker.address()], |_| {}));
        let mut requests = read_many(&way, 50);
        until("fifty streams", || worker.streams() == 50).await;
        worker.open();
        while let Some(answer) = requests.join_next().await {
            assert_eq!(answer.unwrap(), b"hello");
        }
        assert_eq!((worker.connections(), way.counted(), way.active()), (1, (50, 1), 0));
    });
}

#[test]
fn a_full_connection_gets_a_second_one_beside_it_and_a_burst_no_more_than_it_needs() {
    on_a_shard(async {
        let worker = Worker::start(pass_the_gate);
        let way = way(&[worker.address()], |service| service.bounds.worker_streams = 10);
        share(way, &worker, 25, 3).await;
    });
}

#[test]
fn a_worker_that_allows_few_streams_gets_no_more_than_those_on_a_connection() {
    on_a_shard(async {
        let settings = |server: &mut h2::server::Builder| {
            server.max_concurrent_streams(2);
        };
        let worker = Worker::with(settings, pass_the_gate);
        share(way(&[worker.address()], |_| {}), &worker, 4, 2).await;
    });
}

#[test]
fn more_than_all_worker_connections_hold_is_refused() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move { asked.gate().await });
        let way = Rc::new(way(&[worker.address()], |service| {
            (service.bounds.worker_streams, service.bounds.worker_connections) = (1, 1);
        }));
        let first = Rc::clone(&way);
        let first = tokio::task::spawn_local(async move { first.send(get("/")).await.map(drop) });
        until("a stream", || worker.streams() == 1).await;
        let refusal = way.send(get("/")).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::Overload);
        first.abort();
    });
}

#[test]
fn a_goaway_loses_no_request() {
    on_a_shard(async {
        let worker = Worker::start(|mut asked: Asked| async move {
            // The twentieth request on a connection is its last.
            if asked.number == 20 {
                asked.leave();
            }
            asked.answer("here").await;
        });
        let way = Rc::new(way(&[worker.address()], |_| {}));
        let mut requests = read_many(&way, 200);
        while let Some(answer) = requests.join_next().await {
            assert_eq!(answer.unwrap(), b"here");
        }
        assert!(worker.connections() > 1, "{}", worker.connections());
        until("the old ones gone", || way.counted().1 <= 1).await;
    });
}

#[test]
fn idle_connections_end_after_their_time_and_make_room_before() {
    on_a_shard(async {
        let answers = |mut asked: Asked| async move { asked.answer("").await };
        let (one, two) = (Worker::start(answers), Worker::start(answers));
        let way = way(&[one.address()], |service| service.bounds.worker_connections = 1);
        assert!(way.send(get("/")).await.is_ok());
        assert_eq!(way.counted().1, 1);
        way.route.sweep(way.clock.refresh().plus(pool::IDLE_TIME));
        until("closed", || way.counted().1 == 0 && one.closed() == 1).await;
        assert!(way.send(get("/")).await.is_ok());
        let wanted = [(two.address(), 0), (one.address(), 1)].map(|(address, priority)| Wanted {
            address: address.into(),
            priority,
            weight: 1,
        });
        way.workers.replace(wanted.into(), None, way.clock.now());
        assert!(way.send(get("/")).await.is_ok());
        assert_eq!(two.seen().len(), 1);
    });
}

#[test]
fn idle_connections_of_a_worker_that_left_end_in_their_time_while_one_is_in_use() {
    on_a_shard(async {
        let answers = |mut asked: Asked| async move {
            match asked.path() {
                "/held" => asked.stop_after("some").await,
                _ => asked.answer("").await,
            }
        };
        let (one, two) = (Worker::start(answers), Worker::start(answers));
        let way = way(&[one.address()], |service| service.bounds.worker_streams = 1);
        let held = way.send(get("/held")).await.unwrap();
        assert!(way.send(get("/")).await.is_ok());
        assert_eq!(one.connections(), 2);
        let wanted = Wanted { address: two.address().into(), priority: 0, weight: 1 };
        way.workers.replace(vec![wanted], None, way.clock.now());
        assert!(way.send(get("/")).await.is_ok());
        assert_eq!(two.connections(), 1);
        // By the route of a reload since, as a shard has it.
        let place = (ShardId(0), Rc::clone(&way.clock));
        let workers = Arc::clone(&way.workers);
        let after = Route::new(workers, way.route.bound(), &config::plain_service(), place, Some(&way.route));
        after.sweep(way.clock.refresh().plus(pool::IDLE_TIME));
        until("the idle ones closed", || (one.closed(), two.closed()) == (1, 1)).await;
        assert_eq!(one.cancelled(), 0, "the one in use goes on");
        drop(held);
        after.sweep(way.clock.refresh().plus(pool::IDLE_TIME));
        until("closed", || one.closed() == 2).await;
    });
}
