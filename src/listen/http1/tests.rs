//! Whole connections without a listener: what a client writes, in pieces of any size, and what comes of it.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::num::{NonZeroU64, NonZeroUsize};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Wake, Waker};

use bytes::BufMut;
use http::{Method, StatusCode};
use http_body::Body;
use proptest::prelude::*;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::LocalSet;
use tokio::task::coop::{consume_budget, has_budget_remaining, unconstrained};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::line::{HALF_CLOSED_WAIT, REQUESTS_PER_TURN};
use super::said::Asked;
use super::*;
use crate::admit::caller::CallerBook;
use crate::admit::ledger::Ledger;
use crate::clock::{Moment, ShardClock};
use crate::config::{self, Timeouts, Verdict};
use crate::fields::Fields;
use crate::forward::source::Source;
use crate::inbound::Arrival;
use crate::listen::transport::{Arriving, Begun, Marked};
use crate::message::{Request, RequestHead};
use crate::service::{Desk, Place, Service};
use crate::shard::ShardId;
use crate::socket::Socket;

/// A service that refuses every request.
pub(in crate::listen) fn place() -> Rc<Place> {
    place_that_keeps(Duration::from_secs(60))
}

/// The same, whose idle connections are closed after `keep_alive`.
fn place_that_keeps(keep_alive: Duration) -> Rc<Place> {
    place_with(|timeouts| timeouts.keep_alive = keep_alive)
}

fn place_with(change: impl FnOnce(&mut Timeouts)) -> Rc<Place> {
    let clock = ShardClock::new();
    let callers = Arc::new(CallerBook::new(config::plain_callers()));
    let ledger = Arc::new(Ledger::new(NonZeroUsize::new(64).unwrap()));
    let mut service = config::plain_service();
    service.permissions.default = Verdict::Deny;
    change(&mut service.timeouts);
    let service = Service::new((&Arc::new(service), None), &callers, &ledger, 1, None);
    Place::new(Desk::new(service, (ShardId(0), &clock), None, None), clock)
}

/// A connection, who comes over it, and its other end.
pub(in crate::listen) fn connection(place: &Rc<Place>) -> (Transport, Rc<Visitor>, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    let socket = Socket::Unix(tokio::net::UnixStream::from_std(near).unwrap());
    let arrival = Arrival::plain(([127, 0, 0, 1], 1).into());
    (socket.into(), Visitor::new(arrival, Rc::clone(place)), far)
}

/// One under TLS, of whose other end is read what comes, undeciphered.
async fn line_under_tls() -> (Rc<Line>, UnixStream) {
    let own = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let server = ServerConfig::builder().with_no_client_auth();
    let server = server.with_single_cert(vec![own.cert.der().clone()], key.into()).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();

    let (near, far) = tokio::net::UnixStream::pair().unwrap();
    // So that TLS has to hold back more than the socket does.
    socket2::SockRef::from(&near).set_send_buffer_size(4096).unwrap();
    let near = Marked::from(Begun::new(Socket::Unix(near), Vec::new()));
    let (near, far) = tokio::join!(
        TlsAcceptor::from(Arc::new(server)).accept(near),
        TlsConnector::from(Arc::new(client)).connect("a".try_into().unwrap(), far),
    );
    let visitor = Visitor::new(Arrival::plain(([127, 0, 0, 1], 1).into()), place());
    let since = visitor.now().nanos;
    let rest = Rest { transport: Transport::Tls(Box::new(near.unwrap())), since, heads: 0 };
    (Line::new(rest, &visitor), far.unwrap().into_inner().0.into_std().unwrap())
}

fn line() -> (Rc<Line>, UnixStream) {
    line_at(&place())
}

fn line_at(place: &Rc<Place>) -> (Rc<Line>, UnixStream) {
    let (transport, visitor, far) = connection(place);
    let since = visitor.now().nanos;
    (Line::new(Rest { transport, since, heads: 0 }, &visitor), far)
}

pub(in crate::listen) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// A request as it was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Understood {
    method: Method,
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    content: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
}

fn pairs(fields: &Fields) -> Vec<(String, Vec<u8>)> {
    fields.iter().map(|(name, value)| (String::from_utf8(name.to_vec()).unwrap(), value.to_vec())).collect()
}

