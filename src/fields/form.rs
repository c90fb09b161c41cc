//! Texts, and lines of fields, that are the same each time but for a few words. They are put together once and keep
//! the words that were filled in last: the next ones mostly have the same lengths, and then nothing else is written.

use super::Fields;
use super::section::{Line, NOTHING, Section, bit, is_value};

/// A text with gaps, as it was filled in last; before that they are empty.
pub struct Template {
    /// The text, and where lines begin in it if it is that of a [`Form`].
    section: Section,
    /// Where each gap begins and ends.
    gaps: Vec<(usize, usize)>,
}

/// Field lines with gaps, in the order in which they were added.
#[derive(Default)]
pub struct Form(Template);

impl Default for Template {
    fn default() -> Self {
        Self { section: NOTHING, gaps: Vec::new() }
    }
}

impl Template {
    /// The same with these parts behind it, and a gap between each two of them.
    #[must_use]
    pub fn and(mut self, parts: &[&[u8]]) -> Self {
        for (n, part) in parts.iter().enumerate() {
            let at = self.section.text.len();
            self.gaps.extend((n > 0).then_some((at, at)));
            self.section.text.extend_from_slice(part);
        }
        self
    }

    /// Fills in all gaps, with a word for each.
    pub fn fill(&mut self, words: &[&[u8]]) {
        debug_assert_eq!(words.len(), self.gaps.len(), "a word for each gap");
        self.fill_each(words);
    }

    /// All of it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.section.text
    }

    /// A gap without a word is emptied: what is in it was said to somebody else.
    fn fill_each(&mut self, words: &[&[u8]]) {
        for n in 0..self.gaps.len() {
            self.put(n, words.get(n).copied().unwrap_or_default());
        }
    }

    fn put(&mut self, n: usize, word: &[u8]) {
        let (start, end) = self.gaps[n];
        match self.section.text.get_mut(start..end) {
            Some(there) if there.len() == word.len() => there.copy_from_slice(word),
            _ => self.put_another_length(n, word),
        }
    }

    #[cold]
    fn put_another_length(&mut self, n: usize, word: &[u8]) {
        let (start, end) = self.gaps[n];
        self.section.text.splice(start..end, word.iter().copied());
        let moved = |at: usize| at - end + start + word.len();
        self.gaps[n].1 = moved(end);
        self.gaps[n + 1..].iter_mut().for_each(|gap| *gap = (moved(gap.0), moved(gap.1)));
        for line in self.section.lines.iter_mut().filter(|line| line.at as usize > start) {
            let moved = |at: u32| moved(at as usize) as u32;
            *line = Line { at: moved(line.at), value: moved(line.value) };
        }
    }
}

impl Form {
    /// The same with one line more, whose name is one in lower case. Its value is made of these parts, with a gap
    /// between each two of them. A part that could end its line is left out.
    #[must_use]
    pub fn line(mut self, name: &str, parts: &[&[u8]]) -> Self {
        let at = self.0.section.text.len();
        let value = at + name.len() + ": ".len();
        let parts: Vec<_> = parts.iter().map(|part| if is_value(part) { part } else { &b""[..] }).collect();
        self.0 = self.0.and(&[&[name.as_bytes(), b": "].concat()]).and(&parts).and(&[b"\r\n"]);
        self.0.section.note(at, value, bit(name.as_bytes()));
        self
    }

    /// Fills in a gap: whoever has the word knows that it could not end its line.
    #[inline]
    pub fn put(&mut self, gap: usize, word: &[u8]) {
        debug_assert!(is_value(word));
        self.0.put(gap, word);
    }
}

impl Fields {
    /// Adds the lines of `form` behind the others, with these words in its gaps, one for each: whoever has them knows
    /// that none could end its line.
    pub fn fill(&mut self, form: &mut Form, words: &[&[u8]]) {
        debug_assert!(words.iter().all(|word| is_value(word)));
        form.0.fill(words);
        self.add_form(form);
    }

    /// Adds the lines of `form` behind the others, as it was filled in last.
    pub fn add_form(&mut self, form: &Form) {
        self.all_mut().add_all(&form.0.section);
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
        fields.fill(&mut form, &[b"2", b"three", b""]);
        assert_eq!(fields.as_lines(), b"z: 26\r\na: one\r\nb: 2\r\nc: <three>, <>\r\nd: four\r\n");
        let values = ["z", "a", "b", "c", "d"].map(|name| fields.get(name).unwrap().to_vec());
        assert_eq!(values, [&b"26"[..], b"one", b"2", b"<three>, <>", b"four"]);
    }

    #[test]
    fn no_part_of_a_form_ends_a_line() {
        let mut form = Form::default().line("a", &[b"x\r\n", b"y", b"z\0"]);
        let mut fields = Fields::new();
        fields.fill(&mut form, &[b"1", b"2"]);
        assert_eq!(fields.as_lines(), b"a: 1y2\r\n");
    }

    #[test]
    fn a_gap_without_a_word_says_nothing_of_another_request() {
        let mut template = Template::default().and(&[b"<", b"> <", b">"]);
        template.fill(&[b"one", b"two"]);
        assert_eq!(template.as_bytes(), b"<one> <two>");
        template.fill_each(&[b"three"]);
        assert_eq!(template.as_bytes(), b"<three> <>");
        template.fill_each(&[b"", b"four", b"five"]);
        assert_eq!(template.as_bytes(), b"<> <four>");
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
                filled.fill(&mut form, &used);
                prop_assert_eq!(&filled, &plain);
                prop_assert_eq!(filled.iter().collect::<Vec<_>>(), plain.iter().collect::<Vec<_>>());
                for (name, _) in &lines {
                    prop_assert_eq!(filled.get(name), plain.get(name));
                }
            }
        }
    }
}
