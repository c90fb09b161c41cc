//! Checks over real sockets, and when they begin.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::LocalSet;

use super::probe::probe;
use super::*;
use crate::config::{Check, CheckKind};
use crate::workers::Wanted;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3_600);

fn checking(kind: CheckKind, interval: Duration, timeout: Duration) -> Checking {
    let check =
        Check { kind, interval, timeout, healthy_after: 2, unhealthy_after: 3, required_at_start: false };
    Checking {
        check: Arc::new(check),
        protocol: WorkerProtocol::Http1,
        proxy_header: false,
        service: ServiceName::new("api").unwrap(),
    }
}

fn http(status: RangeInclusive<u16>, body: Option<&str>) -> Checking {
    let kind = CheckKind::Http {
        path: "/health?deep=1".into(),
        host: None,
        status: vec![status],
        body: body.map(Into::into),
    };
    checking(kind, LONG, LONG)
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address that is taken, so that no other test gets it, and on which nobody listens.
fn nobody() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Reads up to the end of a head.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// What a worker that answers so passes with, and the head of what it was asked.
async fn asked(checking: &Checking, answer: &str) -> (Result<(), String>, String) {
    let (listener, address) = listener().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        head
    };
    let endpoint = address.into();
    let (outcome, head) = tokio::join!(probe(checking, &endpoint), serve);
    (outcome, head.replace(&address.to_string(), "ADDRESS"))
}

fn workers(addresses: &[SocketAddr]) -> Arc<Workers> {
    let workers = Workers::new(1);
    replace(&workers, addresses);
    workers
}

fn replace(workers: &Workers, addresses: &[SocketAddr]) {
    let wanted = addresses.iter().map(|at| Wanted { address: (*at).into(), priority: 0, weight: 1 });
    workers.replace(wanted.collect(), None, Moment::read());
}

#[tokio::test]
async fn a_check_is_one_request_that_names_itself() {
    let (outcome, head) = asked(&http(200..=399, None), "HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(outcome, Ok(()));
    let wanted = "GET /health?deep=1 HTTP/1.1\r\nhost: ADDRESS\r\n\
                  user-agent: buckler-check\r\nconnection: close\r\n\r\n";
    assert_eq!(head, wanted);
}

#[tokio::test]
async fn the_configured_host_is_sent() {
    let mut checking = http(200..=200, None);
    let kind = CheckKind::Http {
        path: "/".into(),
        host: Some("a.test".into()),
        status: vec![200..=200],
        body: None,
    };
    checking.check = Arc::new(Check { kind, ..(*checking.check).clone() });
    let (outcome, head) = asked(&checking, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(outcome, Ok(()));
    assert!(head.contains("\r\nhost: a.test\r\n"), "{head}");
}

#[tokio::test]
async fn what_is_wrong_is_told_in_words() {
    for (answer, word) in [
        ("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", "status 503"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nsick", "the body does not hold `ok`"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsick", "the connection ended before the answer did"),
        ("HTTP/1.1 200", "the connection ended before the answer did"),
        ("", "the connection ended before the answer did"),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "the answer is not HTTP/1.1"),
    ] {
        let (outcome, _) = asked(&http(200..=299, Some("ok")), answer).await;
        assert_eq!(outcome.unwrap_err(), word, "{answer:?}");
    }
}

#[tokio::test]
async fn a_text_in_a_chunked_body_is_found() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n";
    assert_eq!(asked(&http(200..=299, Some("ok")), answer).await.0, Ok(()));
}

#[tokio::test]
async fn nobody_there_is_a_refused_connection() {
    let (_taken, address) = nobody();
    let outcome = probe(&checking(CheckKind::Tcp, LONG, LONG), &address.into()).await;
    assert_eq!(outcome.unwrap_err(), "connection refused");
    let none = Endpoint::Unix(std::path::Path::new("/nonexistent/buckler.sock").into());
    let outcome = probe(&checking(CheckKind::Tcp, LONG, LONG), &none).await;
    assert_eq!(outcome.unwrap_err(), "there is no such socket");
}

#[tokio::test]
async fn a_worker_that_stalls_is_told_by_what_is_missing() {
    // Long enough for what does come, also where many tests share a core.
    let timeout = Duration::from_secs(1);
    for (begin, word) in [
        ("", "no answer within 1s"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsick", "no end of the answer within 1s"),
    ] {
        let mut checking = http(200..=299, None);
        checking.check = Arc::new(Check { timeout, ..(*checking.check).clone() });
        let (listener, address) = listener().await;
        // Whoever comes is kept waiting: on a machine full of tests a stranger may look for who had this port before.
        let serve = async {
            let mut kept = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                // An answer that comes before its request is none.
                head(&mut stream).await;
                let _ = stream.write_all(begin.as_bytes()).await;
                kept.push(stream);
            }
        };
        let endpoint = address.into();
        let outcome: Result<(), String> = tokio::select! {
            outcome = probe(&checking, &endpoint) => outcome,
            never = serve => never,
        };
        assert_eq!(outcome.unwrap_err(), word);
    }
}

