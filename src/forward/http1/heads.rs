//! Heads that workers say again, or nearly. Within a second most answers of one length, and all in chunks, have the
//! same head byte for byte, since nothing but `Date` tells them apart; others differ by a length, a tag or an id, in
//! lines of the same names. Of those only what is new is read. What a head means stands in `head.rs`.

use std::cell::RefCell;
use std::fmt;

use http::Method;

use super::body::Framing;
use super::head::{self, Bad, Head, digits};
use super::lines::{self, Found, Line, StatusLine, plain_value};

/// The longest head that is kept, in bytes.
const KEPT_BYTES: usize = 4096;
/// After so many heads in a row that were not the one that is kept, another one is: where answers of two kinds come
/// by turns, that one stays.
const FEW: u32 = 2;
/// After so many, only one in [`SELDOM`] is kept: where no two answers are the same, keeping them would be work for
/// nothing.
const MISSES: u32 = 8;
const SELDOM: u32 = 64;

/// How the heads of answers are read on one way, and the last one that was kept.
pub(in crate::forward) struct Heads {
    /// `bounds.response_head_bytes`.
    most: usize,
    last: RefCell<Last>,
}

#[derive(Default)]
struct Last {
    /// All of it, as it came.
    text: Vec<u8>,
    /// It answered HEAD, which nothing else of the request matters for.
    to_head: bool,
    head: Option<Head>,
    /// Where its first line ends, and the lines behind it.
    first: usize,
    lines: Vec<KeptLine>,
    /// Heads in a row that were others.
    misses: u32,
}

/// A line of the head that is kept.
struct KeptLine {
    /// Where it ends, CRLF and all.
    end: usize,
    /// How many bytes stand in front of its value.
    before: usize,
    says: Says,
}

/// What the value of a line is for.
#[derive(Clone, Copy)]
enum Says {
    /// The client alone: it is the value of the head's nth field, and nothing else depends on it.
    Nothing(usize),
    /// How long the body is. It is that of the nth field as well.
    Length(usize),
    /// Something that the rest of the head depends on, or it is not written as nearly everybody does.
    More,
}

impl Heads {
    /// Of at most `most` bytes each; none was read yet.
    pub(in crate::forward) fn new(most: usize) -> Self {
        Self { most, last: RefCell::default() }
    }

    /// Of how many bytes a head may be.
    pub(in crate::forward) const fn most(&self) -> usize {
        self.most
    }

    /// Reads the head that `bytes` begin with, as [`head::read`] does.
    ///
    /// # Errors
    /// As there.
    pub(super) fn read(&self, bytes: &[u8], method: &Method) -> Result<Option<(Head, usize)>, Bad> {
        let mut last = self.last.borrow_mut();
        if let Some(head) = last.again(bytes, method) {
            return Ok(Some(head));
        }
        let read = match last.alike(bytes, method, self.most) {
            None => head::read(bytes, method, self.most)?,
            alike => alike,
        };
        if let Some((head, length)) = &read
            && !head.status.is_informational()
        {
            last.keep(head, &bytes[..*length], method);
        }
        Ok(read)
    }
}

impl Last {
    /// The same head, and its length. A head ends with its first empty line, whatever follows.
    #[inline]
    fn again(&mut self, bytes: &[u8], method: &Method) -> Option<(Head, usize)> {
        let head = self.head.as_ref()?;
        if !bytes.starts_with(&self.text) || self.to_head != (*method == Method::HEAD) {
            return None;
        }
        self.misses = 0;
        Some((head.clone(), self.text.len()))
    }

    /// The head that `bytes` begin with, if it differs from the one that is kept in nothing but values that say nothing
    /// more than themselves.
    fn alike(&self, bytes: &[u8], method: &Method, most: usize) -> Option<(Head, usize)> {
        let kept = self.head.as_ref()?;
        if !bytes.starts_with(&self.text[..self.first]) || self.to_head != (*method == Method::HEAD) {
            return None;
        }
        let (mut at, mut begin, mut head) = (self.first, self.first, None);
        for KeptLine { end, before, says } in &self.lines {
            let (line, rest) = (&self.text[begin..*end], &bytes[at..]);
            begin = *end;
            if rest.starts_with(line) {
                at += line.len();
                continue;
            }
            if !rest.starts_with(&line[..*before]) {
                return None;
            }
            let value = plain_value(&rest[*before..])?;
            at += before + value.len() + 2;
            let head = head.get_or_insert_with(|| kept.clone());
            let n = match *says {
                Says::Nothing(n) => n,
                Says::Length(n) => {
                    let length = digits(value)?;
                    if let Framing::Length(before) = &mut head.framing {
                        *before = length;
                    }
                    n
                }
                Says::More => return None,
            };
            head.fields.put_nth(n, value);
        }
        let (head, end) = (head?, at + 2);
        (bytes.get(at..end)? == b"\r\n" && end <= most).then_some((head, end))
    }

