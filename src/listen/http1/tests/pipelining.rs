//! Requests that come before the one in front of them is answered: in order, each in its turn.

use bytes::BufMut;

use super::*;
use crate::listen::http1::line::REQUESTS_PER_TURN;

#[test]
fn pipelined_requests_are_answered_one_by_one_and_in_order() {
    let bytes = answered(
        "GET /a HTTP/1.1\r\nhost: a\r\n\r\n\
         PUT /b HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc\
         HEAD /c HTTP/1.1\r\nhost: a\r\n\r\n\
         GET /d HTTP/1.0\r\n\r\n",
    );
    assert_eq!(count(&bytes, "HTTP/1.1 403 "), 4, "{}", String::from_utf8_lossy(&bytes));
    assert_eq!(count(&bytes, "connection: "), 0, "HTTP/1.0 closes without a word");
}

#[test]
fn a_client_that_pipelines_leaves_others_their_turn() {
    const ASKED: usize = 100;
    run(async {
        let place = place();
        let connect = || {
            let (transport, visitor, far) = connection(&place);
            tokio::task::spawn_local(serve(transport, visitor, None));
            far
        };
        let (mut noisy, mut quiet) = (connect(), connect());
        noisy.write_all(&GET.repeat(ASKED)).unwrap();
        let mut answered = 0;
        while answered < ASKED {
            quiet.write_all(GET).unwrap();
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
    String::from_utf8(take_all(far)).unwrap().matches("HTTP/1.1 403 ").count()
}

#[test]
fn a_client_that_reads_late_misses_nothing() {
    const REQUESTS: usize = 3_000;
    let bytes = with_client(|far| async move {
        let (mut reading, mut writing) = far.into_split();
        let asking = async {
            writing.write_all(&GET.repeat(REQUESTS)).await.unwrap();
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
