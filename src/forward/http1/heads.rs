//! Heads that workers say again. Within a second most answers of one length, and all in chunks, have the same head byte
//! for byte, since nothing but `Date` tells them apart: one that was read a moment ago is not read anew. What a head
//! means stands in `head.rs`.

use std::cell::RefCell;
use std::fmt;

use http::Method;

use super::head::{self, Bad, Head};

/// The longest head that is kept, in bytes.
const KEPT_BYTES: usize = 4096;
/// After so many heads in a row that were not the one before, only one in [`SELDOM`] is kept: where no two answers are
/// alike, keeping them would be work for nothing.
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
    /// Heads in a row that were others.
    misses: u32,
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
        let read = head::read(bytes, method, self.most)?;
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

    fn keep(&mut self, head: &Head, text: &[u8], method: &Method) {
        self.misses = self.misses.wrapping_add(1);
        if text.len() > KEPT_BYTES || (self.misses > MISSES && !self.misses.is_multiple_of(SELDOM)) {
            return;
        }
        self.text.clear();
        self.text.reserve_exact(text.len());
        self.text.extend_from_slice(text);
        self.to_head = *method == Method::HEAD;
        self.head = Some(head.clone());
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
        format!("HTTP/1.1 200 OK\r\ncontent-length: {n}\r\n\r\n")
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
        assert!(keeps(1) && keeps(2), "one came again");
    }

    #[test]
    fn what_is_changed_of_an_answer_is_not_said_with_the_next_one() {
        let heads = Heads::new(MOST);
        for _ in 0..3 {
            let (mut head, _) = heads.read(answer(7).as_bytes(), &Method::GET).unwrap().unwrap();
            assert_eq!(head.fields.as_lines(), b"content-length: 7\r\n");
            head.fields.add("x-request-id", b"1");
        }
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            4 => Just("date: Sun, 22 Nov 2026 17:11:54 GMT"),
            2 => Just("Content-Length: 5"),
            1 => Just("Content-Length: 6"),
            1 => Just("transfer-encoding: chunked"),
            1 => Just("connection: close"),
            1 => Just("keep-alive: timeout=5"),
            1 => Just("x : y"),
        ];
        let status = prop_oneof![6 => Just("200 OK"), 1 => Just("103 Early"), 1 => Just("204 No")];
        let begin = prop_oneof![9 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0")];
        (begin, status, prop::collection::vec(line, 0..4), "(hello)?").prop_map(
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
