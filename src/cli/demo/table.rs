//! What the demo shows: the introduction, the table of each second, the summary. Text in, text out, at most 80 columns
//! where addresses allow it; [`Screen`] puts it on a terminal, redrawn in place, or one after another into a file.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

use super::dns::SRV_NAME;
use super::front::Addresses;
use super::tally::{Interval, Place, Summary, due_shares, shares};
use super::traffic::{CAST, PATH};

/// Where text goes, and whether frames are drawn over each other.
pub(super) struct Screen {
    out: Box<dyn Write>,
    redraw: bool,
    /// Lines of the frame that stands there now.
    drawn: usize,
}

impl Screen {
    /// `redraw` only where `out` is a terminal.
    pub(super) fn new(out: Box<dyn Write>, redraw: bool) -> Self {
        Self { out, redraw, drawn: 0 }
    }

    /// Text that stays; the next frame stands below it.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        self.drawn = 0;
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// The frame of this second, in place of the one before if that is possible.
    pub(super) fn show(&mut self, frame: &str) -> io::Result<()> {
        if self.redraw {
            if self.drawn > 0 {
                write!(self.out, "\x1b[{}A\x1b[J", self.drawn)?;
            }
            // Without wrapping (DECAWM), a frame has as many rows as lines however narrow the terminal is.
            write!(self.out, "\x1b[?7l{frame}\x1b[?7h")?;
            self.drawn = frame.lines().count();
        } else {
            self.out.write_all(frame.as_bytes())?;
        }
        self.out.flush()
    }
}

/// What runs where, and what to try.
pub(super) fn introduction(addresses: &Addresses, config: &Path, program: &Path) -> String {
    let Addresses { service, admin, dns } = addresses;
    let (good, forbidden) = (&CAST[0], &CAST[3]);
    let (config, program) = (config.display(), program.display());
    format!(
        "Buckler's demo: three workers, a DNS server that announces them, Buckler in
front, four callers.

  service   http://{service}   the one port
  admin     http://{admin}
  workers   SRV {SRV_NAME}, asked of {dns}
  config    {config} (removed at the end)

Try in another terminal:
  # a caller with a key
  curl -i -H 'x-api-key: {}' http://{service}{PATH}
  # no key: the caller is the address, with the default quota
  curl -i http://{service}{PATH}
  # refused: a rule denies this caller
  curl -i -H 'x-api-key: {}' http://{service}{PATH}
  # refused: a key that nobody has never falls through to the address
  curl -i -H 'x-api-key: guessed' http://{service}{PATH}
  # refused: a path for staff only
  curl -i http://{service}/admin/users
  # looking inside
  curl -s http://{admin}/metrics
  curl -s http://{admin}/api/v1/status
  {program} explain -c {config} --service playlist --method GET --path /admin/users --address 127.0.0.1
  dig @{} -p {} +short SRV {SRV_NAME}

",
        good.key,
        forbidden.key,
        dns.ip(),
        dns.port(),
    )
}

/// The table of one interval: what the callers saw, what the workers did.
pub(super) fn frame(title: &str, interval: &Interval, workers: &[(Place, String)]) -> String {
    let mut text = format!(
        "{title}\n\n{:<10}{:<15}{:>7}{:>8}{:>8}{:>7}{:>5}  {}\n",
        "CALLER", "MAY", "SENT/S", "ALLOWED", "REFUSED", "FAILED", "MS", "WHY"
    );
    for (caller, count) in CAST.iter().zip(&interval.callers) {
        let whys: Vec<_> = count.whys().into_iter().map(|(why, _)| why).collect();
        let millis = count.mean_millis().map_or_else(|| "-".into(), |millis| format!("{millis:.1}"));
        row(
            &mut text,
            &format!(
                "{:<10}{:<15}{:>7}{:>8}{:>8}{:>7}{:>5}  {}",
                caller.name,
                caller.part,
                interval.per_second(count.sent()),
                interval.per_second(count.allowed),
                interval.per_second(count.refused_in_all()),
                interval.per_second(count.failed),
                millis,
                whys.join(", "),
            ),
        );
    }
    row(&mut text, "");
    row(
        &mut text,
        &format!(
            "{:<10}{:<19}{:>8}{:>8}  {:<8}{:>9}{:>8}{:>8}",
            "WORKER", "ADDRESS", "PRIORITY", "WEIGHT", "STATE", "SERVED/S", "SHARE", "DUE"
        ),
    );
    let places: Vec<_> = workers.iter().map(|(place, _)| *place).collect();
    let figures = shares(&interval.served).into_iter().zip(due_shares(&places));
    for (((place, address), served), (share, due)) in workers.iter().zip(&interval.served).zip(figures) {
        row(
            &mut text,
            &format!(
                "{:<10}{:<19}{:>8}{:>8}  {:<8}{:>9}{:>8}{:>8}",
                place.name,
                address,
                place.priority,
                place.weight,
                if place.up { "running" } else { "stopped" },
                interval.per_second(*served),
                percent(share),
                percent(due),
            ),
        );
    }
    row(&mut text, "");
    text
}

