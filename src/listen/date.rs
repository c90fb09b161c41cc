//! The date that an answer bears (RFC 9110 section 6.6.1), which a shard puts into words once a second.

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use httpdate::HttpDate;

use crate::clock::Moment;

const NAME: &str = "date: ";
const END: &str = "\r\n";

/// Hands `use_it` the date of `now`.
pub(super) fn with<T>(now: Moment, use_it: impl FnOnce(&[u8]) -> T) -> T {
    with_line(now, |line| use_it(&line[NAME.len()..line.len() - END.len()]))
}

/// Writes it as a line of a head of HTTP/1.1.
pub(super) fn write_line(now: Moment, out: &mut Vec<u8>) {
    with_line(now, |line| out.extend_from_slice(line));
}

fn with_line<T>(now: Moment, use_it: impl FnOnce(&[u8]) -> T) -> T {
    thread_local! {
        static LINE: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let second = now.unix_micros / 1_000_000;
    LINE.with_borrow_mut(|(told, line)| {
        if *told != second {
            *told = second;
            *line = format!("{NAME}{}{END}", HttpDate::from(UNIX_EPOCH + Duration::from_secs(second)));
        }
        use_it(line.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_that_of_the_second() {
        for (second, want) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_778, "Sun, 06 Nov 1994 08:49:38 GMT"),
        ] {
            let now = Moment { nanos: 0, unix_micros: second * 1_000_000 + 999_999 };
            with(now, |date| assert_eq!(date, want.as_bytes()));
            let mut line = b"a".to_vec();
            write_line(now, &mut line);
            assert_eq!(line, format!("adate: {want}\r\n").as_bytes());
        }
    }
}