/// The next request, and what its answer has to know of it.
async fn next(line: &Rc<Line>) -> Result<(Request<Source>, Asked), End> {
    let mut heard = None;
    poll_fn(|cx| line.poll_head(cx, &mut heard)).await?;
    Ok((heard.unwrap(), line.io.borrow().asked))
}

/// Whether another request follows, now that one is answered.
async fn settles(line: &Rc<Line>) -> bool {
    poll_fn(|cx| Poll::Ready(line.io.borrow_mut().settle(cx, &line.visitor, true).is_ok())).await
}

/// Reads requests until the connection ends.
async fn understand(line: &Rc<Line>) -> Vec<Understood> {
    let mut all = Vec::new();
    while let Ok((request, _)) = next(line).await {
        let Request { head, mut body } = request;
        let (mut content, mut trailers) = (Vec::new(), Vec::new());
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            match frame.unwrap().into_data() {
                Ok(data) => content.extend_from_slice(&data),
                Err(frame) => trailers = pairs(&Fields::from(&frame.into_trailers().unwrap())),
            }
        }
        assert!(body.is_end_stream());
        drop(body);
        assert!(settles(line).await, "the next request follows");
        assert!(!line.io.borrow().held.is_empty() || line.io.borrow().held.capacity() == 0);
        let (method, target) = (head.method, head.target.path_and_query().to_owned());
        all.push(Understood { method, target, fields: pairs(&head.fields), content, trailers });
    }
    all
}

/// What is understood of a stream that comes in these pieces.
fn understood(stream: &[u8], cuts: &[usize]) -> Vec<Understood> {
    run(async {
        let (line, far) = line();
        tokio::join!(understand(&line), write_in_pieces(far, stream, cuts)).0
    })
}

/// Writes all and says that it is all; whoever waits for the answers has to hold what is returned.
async fn write_in_pieces(far: UnixStream, stream: &[u8], cuts: &[usize]) -> tokio::net::UnixStream {
    let mut far = tokio::net::UnixStream::from_std(far).unwrap();
    let (mut rest, mut cuts) = (stream, cuts.iter().cycle());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
        if far.write_all(piece).await.is_err() {
            // What came before has ended the connection.
            return far;
        }
        // The other side looks at what came before the next piece does.
        tokio::task::yield_now().await;
        rest = behind;
    }
    let _ = far.shutdown().await;
    far
}