/// The same over the whole run.
pub(super) fn summary(summary: &Summary) -> String {
    let mut text = format!(
        "Summary of {:.1} s\n\n{:<10}{:>8}{:>9}{:>11}{:>9}{:>8}  {}\n",
        summary.seconds, "CALLER", "SENT", "ALLOWED", "ALLOWED/S", "REFUSED", "FAILED", "WHY"
    );
    for caller in &summary.callers {
        let whys: Vec<_> = caller.reasons.iter().map(|(why, count)| format!("{why}: {count}")).collect();
        row(
            &mut text,
            &format!(
                "{:<10}{:>8}{:>9}{:>11.1}{:>9}{:>8}  {}",
                caller.name,
                caller.sent,
                caller.allowed,
                caller.allowed_per_second,
                caller.refused,
                caller.failed,
                whys.join(", "),
            ),
        );
    }
    row(&mut text, "");
    row(
        &mut text,
        &format!(
            "{:<10}{:>8}{:>9}{:>11}{:>9}{:>8}",
            "WORKER", "PRIORITY", "WEIGHT", "SERVED", "SHARE", "DUE"
        ),
    );
    for worker in &summary.workers {
        row(
            &mut text,
            &format!(
                "{:<10}{:>8}{:>9}{:>11}{:>9}{:>8}",
                worker.name,
                worker.priority,
                worker.weight,
                worker.served,
                percent(worker.share),
                percent(worker.due_share),
            ),
        );
    }
    text.push_str("DUE is the share by SRV priority and weight, with the stops taken into account.\n\n");
    text
}

fn row(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", line.trim_end());
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::tally::{CallerCount, Due, WHYS, why_of};
    use super::*;

    fn workers() -> Vec<(Place, String)> {
        vec![
            (Place { name: "a", priority: 10, weight: 3, up: true }, "127.0.0.1:40001".into()),
            (Place { name: "b", priority: 10, weight: 1, up: false }, "127.0.0.1:40002".into()),
            (Place { name: "c", priority: 20, weight: 1, up: true }, "127.0.0.1:40003".into()),
        ]
    }

    fn interval() -> Interval {
        let mut refused = [0; WHYS];
        refused[why_of(Some("caller_rate"))] = 40;
        let quiet = CallerCount { allowed: 4, allowed_micros: 3200, ..CallerCount::default() };
        let noisy = CallerCount { allowed: 20, allowed_micros: 20_000, failed: 1, refused };
        let mut denied = [0; WHYS];
        denied[why_of(Some("denied_by_rule"))] = 3;
        let forbidden = CallerCount { refused: denied, ..CallerCount::default() };
        Interval { seconds: 1.0, callers: vec![quiet, quiet, noisy, forbidden], served: vec![28, 0, 0] }
    }

    #[test]
    fn the_table_says_who_was_refused_why_and_who_served() {
        let text = frame("second 4 of 10", &interval(), &workers());
        let expected = "\
second 4 of 10

CALLER    MAY             SENT/S ALLOWED REFUSED FAILED   MS  WHY
quiet     default 20/s         4       4       0      0  0.8
batch     agreement 100/s      4       4       0      0  0.8
noisy     default 20/s        61      20      40      1  1.0  429 caller_rate
forbidden a rule denies        3       0       3      0    -  403 denied_by_rule

WORKER    ADDRESS            PRIORITY  WEIGHT  STATE    SERVED/S   SHARE     DUE
a         127.0.0.1:40001          10       3  running        28   100 %   100 %
b         127.0.0.1:40002          10       1  stopped         0     0 %     0 %
c         127.0.0.1:40003          20       1  running         0     0 %     0 %

";
        assert_eq!(text, expected);
        assert!(text.lines().all(|line| line.len() <= 80), "a terminal of 80 columns cuts it off:\n{text}");
    }

    #[test]
    fn the_summary_counts_every_reason() {
        let places: Vec<_> = workers().into_iter().map(|(place, _)| place).collect();
        let names: Vec<_> = CAST.iter().map(|caller| caller.name).collect();
        let mut due = Due::default();
        due.add(&interval(), &places);
        let text = summary(&Summary::new(&interval(), &names, &places, &due));
        assert!(
            text.contains("noisy           61       20       20.0       40       1  429 caller_rate: 40"),
            "{text}"
        );
        assert!(text.contains("a               10        3         28    100 %   100 %"), "{text}");
    }

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn drawn(redraw: bool) -> String {
        let paper = Paper::default();
        let mut screen = Screen::new(Box::new(paper.clone()), redraw);
        screen.say("hello\n").unwrap();
        screen.show("one\ntwo\n").unwrap();
        screen.show("three\nfour\n").unwrap();
        let bytes = paper.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn frames_follow_each_other_plainly_where_there_is_no_terminal() {
        assert_eq!(drawn(false), "hello\none\ntwo\nthree\nfour\n");
    }

    #[test]
    fn on_a_terminal_a_frame_replaces_the_one_before_and_nothing_else() {
        let expected = "hello\n\x1b[?7lone\ntwo\n\x1b[?7h\x1b[2A\x1b[J\x1b[?7lthree\nfour\n\x1b[?7h";
        assert_eq!(drawn(true), expected);
    }
}