    fn keep(&mut self, head: &Head, text: &[u8], method: &Method) {
        self.misses = self.misses.wrapping_add(1);
        let is_wanted = match self.misses {
            misses if misses < FEW => self.head.is_none(),
            misses => misses <= MISSES || misses.is_multiple_of(SELDOM),
        };
        if !is_wanted || text.len() > KEPT_BYTES {
            return;
        }
        self.text.clear();
        self.text.reserve_exact(text.len());
        self.text.extend_from_slice(text);
        self.to_head = *method == Method::HEAD;
        self.note_lines(head);
        self.head = Some(head.clone());
    }

    /// Notes where the lines stand, and what each says. One whose field does not go on says something.
    fn note_lines(&mut self, head: &Head) {
        let text = &self.text[..];
        self.lines.clear();
        self.first = StatusLine::read(text).ok().flatten().map_or(0, |line| line.end);
        let (mut at, mut fields) = (self.first, head.fields.iter().enumerate().peekable());
        let mut lengths = 0;
        while let Ok(Found::Field(Line { field, is_plain, next })) = lines::line(text, at) {
            let (name, value) = (&text[field.name], &text[field.value.clone()]);
            let goes_on = |(_, (other, same)): &(usize, (&[u8], &[u8]))| {
                name.eq_ignore_ascii_case(other) && value == *same
            };
            let is_length = name.eq_ignore_ascii_case(b"content-length");
            lengths += u32::from(is_length);
            let says = match fields.next_if(goes_on) {
                Some((n, _)) if is_plain && is_length => Says::Length(n),
                Some((n, _)) if is_plain && head::says_nothing(name) => Says::Nothing(n),
                _ => Says::More,
            };
            self.lines.push(KeptLine { end: next, before: field.value.start - at, says });
            at = next;
        }
        if lengths > 1 {
            // Of several all must be the same.
            let of_length = self.lines.iter_mut().filter(|line| matches!(line.says, Says::Length(_)));
            of_length.for_each(|line| line.says = Says::More);
        }
    }
}

