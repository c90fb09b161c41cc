//! When time runs out: for a head, for a body, for a client that takes nothing or has closed its side. How long a
//! connection may have nothing to say is tested in `parking.rs`.

use std::net::Shutdown;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::listen::http1::line::HALF_CLOSED_WAIT;
use crate::listen::transport::{Begun, Marked};

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
fn each_pipelined_request_of_a_half_closed_client_has_its_own_time() {
    run(async {
        let (line, mut far) = line();
        far.write_all(&GET.repeat(2)).unwrap();
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
