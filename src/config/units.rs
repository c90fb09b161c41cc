//! The human units of the file: rates, durations, sizes, shares and dates, each with its grammar, its bounds and a way
//! back to text. Which key takes which unit stands in `file.rs`.
//!
//! An error is two lines: what is wrong, then, after a newline, what to write instead.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How often: `100/s`, `6000/min`, `10/h`, `5/d`. At most one per nanosecond, at least one per day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frequency {
    /// The time that one request costs, rounded to the nanosecond; 1 ns to 1 day.
    pub interval: Duration,
    /// How many come in one second, at least 1: the burst when none is written.
    pub per_second: u32,
}

/// A length of time: `7ms`, `2s`, `5m`, `30d`, `1h`, `500us`, and several together (`1m30s`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A number of bytes: `512B`, `10KB`, `64KiB`, `1MiB`, `2GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A share of the whole: `20%`, from 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub u8);

/// A day: `2027-03-01`, as seconds since 1970 of its start in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(pub u64);

/// A unit's name and its worth in the smallest unit, largest first so that printing finds the roundest.
type Units = [(&'static str, u128)];

const PER: &Units =
    &[("s", 1_000_000_000), ("min", 60_000_000_000), ("h", 3_600_000_000_000), ("d", 86_400_000_000_000)];
const TIMES: &Units = &[
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];
const SIZES: &Units = &[
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// The longest duration that the file may hold: ten years.
const LONGEST: u128 = 3_650 * 86_400 * 1_000_000_000;
/// The largest size that the file may hold: 1 PiB.
const LARGEST: u128 = 1 << 50;

const RATE_HELP: &str = "write how many in which time: `100/s`, `6000/min`, `10/h` or `5/d`";
const SPAN_HELP: &str = "write a number with its unit: `500us`, `7ms`, `2s`, `5m`, `1h` or `30d`";
const SIZE_HELP: &str = "write a number with its unit: `512B`, `10KB`, `64KiB` or `1MiB`";
const SHARE_HELP: &str = "write a whole number from 0 to 100 with a percent sign: `20%`";
const DAY_HELP: &str = "write year, month and day: `2027-03-01`; it is the start of that day in UTC";

impl FromStr for Frequency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is not a rate{why}\n{RATE_HELP}");
        let Some((count, unit)) = text.split_once('/') else {
            let bare = count_of(text).is_some();
            return Err(wrong(if bare { ": a number alone has no unit" } else { "" }));
        };
        let count = count_of(count).ok_or_else(|| wrong(": the part before `/` must be a whole number"))?;
        let per = worth(PER, unit).ok_or_else(|| wrong(": the unit after `/` must be s, min, h or d"))?;
        if count == 0 {
            return Err(format!(
                "a rate of 0 lets nothing pass\nwrite a `deny` rule to refuse somebody, or at least `1/d`"
            ));
        }
        let interval = (per + count / 2) / count;
        if interval == 0 {
            return Err(format!("`{text}` is more than one per nanosecond\nwrite at most `1000000000/s`"));
        }
        let second = PER[0].1;
        let per_second = u32::try_from(count.saturating_mul(second) / per).unwrap_or(u32::MAX).max(1);
        Ok(Self { interval: nanos(interval), per_second })
    }
}

impl fmt::Display for Frequency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interval = self.interval.as_nanos().max(1);
        let found = PER.iter().find_map(|(unit, per)| {
            let count = (per + interval / 2) / interval;
            (count > 0 && (per + count / 2) / count == interval).then_some((count, unit))
        });
        match found {
            Some((count, unit)) => write!(f, "{count}/{unit}"),
            // Only an interval that no text can give comes here; the nearest rate per day is then the best answer.
            None => write!(f, "{}/d", (PER[3].1 / interval).max(1)),
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is not a duration{why}\n{SPAN_HELP}");
        if count_of(text).is_some() {
            return Err(wrong(": a number alone has no unit"));
        }
        let (mut rest, mut total) = (text, 0_u128);
        while !rest.is_empty() {
            let (amount, unit, after) = leading(rest).ok_or_else(|| wrong(""))?;
            let worth = worth(TIMES, unit).ok_or_else(|| wrong(""))?;
            total = total.saturating_add(amount.saturating_mul(worth));
            rest = after;
        }
        if text.is_empty() {
            return Err(wrong(""));
        }
        if total > LONGEST {
            return Err(format!("`{text}` is longer than ten years\nwrite at most `3650d`"));
        }
        Ok(Self(nanos(total)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_in(f, self.0.as_nanos(), TIMES, "0s")
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is not a size{why}\n{SIZE_HELP}");
        if count_of(text).is_some() {
            return Err(wrong(": a number alone has no unit"));
        }
        let (amount, unit, rest) = leading(text).ok_or_else(|| wrong(""))?;
        let worth = worth(SIZES, unit).filter(|_| rest.is_empty()).ok_or_else(|| wrong(""))?;
        let bytes = amount.saturating_mul(worth);
        if bytes > LARGEST {
            return Err(format!("`{text}` is more than 1 PiB\nwrite at most `1048576GiB`"));
        }
        Ok(Self(u64::try_from(bytes).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = u128::from(self.0);
        let exact = SIZES.iter().find(|(_, worth)| bytes > 0 && bytes.is_multiple_of(*worth));
        match exact {
            Some((unit, worth)) => write!(f, "{}{unit}", bytes / worth),
            None => f.write_str("0B"),
        }
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a share\n{SHARE_HELP}");
        let number = text.strip_suffix('%').and_then(count_of).ok_or_else(wrong)?;
        u8::try_from(number).ok().filter(|share| *share <= 100).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl FromStr for Day {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a date\n{DAY_HELP}");
        // jiff reads more forms (20270301, with a time); one form in the file keeps diffs and eyes simple.
        let plain = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let date: jiff::civil::Date = text.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
        let start = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong())?;
        let seconds = u64::try_from(start.timestamp().as_second());
        seconds.map(Self).map_err(|_| format!("`{text}` is before 1970\n{DAY_HELP}"))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = i64::try_from(self.0).unwrap_or(i64::MAX);
        let stamp = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{}", stamp.to_zoned(jiff::tz::TimeZone::UTC).date())
    }
}

/// A whole number of at most 18 digits.
fn count_of(text: &str) -> Option<u128> {
    let digits = (1..=18).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn worth(units: &Units, unit: &str) -> Option<u128> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, worth)| *worth)
}

/// The first number of `text`, the letters after it, and the rest.
fn leading(text: &str) -> Option<(u128, &str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let letters = text[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
    let amount = count_of(&text[..digits])?;
    Some((amount, &text[digits..digits + letters], &text[digits + letters..]))
}

/// Writes `amount` as several units, largest first, so that reading it gives the same again.
fn write_in(f: &mut fmt::Formatter<'_>, amount: u128, units: &Units, zero: &str) -> fmt::Result {
    if amount == 0 {
        return f.write_str(zero);
    }
    let mut rest = amount;
    for (unit, worth) in units {
        if rest >= *worth {
            write!(f, "{}{unit}", rest / worth)?;
            rest %= worth;
        }
    }
    Ok(())
}

fn nanos(amount: u128) -> Duration {
    Duration::from_nanos(u64::try_from(amount).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn interval(text: &str) -> (u64, u32) {
        let rate: Frequency = text.parse().unwrap();
        (u64::try_from(rate.interval.as_nanos()).unwrap(), rate.per_second)
    }

    #[test]
    fn rates_are_intervals_and_one_seconds_worth() {
        assert_eq!(interval("100/s"), (10_000_000, 100));
        assert_eq!(interval("6000/min"), (10_000_000, 100));
        assert_eq!(interval("10/h"), (360_000_000_000, 1));
        assert_eq!(interval("1/d"), (86_400_000_000_000, 1));
        assert_eq!(interval("3/s"), (333_333_333, 3));
        assert_eq!(interval("1000000000/s"), (1, 1_000_000_000));
    }

    #[test]
    fn rates_that_are_none_say_what_to_write() {
        for (text, why) in [
            ("100", "`100` is not a rate: a number alone has no unit"),
            ("0/s", "a rate of 0 lets nothing pass"),
            ("1.5/s", "`1.5/s` is not a rate: the part before `/` must be a whole number"),
            ("-1/s", "`-1/s` is not a rate: the part before `/` must be a whole number"),
            ("1/m", "`1/m` is not a rate: the unit after `/` must be s, min, h or d"),
            ("3000000000/s", "`3000000000/s` is more than one per nanosecond"),
            (
                "9999999999999999999/s",
                "`9999999999999999999/s` is not a rate: the part before `/` must be a whole number",
            ),
            ("", "`` is not a rate"),
        ] {
            let told = text.parse::<Frequency>().unwrap_err();
            let (message, help) = told.split_once('\n').unwrap();
            assert_eq!(message, why);
            assert!(help.starts_with("write "), "{help}");
        }
    }

    #[test]
    fn durations_have_units() {
        let millis = |text: &str| text.parse::<Span>().map(|span| span.0.as_micros());
        assert_eq!(millis("500us"), Ok(500));
        assert_eq!(millis("7ms"), Ok(7_000));
        assert_eq!(millis("2s"), Ok(2_000_000));
        assert_eq!(millis("5m"), Ok(300_000_000));
        assert_eq!(millis("1h30m"), Ok(5_400_000_000));
        assert_eq!(millis("30d"), Ok(2_592_000_000_000));
        assert_eq!(millis("0s"), Ok(0));
        for wrong in ["", "7", "7 s", "s", "1.5s", "7S", "-1s", "5min", "1s2", "99999999999999999999s"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
        assert_eq!(
            "9999d".parse::<Span>().unwrap_err(),
            "`9999d` is longer than ten years\nwrite at most `3650d`"
        );
    }

    #[test]
    fn sizes_have_units() {
        let bytes = |text: &str| text.parse::<Size>().map(|size| size.0);
        assert_eq!(bytes("512B"), Ok(512));
        assert_eq!(bytes("10KB"), Ok(10_000));
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!(bytes("1MiB"), Ok(1 << 20));
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        for wrong in ["", "64", "64kb", "64 KiB", "KiB", "1KiB1B", "999999999999999999GiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_and_dates_have_one_form() {
        assert_eq!("20%".parse(), Ok(Share(20)));
        assert_eq!("2027-03-01".parse(), Ok(Day(1_803_859_200)));
        for wrong in ["20", "101%", "%", "2.5%"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
        for wrong in
            ["2027-3-1", "2027-02-30", "20270301", "2027-03-01T00:00", "1969-12-31", "-009999-01", "tomorrow"]
        {
            assert!(wrong.parse::<Day>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_rate_that_is_printed_reads_the_same(count in 1..1_000_000_000_u64, unit in 0..4_usize) {
            let Ok(rate) = format!("{count}/{}", PER[unit].0).parse::<Frequency>() else { return Ok(()) };
            let again: Frequency = rate.to_string().parse().unwrap();
            prop_assert_eq!(rate.interval, again.interval);
        }

        #[test]
        fn what_is_printed_reads_the_same(nanos in 0..315_360_000_000_000_000_u64, bytes in 0..=1_u64 << 50, day in 0..47_000_u64, share in 0..=100_u8) {
            let span = Span(Duration::from_nanos(nanos));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
            prop_assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
            prop_assert_eq!(Day(day * 86_400).to_string().parse(), Ok(Day(day * 86_400)));
            prop_assert_eq!(Share(share).to_string().parse(), Ok(Share(share)));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,30}|[0-9smhd/%KMGiB-]{0,30}") {
            let _ = (text.parse::<Frequency>(), text.parse::<Span>(), text.parse::<Size>());
            let _ = (text.parse::<Share>(), text.parse::<Day>());
        }
    }
}