/// Nothing of the head: a value may be somebody's secret.
impl fmt::Debug for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heads").field("most", &self.most).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 120;

    fn is_kept(heads: &Heads, text: &str) -> bool {
        heads.last.borrow().text == text.as_bytes()
    }

    fn answer(n: usize) -> String {
        format!("HTTP/1.1 200 OK\r\nx-{n}: 1\r\ncontent-length: 7\r\n\r\n")
    }

    #[test]
    fn the_last_head_is_kept_and_one_too_long_or_interim_is_not() {
        let heads = Heads::new(1 << 20);
        let read = |text: &str| heads.read(text.as_bytes(), &Method::GET).unwrap().unwrap();
        read(&answer(7));
        assert!(is_kept(&heads, &answer(7)));
        read("HTTP/1.1 103 Early Hints\r\n\r\n");
        read(&format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(KEPT_BYTES)));
        assert!(is_kept(&heads, &answer(7)));
        read(&answer(8));
        assert!(is_kept(&heads, &answer(8)));
    }

    #[test]
    fn where_no_two_are_alike_few_are_kept_until_one_comes_again() {
        let heads = Heads::new(1 << 20);
        let keeps = |n: usize| {
            heads.read(answer(n).as_bytes(), &Method::GET).unwrap();
            is_kept(&heads, &answer(n))
        };
        let kept = (0..6400).filter(|n| keeps(*n)).count();
        assert_eq!(kept, MISSES as usize + 6400 / SELDOM as usize);
        while !keeps(1) {}
        assert!(keeps(1) && !keeps(2) && keeps(2), "one came again, and then another one twice");
    }

    #[test]
    fn of_a_head_with_other_values_only_those_are_read() {
        let heads = Heads::new(MOST);
        let text = |tag: &str, length: &str| {
            format!("HTTP/1.1 200 OK\r\nETag: {tag}\r\nX: y\r\nContent-Length: {length}\r\n\r\n")
        };
        let read = |text: &str| heads.read(text.as_bytes(), &Method::GET);
        read(&text("\"a\"", "7")).unwrap();
        for (tag, length) in
            [("\"a\"", "7"), ("\"b\"", "7"), ("\"long\"", "0"), ("", "12345"), ("\"c\"", "8")]
        {
            let text = text(tag, length);
            assert!(
                heads.last.borrow().alike(text.as_bytes(), &Method::GET, MOST).is_some()
                    || is_kept(&heads, &text)
            );
            let (head, end) = read(&text).unwrap().unwrap();
            let lines = format!("etag: {tag}\r\nx: y\r\ncontent-length: {length}\r\n");
            assert_eq!(head.fields.as_lines(), lines.as_bytes());
            assert_eq!(
                ["etag", "x", "content-length"].map(|name| head.fields.get(name)),
                [Some(tag.as_bytes()), Some(b"y"), Some(length.as_bytes())]
            );
            assert_eq!((head.framing, end), (Framing::Length(length.parse().unwrap()), text.len()));
        }
        for wrong in ["7 7", "+7", "7,7", "9223372036854775808", "7\0"] {
            assert!(read(&text("\"a\"", wrong)).is_err(), "{wrong}");
        }
        assert!(read(&text(&"x".repeat(MOST), "7")).is_err(), "it is too long");
    }

    #[test]
    fn what_is_changed_of_an_answer_is_not_said_with_the_next_one() {
        let heads = Heads::new(MOST);
        for _ in 0..3 {
            let (mut head, _) = heads.read(answer(7).as_bytes(), &Method::GET).unwrap().unwrap();
            assert_eq!(head.fields.as_lines(), b"x-7: 1\r\ncontent-length: 7\r\n");
            head.fields.add("x-request-id", b"1");
        }
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            3 => "date: Sun, 22 Nov 2026 17:11:5[45] GMT",
            3 => "Content-Length: [56]",
            1 => "Content-Length: [0-9+, ]{0,3}",
            1 => "transfer-encoding: (chunked|gzip)",
            2 => "connection: (close|keep-alive|etag)",
            1 => "keep-alive: timeout=[56]",
            4 => "ETag:[ab ]{0,3}",
            1 => "(etag|x-buckler-caller|upgrade): [ab]",
            1 => "x : y",
        ];
        let status = prop_oneof![6 => Just("200 OK"), 1 => Just("103 Early"), 1 => Just("204 No")];
        let begin = prop_oneof![9 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0")];
        (begin, status, prop::collection::vec(line, 0..5), "(hello)?").prop_map(
            |(begin, status, lines, behind)| {
                let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
                format!("{begin} {status}\r\n{lines}\r\n{behind}").into_bytes()
            },
        )
    }

    /// Which text, where it is cut, whether it answers HEAD, and whether it is cut at all.
    fn read_once() -> impl Strategy<Value = (prop::sample::Index, prop::sample::Index, bool, u8)> {
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>(), 0..4_u8)
    }

    proptest! {
        /// Of the same texts, cut or not, in any order and again and again.
        #[test]
        fn a_head_is_what_it_is_without_those_before_it(
            texts in prop::collection::vec(text(), 1..4),
            order in prop::collection::vec(read_once(), 1..40),
        ) {
            let heads = Heads::new(MOST);
            for (which, cut, is_head, cuts) in order {
                let text = which.get(&texts);
                let length = if cuts == 0 { cut.index(text.len() + 1) } else { text.len() };
                let method = if is_head { Method::HEAD } else { Method::GET };
                let told = |read: Result<Option<(Head, usize)>, Bad>| format!("{read:?}");
                let lines = |read: &Result<Option<(Head, usize)>, Bad>| match read {
                    Ok(Some((head, _))) => head.fields.as_lines().to_vec(),
                    _ => Vec::new(),
                };
                let with = heads.read(&text[..length], &method);
                let without = head::read(&text[..length], &method, MOST);
                prop_assert_eq!(lines(&with), lines(&without));
                prop_assert_eq!(told(with), told(without));
            }
        }
    }
}
