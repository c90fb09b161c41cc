//! The check of gRPC servers, `grpc.health.v1.Health/Check` (gRPC's doc/health-checking.md): its two messages, written
//! and read by hand, since each has one field; and what an answer means. The exchange is `http.rs`'s.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::http::{Around, BODY_BYTES, exchange, request};
use super::probe::Step;
use crate::socket::Socket;

const METHOD: &str = "/grpc.health.v1.Health/Check";

/// The longest varint of protobuf, in bytes.
const VARINT_BYTES: usize = 10;

/// What a server says of itself: `HealthCheckResponse.ServingStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// 0: it does not know yet.
    Unknown,
    /// 1: it serves.
    Serving,
    /// 2: it does not.
    NotServing,
    /// 3: it does not know the service.
    ServiceUnknown,
    /// A number that has no name yet.
    Other(u64),
}

impl fmt::Display for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("UNKNOWN"),
            Self::Serving => f.write_str("SERVING"),
            Self::NotServing => f.write_str("NOT_SERVING"),
            Self::ServiceUnknown => f.write_str("SERVICE_UNKNOWN"),
            Self::Other(number) => write!(f, "serving status {number}"),
        }
    }
}

/// Why bytes are no answer of a health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer(&'static str);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer is no health answer: {}", self.0)
    }
}

/// Asks how `service` is; empty: the server as a whole.
///
/// # Errors
/// Not SERVING, or no answer: why, in words.
pub(super) async fn ask(
    socket: Socket,
    host: &str,
    service: &str,
    (limit, step): (Duration, &Cell<Step>),
) -> Result<(), String> {
    let mut request = request(Method::POST, host, METHOD)?;
    let fields = request.headers_mut();
    fields.insert("content-type", HeaderValue::from_static("application/grpc"));
    fields.insert("te", HeaderValue::from_static("trailers"));
    if let Ok(limit) = HeaderValue::try_from(format!("{}m", limit.as_millis())) {
        fields.insert("grpc-timeout", limit);
    }
    let mut body = Vec::new();
    let keep = |status: StatusCode, data: &[u8]| {
        if status != StatusCode::OK {
            return Err(format!("status {}", status.as_u16()));
        }
        if body.len() + data.len() > BODY_BYTES {
            return Err("the answer is too long".to_owned());
        }
        body.extend_from_slice(data);
        Ok(false)
    };
    let around = exchange(socket, (request, Some(message(service))), keep, step).await?;
    verdict(&around, &body)
}

