//! The date that an answer bears (RFC 9110 section 6.6.1), which a shard puts into words once a second.

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use httpdate::HttpDate;

use crate::clock::Moment;

/// Hands `use_it` the date of `now`.
pub(super) fn with<T>(now: Moment, use_it: impl FnOnce(&[u8]) -> T) -> T {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let second = now.unix_micros / 1_000_000;
    DATE.with_borrow_mut(|(told, date)| {
        if *told != second {
            *told = second;
            *date = HttpDate::from(UNIX_EPOCH + Duration::from_secs(second)).to_string();
        }
        use_it(date.as_bytes())
    })
}