fn a_request() -> impl Strategy<Value = (Vec<u8>, Understood)> {
    let content = proptest::collection::vec(any::<u8>(), 0..300);
    let chunks = proptest::collection::vec(1_usize..40, 1..5);
    (any::<bool>(), any::<bool>(), content, chunks, "[a-z]{0,90}", any::<bool>()).prop_map(
        |(has_body, chunked, content, sizes, value, has_trailer)| {
            let mut fields =
                vec![("host".to_owned(), b"a".to_vec()), ("x-own".to_owned(), value.clone().into_bytes())];
            let mut bytes =
                format!("PUT /a?{value} HTTP/1.1\r\nHost: a\r\nX-Own:  {value} \r\n").into_bytes();
            let mut trailers = Vec::new();
            let mut sent = Vec::new();
            if has_body && chunked {
                fields.push(("transfer-encoding".to_owned(), b"chunked".to_vec()));
                bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                let (mut rest, mut sizes) = (content.as_slice(), sizes.iter().cycle());
                while !rest.is_empty() {
                    let (chunk, behind) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                    bytes.extend_from_slice(format!("{:x};x=y\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                    rest = behind;
                }
                bytes.extend_from_slice(b"0\r\n");
                if has_trailer {
                    bytes.extend_from_slice(b"X-Sum: 7\r\n");
                    trailers.push(("x-sum".to_owned(), b"7".to_vec()));
                }
                bytes.extend_from_slice(b"\r\n");
                sent = content;
            } else if has_body {
                fields.push(("content-length".to_owned(), content.len().to_string().into_bytes()));
                bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", content.len()).as_bytes());
                bytes.extend_from_slice(&content);
                sent = content;
            } else {
                bytes.extend_from_slice(b"\r\n");
            }
            let target = format!("/a?{value}");
            (bytes, Understood { method: Method::PUT, target, fields, content: sent, trailers })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn cuts_change_nothing_of_the_requests(
        requests in proptest::collection::vec(a_request(), 1..6),
        cuts in proptest::collection::vec(1_usize..200, 1..8),
    ) {
        let (streams, expected): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        prop_assert_eq!(understood(&streams.concat(), &cuts), expected);
    }
}

/// All requests of a stream that comes in these pieces, and how it ends: what is said of each, and which fields those
/// are.
fn said(stream: &[u8], cuts: &[usize]) -> (Vec<String>, Vec<[Option<NonZeroU64>; 2]>) {
    run(async {
        let (line, far) = line();
        // It takes the line with it: nobody would read on after a refusal.
        let listening = async move {
            let (mut said, mut numbers) = (Vec::new(), Vec::new());
            loop {
                let (Request { head, mut body }, asked) = match next(&line).await {
                    Ok(heard) => heard,
                    Err(End::Refused(refused)) => {
                        said.push(format!("{refused:?}"));
                        return (said, numbers);
                    }
                    Err(_) => return (said, numbers),
                };
                let mut content = Vec::new();
                while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                    content.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                }
                drop(body);
                assert!(settles(&line).await);
                let RequestHead { method, target, version, fields, section, names, .. } = head;
                let fields = pairs(&fields);
                said.push(format!("{method} {target:?} {version:?} {fields:?} {asked:?} {content:?}"));
                numbers.push([section, names]);
            }
        };
        tokio::join!(listening, write_in_pieces(far, stream, cuts)).0
    })
}

/// Requests that mostly say again what was said before.
fn repetitive_stream() -> impl Strategy<Value = Vec<u8>> {
    #[rustfmt::skip]
    let lines = vec![
        "GET / HTTP/1.1", "GET /a?b HTTP/1.1", "HEAD / HTTP/1.1", "\r\nGET http://b/ HTTP/1.1", "GET / HTTP/1.0",
        "GET / HTTP/1.0",
    ];
    #[rustfmt::skip]
    let sections = vec![
        "Host: a\r\n\r\n", "Host: a\r\nTE: trailers\r\nX-A:b\r\n\r\n", "Host: a\r\nX-A:  b\r\n\r\n",
        "host: a\r\nConnection: keep-alive\r\n\r\n", "host: a\r\nConnection: keep-alive, close\r\n\r\n",
        "\r\n", "Host: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
        "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: y\r\n\r\n",
        "Host: a\r\nContent-Length: 3\r\n\r\nabc", "Host: a\r\nHost: a\r\n\r\n",
        "Host: a\r\nX-A: {}\r\nX-B: c {}\r\nTE: trailers\r\n\r\n", "Host: a\r\nx-a:{}\r\nx-b: {} \r\n\r\n",
    ];
    let lines = proptest::collection::vec(proptest::sample::select(lines), 1..6);
    let run = (proptest::sample::select(sections), lines).prop_map(|(section, lines)| {
        // Some of them have other values in each head, of one length or of two.
        let heads = lines.into_iter().enumerate();
        let heads =
            heads.map(|(n, line)| format!("{line}\r\n{}", section.replace("{}", &(7 + n).to_string())));
        heads.collect::<String>().into_bytes()
    });
    proptest::collection::vec(run, 1..6).prop_map(|runs| runs.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Byte by byte, all is read.
    #[test]
    fn what_is_said_again_is_heard_as_if_it_were_read(
        stream in repetitive_stream(),
        cuts in proptest::collection::vec(1_usize..600, 1..6),
    ) {
        let (read, _) = said(&stream, &[1]);
        let (heard, numbers) = said(&stream, &cuts);
        prop_assert_eq!(&heard, &read);
        // Who has one number has one version and the same fields.
        let fields = |n: usize| read[n].split_once(" HTTP/").map(|(_, rest)| rest.split(" Asked").next());
        for (n, [section, _]) in numbers.iter().enumerate().filter(|(_, [section, _])| section.is_some()) {
            let first = numbers.iter().position(|[other, _]| other == section).unwrap_or(n);
            prop_assert_eq!(fields(n), fields(first));
        }
    }
}

#[test]
fn requests_with_the_same_fields_have_one_number_whatever_they_ask_for() {
    let one = "Host: a\r\nX-A: b\r\n\r\n";
    let other = "Host: a\r\n\r\n";
    let stream = [one, one, one, one, other, other, one].map(|fields| format!("GET / HTTP/1.1\r\n{fields}"));
    let (said, numbers) = said(stream.concat().as_bytes(), &[stream.concat().len()]);
    assert_eq!(said.len(), stream.len());
    let numbers: Vec<_> =
        numbers.iter().map(|both| both.map(|number| number.map_or(0, NonZeroU64::get))).collect();
    assert_eq!(numbers, [0, 2, 2, 2, 5, 5, 7].map(|number| [number; 2]), "of the fields, and of their names");
}

#[test]
fn requests_whose_fields_differ_in_a_value_are_heard_with_that_value() {
    let stream = ["one", "two", "six", "six", "ten", "three", "ten"]
        .map(|value| format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {value}\r\nX-B: b\r\n\r\n"));
    let (said, numbers) = said(stream.concat().as_bytes(), &[stream.concat().len()]);
    for (n, value) in ["one", "two", "six", "six", "ten", "three", "ten"].into_iter().enumerate() {
        assert!(said[n].contains(&format!("{:?}", value.as_bytes())), "{value}: {}", said[n]);
    }
    let numbers: Vec<_> =
        numbers.iter().map(|both| both.map(|number| number.map_or(0, NonZeroU64::get))).collect();
    let (fields, names) = ([0, 2, 0, 3, 0, 6, 7], [0, 2, 2, 2, 2, 6, 7]);
    assert_eq!(numbers, std::array::from_fn::<_, 7, _>(|n| [fields[n], names[n]]));
}

#[test]
fn a_body_of_megabytes_comes_through_whole() {
    let content = vec![b'x'; 3 << 20];
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", content.len());
    let next = b"GET /next HTTP/1.1\r\nhost: a\r\n\r\n";
    let stream = [head.as_bytes(), &content, next].concat();
    let all = understood(&stream, &[100_000, 7, 300_000]);
    assert_eq!(all.len(), 2);
    assert!(all[0].content == content, "{} bytes", all[0].content.len());
    assert_eq!(all[1].target, "/next");
}

#[test]
fn the_client_is_told_to_go_on_once_its_body_is_wanted() {
    run(async {
        let (line, mut far) = line();
        far.write_all(b"PUT / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
            .unwrap();
        let (request, _) = next(&line).await.ok().unwrap();
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
        let (line, mut far) = line();
        far.write_all(b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhal").unwrap();
        let (request, _) = next(&line).await.ok().unwrap();
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
            let (line, mut far) = line();
            far.write_all(b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n").unwrap();
            let heard = next(&line).await.ok().unwrap();
            far.write_all(sent).unwrap();
            drop(heard);
            // What was sent is seen once the runtime has looked.
            tokio::task::yield_now().await;
            assert_eq!(settles(&line).await, follows, "{sent:?}");
        }
    });
}

#[test]
fn a_client_that_pipelines_leaves_others_their_turn() {
    const ASKED: usize = 100;
    const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    run(async {
        let place = place();
        let connect = || {
            let (transport, visitor, far) = connection(&place);
            tokio::task::spawn_local(serve(transport, visitor, None));
            far
        };
        let (mut noisy, mut quiet) = (connect(), connect());
        noisy.write_all(&ASK.repeat(ASKED)).unwrap();
        let mut answered = 0;
        while answered < ASKED {
            quiet.write_all(ASK).unwrap();
            let asked = answered;
            while answers(&mut quiet) == 0 {
                tokio::task::yield_now().await;
                answered += answers(&mut noisy);
            }
            // It may have a turn before the other one's request is seen, and one before that is answered.
            assert!(answered - asked <= 2 * REQUESTS_PER_TURN as usize, "{} in a row", answered - asked);
        }
        assert_eq!(answered, ASKED);
    });
}

/// How many answers have come.
fn answers(far: &mut UnixStream) -> usize {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = far.read(&mut piece) {
        all.extend_from_slice(&piece[..n]);
    }
    String::from_utf8(all).unwrap().matches("HTTP/1.1 403 ").count()
}

#[test]
fn hints_go_before_the_head_of_their_answer() {
    run(async {
        let (line, mut far) = line();
        far.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let (request, _) = next(&line).await.ok().unwrap();
        let answer = inbound::serve(&line.visitor, request, &line.early).await;
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
        let (line, mut far) = line();
        far.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let (request, _) = next(&line).await.ok().unwrap();
        let answer = inbound::serve(&line.visitor, request, &line.early).await;
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

        let (mut all, mut piece) = (Vec::new(), [0; 4096]);
        let mut take = || {
            while let Ok(n @ 1..) = far.read(&mut piece) {
                all.extend_from_slice(&piece[..n]);
            }
        };
        take();
        assert!(sending.await.is_ok());
        take();
        assert!(line.io.borrow().out.is_empty() && line.io.borrow().writing.is_none());
        let text = String::from_utf8(all.split_off(before)).unwrap();
        let (head, page) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{head}");
        assert!(head.contains(&format!("\r\ncontent-length: {}", page.len())), "{head}");
    }));
}

/// What its connection makes of a body that is waited for since ever: whether it is broken off.
async fn is_late(line: &Rc<Line>) -> bool {
    line.io.borrow_mut().body.reading = Some(0);
    let (mut timer, mut talk) = (Timer::default(), pin!(std::future::pending()));
    poll_fn(|cx| {
        assert!(poll_in_use(cx, line, talk.as_mut(), &mut timer).is_pending());
        if line.io.borrow().body.reading.is_some() { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    line.io.borrow().body.broken.is_some()
}

#[test]
fn a_body_is_not_late_if_nobody_comes_for_what_is_here() {
    run(async {
        let (line, mut far) = line_at(&place_with(|timeouts| timeouts.body = Duration::from_nanos(1)));
        far.write_all(b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n").unwrap();
        let (request, _) = next(&line).await.ok().unwrap();
        let mut body = request.body;
        assert!(waits(|cx| Pin::new(&mut body).poll_frame(cx)).await);
        far.write_all(b"hal").unwrap();
        poll_fn(|cx| line.io.borrow().transport.poll_read_ready(cx)).await.unwrap();
        assert!(!is_late(&line).await);
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "hal");
        assert!(waits(|cx| Pin::new(&mut body).poll_frame(cx)).await);
        assert!(is_late(&line).await, "nothing more came");
    });
}

#[test]
fn a_body_that_somebody_still_has_lets_no_request_follow() {
    run(async {
        let (line, mut far) = line();
        far.write_all(b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nok").unwrap();
        let (request, _) = next(&line).await.ok().unwrap();
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
        let (line, mut far) = line();
        far.write_all(b"PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        let (request, _) = next(&line).await.ok().unwrap();
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

#[test]
fn the_first_head_has_the_time_from_the_begin_of_its_connection() {
    run(async {
        let (line, mut far) = line();
        let begun = line.io.borrow().since;
        far.write_all(b"GET").unwrap();
        assert!(waits(|cx| line.poll_head(cx, &mut None)).await);
        let head = u64::try_from(line.visitor.timeouts().head.as_nanos()).unwrap();
        let mut io = line.io.borrow_mut();
        io.head_since = Some(begun + 1_000_000);
        assert_eq!(io.deadline(&line.visitor), Some((begun + head, Overdue::Head)));
        io.heads = 1;
        assert_eq!(io.deadline(&line.visitor), Some((begun + 1_000_000 + head, Overdue::Head)));
    });
}

#[test]
fn each_pipelined_request_of_a_half_closed_client_has_its_own_time() {
    run(async {
        let (line, mut far) = line();
        far.write_all(&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(2)).unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        let wait = u64::try_from(HALF_CLOSED_WAIT.as_nanos()).unwrap();
        assert!(next(&line).await.is_ok());
        let closed = poll_fn(|cx| {
            assert!(line.poll_beside(cx).is_ok());
            line.io.borrow().closed_at.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        let ends = || line.io.borrow().deadline(&line.visitor);
        assert_eq!(ends(), Some((closed + wait, Overdue::HalfClosed)));
        // The second one is here, and begins once the first is answered, which took longer than that.
        assert!(next(&line).await.is_ok());
        let begun = closed + 2 * wait;
        line.io.borrow_mut().since = begun;
        assert_eq!(ends(), Some((begun + wait, Overdue::HalfClosed)));
    });
}

#[test]
fn a_client_that_takes_some_of_what_tls_holds_back_is_not_too_slow() {
    const LONG_AGO: Option<u64> = Some(0);
    run(async {
        let (line, mut far) = line_under_tls().await;
        // What TLS holds back as a whole, and much more than that.
        for bytes in [32 * 1024, 1024 * 1024] {
            line.io.borrow_mut().out = vec![b'a'; bytes];
            let out = |cx: &mut Context<'_>| line.io.borrow_mut().poll_out(cx, &line.visitor);
            let writing = || line.io.borrow().writing;
            assert!(waits(out).await);
            assert!(writing().is_some());

            line.io.borrow_mut().writing = LONG_AGO;
            assert!(waits(out).await);
            assert_eq!(writing(), LONG_AGO, "nothing was taken");

            take_all(&mut far);
            let noticed = poll_fn(|cx| match out(cx) {
                Poll::Pending if writing() == LONG_AGO => Poll::Pending,
                polled => Poll::Ready(polled),
            });
            let polled = timeout(Duration::from_secs(15), noticed).await;
            assert!(polled.expect("it is seen that some was taken").is_pending(), "there is more");
            assert!(writing() > LONG_AGO);

            // The rest, for the next round.
            while waits(out).await {
                take_all(&mut far);
                tokio::task::yield_now().await;
            }
            assert_eq!(writing(), None);
            take_all(&mut far);
        }
    });
}

/// Takes what has come.
fn take_all(far: &mut UnixStream) {
    let mut piece = [0; 4096];
    while matches!(far.read(&mut piece), Ok(1..)) {}
}

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

/// Serves a connection beside what its client does.
fn with_client<T, F: Future<Output = T>>(client: impl FnOnce(tokio::net::UnixStream) -> F) -> T {
    run(async {
        let (transport, visitor, far) = connection(&place());
        let served = tokio::task::spawn_local(async move {
            serve(transport, visitor, None).await;
        });
        let found = client(tokio::net::UnixStream::from_std(far).unwrap()).await;
        served.await.unwrap();
        found
    })
}

fn count(bytes: &[u8], what: &str) -> usize {
    String::from_utf8_lossy(bytes).matches(what).count()
}

#[test]
fn pipelined_requests_are_answered_one_by_one_and_in_order() {
    let bytes = with_client(|mut far| async move {
        let stream = "GET /a HTTP/1.1\r\nhost: a\r\n\r\n\
            PUT /b HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc\
            HEAD /c HTTP/1.1\r\nhost: a\r\n\r\n\
            GET /d HTTP/1.0\r\n\r\n";
        far.write_all(stream.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).await.unwrap();
        bytes
    });
    assert_eq!(count(&bytes, "HTTP/1.1 403 "), 4, "{}", String::from_utf8_lossy(&bytes));
    assert_eq!(count(&bytes, "connection: "), 0, "HTTP/1.0 closes without a word");
}

#[test]
fn a_refusal_says_to_each_version_and_method_what_is_its_own() {
    let bytes = with_client(|mut far| async move {
        let stream = "GET / HTTP/1.1\r\nhost: a\r\n\r\n\
            GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n\
            HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        far.write_all(stream.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).await.unwrap();
        bytes
    });
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

#[test]
fn a_client_that_reads_late_misses_nothing() {
    const REQUESTS: usize = 3_000;
    let bytes = with_client(|far| async move {
        let (mut reading, mut writing) = far.into_split();
        let asking = async {
            writing.write_all(&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(REQUESTS)).await.unwrap();
            writing.shutdown().await.unwrap();
        };
        let hearing = async {
            let mut bytes = Vec::new();
            // In small pieces, so that its socket is full most of the time.
            while reading.read_buf(&mut (&mut bytes).limit(100)).await.unwrap() > 0 {
                tokio::task::yield_now().await;
            }
            bytes
        };
        tokio::join!(asking, hearing).1
    });
    assert_eq!(count(&bytes, "HTTP/1.1 403 Forbidden\r\n"), REQUESTS);
    let lengths = String::from_utf8_lossy(&bytes);
    let first = lengths.find("HTTP/1.1 403").unwrap();
    assert_eq!(first, 0, "nothing stands before the first answer");
}

/// Polls once: whether it is still waiting.
async fn waits<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> bool {
    poll_fn(|cx| Poll::Ready(poll(cx).is_pending())).await
}

#[test]
fn what_comes_wakes_a_connection_that_awaited_it_more_than_once() {
    run(async {
        let (line, mut far) = line();
        for _ in 0..3 {
            assert!(waits(|cx| line.poll_head(cx, &mut None)).await);
            assert_eq!(line.io.borrow().arriving, Arriving::Awaited);
        }
        let listening = async { timeout(Duration::from_secs(20), next(&line)).await.expect("it is woken") };
        let speaking = async { far.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap() };
        assert!(tokio::join!(listening, speaking).0.is_ok());
        assert_eq!(
            line.io.borrow().arriving,
            Arriving::Drained,
            "what came has woken it, and nothing else will"
        );
        assert!(waits(|cx| line.poll_head(cx, &mut None)).await);
        assert_eq!(line.io.borrow().arriving, Arriving::Awaited);
    });
}

/// What is told of something that was read already, together with what came before it, wakes for nothing.
#[test]
fn a_connection_that_was_woken_for_nothing_awaits_what_comes_anew() {
    run(async {
        let (line, mut far) = line();
        far.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        poll_fn(|cx| line.io.borrow().transport.poll_read_ready(cx)).await.unwrap();
        far.write_all(b"host: a\r\n").unwrap();
        assert!(waits(|cx| line.poll_head(cx, &mut None)).await);
        assert_eq!(line.io.borrow().arriving, Arriving::Awaited);
        assert!(line.io.borrow().held.ends_with(b"host: a\r\n"));
        // The runtime looks, and is told of the second line.
        tokio::task::yield_now().await;
        assert!(waits(|cx| line.poll_head(cx, &mut None)).await);
        let listening = async { timeout(Duration::from_secs(20), next(&line)).await.expect("it is woken") };
        let speaking = async { far.write_all(b"\r\n").unwrap() };
        assert!(tokio::join!(listening, speaking).0.is_ok());
    });
}

#[test]
fn a_task_that_has_used_up_its_turn_awaits_nothing_yet() {
    run(async {
        let (line, _far) = line();
        let waiting = tokio::task::spawn_local(poll_fn(move |cx| {
            for _ in 0..1_000 {
                if pin!(consume_budget()).poll(cx).is_pending() {
                    break;
                }
            }
            assert!(!has_budget_remaining());
            assert!(line.poll_head(cx, &mut None).is_pending());
            assert_eq!(
                line.io.borrow().arriving,
                Arriving::Anything,
                "it is woken at once, and not when something comes"
            );
            Poll::Ready(())
        }));
        waiting.await.unwrap();
    });
}

#[test]
fn a_parked_connection_goes_on_as_if_nothing_had_been() {
    run(async {
        let (transport, visitor, far) = connection(&place());
        let mut connection = serve(transport, visitor, None);
        let mut far = tokio::net::UnixStream::from_std(far).unwrap();
        for _ in 0..2 {
            // It has been silent for long enough, and for no longer than a first head may take.
            let now = connection.visitor.refresh_clock();
            let State::InUse(line, ..) = &connection.state else { panic!("it is not in use") };
            let park_after = u64::try_from(PARK_AFTER.as_nanos()).unwrap();
            line.io.borrow_mut().since = now.nanos.saturating_sub(park_after);
            poll_fn(|cx| match (Pin::new(&mut connection).poll(cx), &mut connection.state) {
                (Poll::Pending, State::Resting(rest)) => {
                    rest.since = connection.visitor.now().nanos;
                    Poll::Ready(())
                }
                (Poll::Pending, _) => Poll::Pending,
                (Poll::Ready(()), _) => panic!("it is closed"),
            })
            .await;
            let asking = async {
                far.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
                // It comes in one write.
                let mut bytes = Vec::with_capacity(4096);
                far.read_buf(&mut bytes).await.unwrap();
                bytes
            };
            tokio::select! {
                bytes = asking => assert!(bytes.starts_with(b"HTTP/1.1 403 ")),
                () = &mut connection => panic!("it is closed"),
            }
        }
    });
}

#[test]
fn a_parked_connection_is_closed_after_keep_alive() {
    run(async {
        let place = place_that_keeps(Duration::from_millis(500));
        let (transport, visitor, mut far) = connection(&place);
        let now = visitor.refresh_clock();
        // Silent from an hour hence on: no machine stands still for so long.
        let begins = now.plus(Duration::from_secs(3600)).nanos;
        let mut connection = serve_at_rest(Rest { transport, since: begins, heads: 1 }, &visitor);
        assert!(waits(|cx| Pin::new(&mut connection).poll(cx)).await);
        let State::Resting(rest) = &mut connection.state else { panic!("it is not parked") };
        rest.since = now.nanos - 500_000_000;
        timeout(Duration::from_secs(15), connection).await.expect("it is closed");
        let mut said = Vec::new();
        far.read_to_end(&mut said).unwrap();
        assert!(said.is_empty(), "it is closed without a word");
    });
}

/// How often a task was woken.
#[derive(Default)]
struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn only_a_parked_connection_is_woken_when_keep_alive_ends() {
    run(async {
        let place = place();
        let (transport, visitor, mut far) = connection(&place);
        let now = visitor.refresh_clock();
        let mut connection = serve_at_rest(Rest { transport, since: now.nanos, heads: 1 }, &visitor);
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut go_on = || Pin::new(&mut connection).poll(&mut Context::from_waker(&waker)).is_pending();
        assert!(go_on());
        let turned = |seconds| {
            let before = wakes.0.load(Relaxed);
            place.turn(now.plus(Duration::from_secs(seconds)));
            wakes.0.load(Relaxed) - before
        };
        assert_eq!((turned(59), turned(61)), (0, 1));
        assert!(go_on(), "it looked at the clock, and asked again");
        far.write_all(b"GET").unwrap();
        let before = wakes.0.load(Relaxed);
        while wakes.0.load(Relaxed) == before {
            tokio::task::yield_now().await;
        }
        assert!(go_on());
        assert_eq!(turned(120), 0, "it is in use");
    });
}

#[test]
fn a_parked_connection_is_closed_in_a_drain() {
    run(async {
        let place = place();
        let (transport, visitor, _far) = connection(&place);
        // It has been silent for as long as one that is parked, and has much more of `timeouts.head` left.
        let park_after = u64::try_from(PARK_AFTER.as_nanos()).unwrap();
        let rest = Rest { transport, since: visitor.now().nanos.saturating_sub(park_after), heads: 0 };
        let mut connection = serve_at_rest(rest, &visitor);
        assert!(waits(|cx| Pin::new(&mut connection).poll(cx)).await);
        let draining = async {
            place.drain();
            std::future::pending::<()>().await;
        };
        let closed = async {
            tokio::select! {
                () = connection => {}
                () = draining => {}
            }
        };
        timeout(Duration::from_secs(15), closed).await.expect("it is closed");
    });
}

fn serve_at_rest(rest: Rest, visitor: &Rc<Visitor>) -> Connection {
    let visitor = Rc::clone(visitor);
    Connection { visitor, state: State::Resting(rest), call: None, _held: None }
}

#[test]
fn an_idle_connection_is_small() {
    let bytes = size_of::<Connection>();
    assert!(bytes <= 120, "{bytes} bytes");
    let bytes = size_of::<Visitor>();
    assert!(bytes <= 224, "{bytes} bytes for the visitor");
    run(async {
        let (line, _far) = line();
        let bytes = size_of_val(&talk(line));
        assert!(bytes <= 12 * 1024, "{bytes} bytes while in use");
    });
}

#[test]
fn a_connection_that_waits_for_its_close_is_small() {
    run(async {
        let (line, _far) = line();
        let visitor = Rc::clone(&line.visitor);
        let io = Rc::into_inner(line).unwrap().io.into_inner();
        let bytes = size_of_val(&close::close(End::Done, io, &visitor));
        assert!(bytes <= 2 * 1024, "{bytes} bytes");
    });
}