fn verdict(around: &Around, body: &[u8]) -> Result<(), String> {
    let status = |fields: &HeaderMap| fields.get("grpc-status").map(|value| value.as_bytes().to_vec());
    // An answer without a message may have all of it in its head (Trailers-Only).
    match around.trailers.as_ref().and_then(status).or_else(|| status(&around.head)).as_deref() {
        None => return Err("the answer has no grpc-status: it is not gRPC's".to_owned()),
        Some(b"0") => {}
        Some(b"5") => return Err("gRPC status 5 (NOT_FOUND): the worker has no such service".to_owned()),
        Some(b"12") => {
            return Err("gRPC status 12 (UNIMPLEMENTED): the worker has no grpc.health.v1.Health".to_owned());
        }
        Some(code) => return Err(format!("gRPC status {}", code.escape_ascii())),
    }
    match read(body) {
        Ok(Serving::Serving) => Ok(()),
        Ok(other) => Err(other.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// The request's body: a `HealthCheckRequest` as one message of gRPC's.
pub fn message(service: &str) -> Bytes {
    let mut inside = BytesMut::new();
    if !service.is_empty() {
        // Field 1, a string.
        inside.put_u8(0x0a);
        put_varint(&mut inside, service.len() as u64);
        inside.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(5 + inside.len());
    framed.put_u8(0);
    // A service's name is a line of the configuration.
    framed.put_u32(u32::try_from(inside.len()).unwrap_or(u32::MAX));
    framed.put(inside);
    framed.freeze()
}

/// Reads the body of an answer: one message of gRPC's, not compressed, with a `HealthCheckResponse`. Fields that are
/// not known are passed over, and of several statuses the last counts, as protobuf has it.
///
/// # Errors
/// It is anything else.
pub fn read(body: &[u8]) -> Result<Serving, NoAnswer> {
    let Some((&[compressed, a, b, c, d], mut rest)) = body.split_first_chunk() else {
        return Err(NoAnswer("there is no message in it"));
    };
    if compressed != 0 {
        return Err(NoAnswer("it is compressed, which was not asked for"));
    }
    if u32::from_be_bytes([a, b, c, d]) as usize != rest.len() {
        return Err(NoAnswer("its length is not that of one message"));
    }
    let mut status = 0;
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        // The number of the field, and how it is written.
        match (key >> 3, key & 7) {
            (0, _) => return Err(NoAnswer("a field has the number 0")),
            (1, 0) => status = take_varint(&mut rest)?,
            (_, 0) => drop(take_varint(&mut rest)?),
            (_, 1) => pass(&mut rest, 8)?,
            (_, 2) => {
                let length = take_varint(&mut rest)?;
                pass(&mut rest, length)?;
            }
            (_, 5) => pass(&mut rest, 4)?,
            _ => return Err(NoAnswer("a field is written in a way that is not known")),
        }
    }
    Ok(match status {
        0 => Serving::Unknown,
        1 => Serving::Serving,
        2 => Serving::NotServing,
        3 => Serving::ServiceUnknown,
        other => Serving::Other(other),
    })
}

fn put_varint(to: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        to.put_u8(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    to.put_u8(number.to_le_bytes()[0]);
}

fn take_varint(from: &mut &[u8]) -> Result<u64, NoAnswer> {
    let mut number = 0_u64;
    for nth in 0..VARINT_BYTES {
        let (&byte, rest) = from.split_first().ok_or(NoAnswer("it ends inside a field"))?;
        *from = rest;
        // Bits beyond the 64th are lost, as in protobuf's own readers.
        number |= u64::from(byte & 0x7f) << (7 * nth);
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(NoAnswer("a number has more than ten bytes"))
}

fn pass(from: &mut &[u8], length: u64) -> Result<(), NoAnswer> {
    let rest = usize::try_from(length).ok().and_then(|length| from.get(length..));
    *from = rest.ok_or(NoAnswer("it ends inside a field"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(inside: &[u8]) -> Vec<u8> {
        let mut body = vec![0];
        body.extend(u32::try_from(inside.len()).unwrap().to_be_bytes());
        body.extend(inside);
        body
    }

    #[test]
    fn the_question_is_one_message_with_the_name() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        let long = message(&"x".repeat(300));
        assert_eq!(&long[..9], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02, b'x']);
        assert_eq!(long.len(), 5 + 303);
    }

    #[test]
    fn each_status_has_its_word() {
        for (number, wanted, word) in [
            (0, Serving::Unknown, "UNKNOWN"),
            (1, Serving::Serving, "SERVING"),
            (2, Serving::NotServing, "NOT_SERVING"),
            (3, Serving::ServiceUnknown, "SERVICE_UNKNOWN"),
            (4, Serving::Other(4), "serving status 4"),
        ] {
            assert_eq!(read(&framed(&[0x08, number])), Ok(wanted));
            assert_eq!(wanted.to_string(), word);
        }
        assert_eq!(read(&framed(&[])), Ok(Serving::Unknown), "protobuf leaves zeros out");
    }

    #[test]
    fn fields_of_later_versions_are_passed_over() {
        let mut inside = vec![0x10, 0x96, 0x01];
        inside.extend([0x1a, 2, b'h', b'i']);
        inside.extend([0x21, 1, 2, 3, 4, 5, 6, 7, 8]);
        inside.extend([0x2d, 1, 2, 3, 4]);
        inside.extend([0x08, 2, 0x08, 1]);
        assert_eq!(read(&framed(&inside)), Ok(Serving::Serving));
    }

    #[test]
    fn what_is_no_answer_is_refused_with_words() {
        let eleven = [[0x08].as_slice(), &[0xff; 10], &[1]].concat();
        for (body, word) in [
            (vec![], "no message"),
            (vec![0, 0, 0, 0], "no message"),
            (vec![1, 0, 0, 0, 0], "compressed"),
            (vec![0, 0, 0, 0, 1], "length"),
            ([framed(&[8, 1]), framed(&[8, 1])].concat(), "length"),
            (framed(&[0x08]), "inside a field"),
            (framed(&[0x12, 5, 1]), "inside a field"),
            (framed(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), "inside a field"),
            (framed(&[0x00, 0]), "number 0"),
            (framed(&[0x0b]), "not known"),
            (framed(&eleven), "ten bytes"),
        ] {
            let told = read(&body).unwrap_err().to_string();
            assert!(told.contains(word), "{body:?}: {told}");
        }
    }

    #[test]
    fn only_status_0_with_serving_passes() {
        let answer = |head: Option<&'static str>, trailer: Option<&'static str>, body: &[u8]| {
            let fields = |value: &'static str| {
                HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static(value))])
            };
            let head = head.map(fields).unwrap_or_default();
            verdict(&Around { head, trailers: trailer.map(fields) }, body)
        };
        let serving = framed(&[8, 1]);
        assert_eq!(answer(None, Some("0"), &serving), Ok(()));
        assert_eq!(answer(None, Some("0"), &framed(&[8, 2])), Err("NOT_SERVING".to_owned()));
        for (head, trailer, word) in [
            (None, None, "no grpc-status"),
            (Some("12"), None, "UNIMPLEMENTED"),
            (None, Some("5"), "NOT_FOUND"),
            (None, Some("14"), "gRPC status 14"),
        ] {
            let told = answer(head, trailer, &serving).unwrap_err();
            assert!(told.contains(word), "{told}");
        }
        assert!(answer(Some("0"), None, &[]).is_err(), "a good status without a message");
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = read(&framed(&bytes));
        }

        #[test]
        fn the_last_status_counts(before in any::<u64>(), status in any::<u64>()) {
            let mut inside = BytesMut::new();
            for number in [before, status] {
                inside.put_u8(0x08);
                put_varint(&mut inside, number);
            }
            let wanted = match status {
                0 => Serving::Unknown,
                1 => Serving::Serving,
                2 => Serving::NotServing,
                3 => Serving::ServiceUnknown,
                other => Serving::Other(other),
            };
            prop_assert_eq!(read(&framed(&inside)), Ok(wanted));
        }
    }
}
