//! Rust's text without its comments and literals, as far as `tidy` needs it: enough to count braces and find words.

/// What stands for a character of a comment or a text.
pub(crate) const BLANK: char = '\u{1}';

/// The text with comments and the insides of texts and characters blanked out, line by line as before.
pub(crate) fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let end = match chars[i] {
            '/' if chars.get(i + 1) == Some(&'/') => line_end(&chars, i),
            '/' if chars.get(i + 1) == Some(&'*') => comment_end(&chars, i),
            '"' => text_end(&chars, i, raw_hashes(&chars, i)),
            '\'' => character_end(&chars, i),
            _ => i,
        };
        if end == i {
            out.push(chars[i]);
            i += 1;
            continue;
        }
        for (at, c) in chars[i..end].iter().enumerate() {
            let quote = *c == '"' && (at == 0 || at == end - i - 1);
            out.push(if *c == '\n' || quote { *c } else { BLANK });
        }
        i = end;
    }
    out
}

fn line_end(chars: &[char], start: usize) -> usize {
    (start..chars.len()).find(|i| chars[*i] == '\n').unwrap_or(chars.len())
}

fn comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut i = start;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 1),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 1),
            _ => {}
        }
        i += 1;
        if depth == 0 {
            break;
        }
    }
    i
}

/// None: an ordinary text. Some: a raw one with so many `#`.
fn raw_hashes(chars: &[char], quote: usize) -> Option<usize> {
    let hashes = chars[..quote].iter().rev().take_while(|c| **c == '#').count();
    let before = quote.checked_sub(hashes + 1)?;
    (chars[before] == 'r').then_some(hashes)
}

fn text_end(chars: &[char], start: usize, raw: Option<usize>) -> usize {
    let mut i = start + 1;
    while i < chars.len() {
        match (chars[i], raw) {
            ('\\', None) => i += 1,
            ('"', None) => return i + 1,
            ('"', Some(n)) if chars[i + 1..].iter().take(n).filter(|c| **c == '#').count() == n => {
                return i + 1;
            }
            _ => {}
        }
        i += 1;
    }
    chars.len()
}

/// The end of a character; a lifetime has none.
fn character_end(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), _) => (start + 3..chars.len()).find(|i| chars[*i] == '\'').map_or(start, |i| i + 1),
        (Some(_), Some('\'')) => start + 3,
        _ => start,
    }
}