#[tokio::test]
async fn workers_that_want_a_proxy_header_get_one_that_speaks_for_nobody() {
    let mut checking = checking(CheckKind::Tcp, LONG, LONG);
    checking.proxy_header = true;
    let (listener, address) = listener().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        all
    };
    let endpoint = address.into();
    let (outcome, came) = tokio::join!(probe(&checking, &endpoint), serve);
    assert_eq!(outcome, Ok(()));
    assert_eq!(came, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
}

#[tokio::test]
async fn a_worker_that_speaks_no_http2_is_told_so() {
    let mut checking = http(200..=299, None);
    checking.protocol = WorkerProtocol::Http2;
    let (listener, address) = listener().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let endpoint = address.into();
    let (outcome, ()) = tokio::join!(probe(&checking, &endpoint), serve);
    assert_eq!(outcome.unwrap_err(), "the answer is not HTTP/2");
}

#[tokio::test]
async fn each_worker_is_checked_again_and_again_and_counted() {
    LocalSet::new()
        .run_until(async {
            let (listener, address) = listener().await;
            let (_taken, nobody) = nobody();
            let workers = workers(&[address, nobody]);
            let kind = CheckKind::Tcp;
            let task = run(checking(kind, Duration::from_millis(10), LONG), Arc::clone(&workers));
            let task = tokio::task::spawn_local(task);
            for _ in 0..3 {
                listener.accept().await.unwrap();
            }
            let of = |at: SocketAddr| {
                let set = workers.load();
                let member = set.members.iter().find(|member| member.worker.address == at.into()).unwrap();
                (member.worker.checks.good.get(), member.worker.checks.bad.get())
            };
            while of(address).0 < 3 || of(nobody).1 < 3 {
                tokio::task::yield_now().await;
            }
            assert_eq!((of(address).1, of(nobody).0), (0, 0));
            task.abort();
        })
        .await;
}

#[tokio::test]
async fn no_check_outlives_its_worker_and_a_new_one_is_checked_at_once() {
    LocalSet::new()
        .run_until(async {
            let ((first, first_at), (second, second_at)) = (listener().await, listener().await);
            let workers = workers(&[first_at]);
            let task = tokio::task::spawn_local(run(http(200..=299, None), Arc::clone(&workers)));
            let (mut asked, _) = first.accept().await.unwrap();
            replace(&workers, &[second_at]);
            // What was asked of the one that left is given up, long before its time is over.
            asked.read_to_end(&mut Vec::new()).await.unwrap();
            let (mut asked, _) = second.accept().await.unwrap();
            task.abort();
            asked.read_to_end(&mut Vec::new()).await.unwrap();
        })
        .await;
}

#[tokio::test]
async fn so_many_workers_are_asked_at_once_and_no_more() {
    LocalSet::new()
        .run_until(async {
            let mut listeners = Vec::new();
            for _ in 0..CHECKS_AT_ONCE + 5 {
                listeners.push(listener().await);
            }
            let addresses: Vec<_> = listeners.iter().map(|(_, at)| *at).collect();
            let task = tokio::task::spawn_local(run(http(200..=299, None), workers(&addresses)));
            let (sender, mut accepted) = tokio::sync::mpsc::channel(1_000);
            for (listener, _) in listeners {
                let sender = sender.clone();
                tokio::task::spawn_local(async move {
                    let (stream, _) = listener.accept().await.unwrap();
                    sender.send(stream).await.unwrap();
                });
            }
            let mut held = Vec::new();
            for _ in 0..CHECKS_AT_ONCE {
                held.push(accepted.recv().await.unwrap());
            }
            for _ in 0..5 {
                assert!(accepted.try_recv().is_err(), "one more although none has ended");
                drop(held.pop());
                held.push(accepted.recv().await.unwrap());
            }
            task.abort();
        })
        .await;
}

#[test]
fn a_few_workers_are_asked_at_once_and_the_first_checks_of_many_are_spread() {
    let waits = |new, interval| first_waits(new, interval).collect::<Vec<_>>();
    assert!(waits(FIRST_AT_ONCE, LONG).iter().all(Duration::is_zero));
    let many = waits(100, LONG);
    assert_eq!(many[0], Duration::ZERO);
    assert_eq!(many[50], FIRST_SPREAD / 2);
    assert!(many.is_sorted() && many[99] < FIRST_SPREAD);
    assert!(waits(100, Duration::from_millis(20))[99] < Duration::from_millis(20));
    assert!(waits(0, LONG).is_empty());
}

#[test]
fn jitter_is_a_tenth_either_way() {
    let whole = Duration::from_secs(10);
    assert_eq!(jittered(whole, 0.0), Duration::from_secs(9));
    assert_eq!(jittered(whole, 0.5), whole);
    assert_eq!(jittered(whole, 1.0), Duration::from_secs(11));
}

#[test]
fn a_worker_that_is_not_ready_is_asked_sooner() {
    let check = |interval, timeout| Check { interval, timeout, ..(*http(200..=299, None).check).clone() };
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let rare = check(minute, second);
    assert_eq!(interval_of(&rare, Use::Unready), UNREADY_INTERVAL);
    assert_eq!(interval_of(&rare, Use::Share(64)), minute);
    assert_eq!(interval_of(&check(minute, 5 * second), Use::Unready), 5 * second);
    assert_eq!(interval_of(&check(second / 20, second / 20), Use::Unready), second / 20);
}
