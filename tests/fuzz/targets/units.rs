//! Any text as a rate, a duration, a size, a share or a date: it is refused with words on what to write instead, or it
//! is read, and what is printed of it reads the same.

#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use buckler::config::units::{Day, Frequency, Share, Size, Span};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(rate) = text.parse::<Frequency>() {
        // Beyond some millions a second the interval is a few nanoseconds, and several rates have the same.
        let again: Frequency = rate.to_string().parse().expect("a printed rate is a rate");
        assert_eq!(again.interval, rate.interval, "{text:?} is printed as {rate}");
        assert!(
            rate.interval.as_nanos() >= 1 && rate.interval.as_secs() <= 86_400 && rate.per_second >= 1,
            "{rate:?}"
        );
    }
    if let Some(span) = stays::<Span>(text) {
        assert!(span.0.as_secs() <= 3_650 * 86_400, "{span:?}");
    }
    if let Some(size) = stays::<Size>(text) {
        assert!(size.0 <= 1 << 50, "{size:?}");
    }
    if let Some(share) = stays::<Share>(text) {
        assert!(share.0 <= 100, "{share:?}");
    }
    if let Some(day) = stays::<Day>(text) {
        assert_eq!(day.0 % 86_400, 0, "{day:?}");
    }
});

fn stays<T: FromStr<Err = String> + Display + Debug + PartialEq + Copy>(text: &str) -> Option<T> {
    match text.parse::<T>() {
        Ok(value) => {
            assert_eq!(value.to_string().parse::<T>().as_ref(), Ok(&value), "{text:?} is printed as {value}");
            Some(value)
        }
        Err(told) => {
            assert!(told.lines().count() >= 2, "{text:?} is refused without a word on what to write: {told}");
            None
        }
    }
}
