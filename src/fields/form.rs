//! Lines of fields, and what may stand behind them, that are the same each time but for a few words. They are put
//! together once and keep the words that were filled in last: the next ones mostly have the same lengths, and then
//! nothing else is written.

use super::Fields;
use super::section::{Line, NOTHING, Section, bit, is_value, replace};

/// Field lines with gaps, in the order in which they were added; behind them a text with gaps, if any. Gaps are
/// numbered as they come; they are empty, or hold what was filled in last.
pub struct Form {
    /// All of it, and where the lines begin in it.
    section: Section,
    /// Where each gap begins and ends.
    gaps: Vec<(usize, usize)>,
    /// Where the lines end.
    end: usize,
}

impl Default for Form {
    fn default() -> Self {
        Self { section: NOTHING, gaps: Vec::new(), end: 0 }
    }
}

impl Form {
    /// The same with one line more, whose name is one in lower case. Its value is made of these parts, with a gap
    /// between each two of them. A part that could end its line is left out. Lines come before all else.
    #[must_use]
    pub fn line(mut self, name: &str, parts: &[&[u8]]) -> Self {
        debug_assert_eq!(self.end, self.section.text.len(), "nothing but lines yet");
        let at = self.end;
        let value = at + name.len() + ": ".len();
        let parts: Vec<_> = parts.iter().map(|part| if is_value(part) { part } else { &b""[..] }).collect();
        self = self.behind(&[&[name.as_bytes(), b": "].concat()]).behind(&parts).behind(&[b"\r\n"]);
        self.section.note(at, value, bit(name.as_bytes()));
        self.end = self.section.text.len();
        self
    }

    /// The same with these parts behind it, and a gap between each two of them.
    #[must_use]
    pub fn behind(mut self, parts: &[&[u8]]) -> Self {
        for (n, part) in parts.iter().enumerate() {
            let at = self.section.text.len();
            self.gaps.extend((n > 0).then_some((at, at)));
            self.section.text.extend_from_slice(part);
        }
        self
    }

    /// How many gaps there are: the number of the next one.
    pub fn gaps(&self) -> usize {
        self.gaps.len()
    }

    /// Fills in a gap. Of one in a line, whoever has the word knows that it could not end the line.
    #[inline]
    pub fn put(&mut self, gap: usize, word: &[u8]) {
        let (start, end) = self.gaps[gap];
        debug_assert!(start >= self.end || is_value(word), "a line stays one");
        match self.section.text.get_mut(start..end) {
            Some(there) if there.len() == word.len() => there.copy_from_slice(word),
            _ => self.put_another_length(gap, word),
        }
    }

    #[cold]
    fn put_another_length(&mut self, gap: usize, word: &[u8]) {
        let (start, end) = self.gaps[gap];
        replace(&mut self.section.text, start..end, word);
        let moved = |at: usize| at - end + start + word.len();
        self.gaps[gap].1 = moved(end);
        self.gaps[gap + 1..].iter_mut().for_each(|gap| *gap = (moved(gap.0), moved(gap.1)));
        // What stands behind the lines is none of them, even if it follows at once.
        if self.end > start {
            self.end = moved(self.end);
        }
        for line in self.section.lines.iter_mut().filter(|line| line.at as usize > start) {
            let moved = |at: u32| moved(at as usize) as u32;
            *line = Line { at: moved(line.at), value: moved(line.value) };
        }
    }

    /// All of it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.section.text
    }

    /// The lines, as a head of HTTP/1.1 has them.
    pub fn as_lines(&self) -> &[u8] {
        &self.section.text[..self.end]
    }

    /// What stands behind this gap.
    pub fn after(&self, gap: usize) -> &[u8] {
        &self.section.text[self.gaps[gap].1..]
    }
}

