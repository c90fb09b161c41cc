//! What is particular about a gRPC request (gRPC over HTTP/2): how long its client waits, which the worker is told too.
//! How it is refused stands in `refusal/grpc.rs`.

use std::time::Duration;

use crate::fields::Fields;
use crate::refusal::{Reason, Refusal};

const TIMEOUT: &str = "grpc-timeout";

/// The most digits of a timeout.
const DIGITS: usize = 8;

/// The units of a timeout, finest first, with their nanoseconds.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60 * 1_000_000_000),
    (b'H', 3_600 * 1_000_000_000),
];

/// How long the client waits for the whole answer; none if it does not say. One that waits longer than `most`
/// (`timeouts.total`) is told to the worker as waiting for `most`, so that nobody works on what will be cut off.
///
/// # Errors
/// A timeout that is malformed or given twice: the client and the worker might read it in two ways.
pub(super) fn timeout(fields: &mut Fields, most: Option<Duration>) -> Result<Option<Duration>, Refusal> {
    let (line, more) = {
        let mut lines = fields.get_all(TIMEOUT);
        (lines.next(), lines.next())
    };
    let Some(line) = line else { return Ok(None) };
    let detail = "`grpc-timeout` is not one number of at most 8 digits and a unit";
    let parsed = if more.is_none() { parse(line) } else { None };
    let wait = parsed.ok_or(Refusal::new(Reason::BadRequest, detail))?;
    if let Some(most) = most.filter(|most| *most < wait) {
        fields.set(TIMEOUT, written(most).as_bytes());
    }
    Ok(Some(wait))
}

fn parse(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (_, nanos) = UNITS.iter().find(|(letter, _)| letter == unit)?;
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    // 99,999,999 hours are more nanoseconds than 64 bits hold, and more than anybody waits.
    Some(Duration::from_nanos(number.saturating_mul(*nanos)))
}

/// A timeout as a field has it: in the finest unit that it fits in, rounded down.
fn written(wait: Duration) -> String {
    let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
    let most = 10_u64.pow(DIGITS as u32);
    let (letter, unit) = UNITS.into_iter().find(|(_, unit)| nanos / unit < most).unwrap_or(UNITS[5]);
    format!("{}{}", nanos / unit, char::from(letter))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(lines: &[&str], most: Option<Duration>) -> (Result<Option<Duration>, Reason>, Option<String>) {
        let mut fields = Fields::new();
        for line in lines {
            fields.add(TIMEOUT, line.as_bytes());
        }
        let wait = timeout(&mut fields, most).map_err(|refusal| refusal.reason);
        (wait, fields.get(TIMEOUT).map(|value| String::from_utf8(value.to_vec()).unwrap()))
    }

    #[test]
    fn every_unit_is_read_and_nothing_else() {
        let units = [
            ("7n", Duration::from_nanos(7)),
            ("7u", Duration::from_micros(7)),
            ("7m", Duration::from_millis(7)),
            ("7S", Duration::from_secs(7)),
            ("7M", Duration::from_secs(420)),
            ("7H", Duration::from_secs(25_200)),
            ("99999999S", Duration::from_secs(99_999_999)),
        ];
        for (text, want) in units {
            assert_eq!(asked(&[text], None).0, Ok(Some(want)), "{text}");
        }
        for text in ["", "7", "S", "7s", "-7S", "+7S", "7 S", "7.5S", "123456789S", "7SS", "0x7S"] {
            assert_eq!(asked(&[text], None).0, Err(Reason::BadRequest), "{text:?}");
        }
        assert_eq!(asked(&[], None).0, Ok(None));
        assert_eq!(asked(&["7S", "7S"], None).0, Err(Reason::BadRequest));
    }

    #[test]
    fn the_worker_is_never_told_of_more_than_there_is() {
        let most = Some(Duration::from_millis(2_500));
        assert_eq!(asked(&["7S"], most), (Ok(Some(Duration::from_secs(7))), Some("2500000u".to_owned())));
        assert_eq!(asked(&["2S"], most).1, Some("2S".to_owned()));
        assert_eq!(asked(&[], most).1, None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_never_longer(nanos in any::<u64>()) {
            let wait = Duration::from_nanos(nanos);
            let read = parse(written(wait).as_bytes()).unwrap();
            prop_assert!(read <= wait);
            prop_assert!(wait - read <= wait / 1_000_000, "{wait:?} {read:?}");
        }

        #[test]
        fn any_bytes_are_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..12)) {
            if let Some(wait) = parse(&text) {
                prop_assert!(text.len() <= DIGITS + 1 && wait <= Duration::from_nanos(u64::MAX));
            }
        }
    }
}