impl Fields {
    /// Adds the lines of `form` behind the others, as it was filled in last.
    pub fn add_form(&mut self, form: &Form) {
        self.all_mut().add_lines(form.as_lines(), &form.section);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_form_is_filled_in_as_if_each_line_were_written() {
        let mut form = Form::default()
            .line("a", &[b"one"])
            .line("b", &[b"", b""])
            .line("c", &[b"<", b">, <", b">"])
            .line("d", &[b"four"]);
        let mut fields = Fields::new();
        fields.add("z", b"26");
        [&b"2"[..], b"three", b""].iter().enumerate().for_each(|(gap, word)| form.put(gap, word));
        fields.add_form(&form);
        assert_eq!(fields.as_lines(), b"z: 26\r\na: one\r\nb: 2\r\nc: <three>, <>\r\nd: four\r\n");
        let values = ["z", "a", "b", "c", "d"].map(|name| fields.get(name).unwrap().to_vec());
        assert_eq!(values, [&b"26"[..], b"one", b"2", b"<three>, <>", b"four"]);
    }

    #[test]
    fn no_part_of_a_form_ends_a_line() {
        let mut form = Form::default().line("a", &[b"x\r\n", b"y", b"z\0"]);
        let mut fields = Fields::new();
        form.put(0, b"1");
        form.put(1, b"2");
        fields.add_form(&form);
        assert_eq!(fields.as_lines(), b"a: 1y2\r\n");
    }

    #[test]
    fn what_stands_behind_the_lines_is_none_of_them() {
        let mut form =
            Form::default().line("a", &[b"<", b">"]).line("b", &[b"2"]).behind(&[b"", b"\r\n[", b"]"]);
        assert_eq!(form.gaps(), 3);
        for (a, more, text) in [("one", "c: 3\r\n", "x"), ("", "", ""), ("three", "d: 44\r\n", "xyz")] {
            for (gap, word) in [text, more, a].into_iter().enumerate() {
                form.put(2 - gap, word.as_bytes());
            }
            let (lines, behind) = (format!("a: <{a}>\r\nb: 2\r\n"), format!("\r\n[{text}]"));
            assert_eq!(form.as_lines(), lines.as_bytes());
            assert_eq!(form.as_bytes(), format!("{lines}{more}{behind}").as_bytes());
            assert_eq!(form.after(1), behind.as_bytes());
            let mut fields = Fields::new();
            fields.add_form(&form);
            assert_eq!((fields.as_lines(), fields.get("b")), (lines.as_bytes(), Some(&b"2"[..])));
        }
    }

    proptest! {
        #[test]
        fn a_form_gives_what_its_lines_would_however_it_was_filled_in_before(
            lines in proptest::collection::vec(("[a-z]{1,9}", proptest::collection::vec("[ -~]{0,20}", 1..4)), 0..6),
            heads in proptest::collection::vec(proptest::collection::vec("[ -~]{0,12}", 12), 1..4),
            before: bool,
        ) {
            let mut form = Form::default();
            for (name, parts) in &lines {
                form = form.line(name, &parts.iter().map(String::as_bytes).collect::<Vec<_>>());
            }
            for words in &heads {
                let (mut plain, mut filled) = (Fields::new(), Fields::new());
                if before {
                    plain.add("host", b"example.com");
                    filled.add("host", b"example.com");
                }
                let mut next = words.iter();
                let mut used = Vec::new();
                for (name, parts) in &lines {
                    let mut value = parts[0].clone();
                    for part in &parts[1..] {
                        let word = next.next().unwrap();
                        used.push(word.as_bytes());
                        value += word;
                        value += part;
                    }
                    plain.add(name, value.as_bytes());
                }
                used.iter().enumerate().for_each(|(gap, word)| form.put(gap, word));
                filled.add_form(&form);
                prop_assert_eq!(&filled, &plain);
                prop_assert_eq!(filled.iter().collect::<Vec<_>>(), plain.iter().collect::<Vec<_>>());
                for (name, _) in &lines {
                    prop_assert_eq!(filled.get(name), plain.get(name));
                }
            }
        }
    }
}
