//! The body of a worker's answer over HTTP/1.1, out of the bytes that came: pieces, trailers and its end (RFC 9112
//! sections 6 and 7.1). It reads nothing itself, and copies no byte of a piece.

use bytes::{Buf, Bytes};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::head::{Bad, FIELDS_MOST};

/// Extensions of all chunks of a body together, in bytes; at so many the body is broken.
const EXTENSION_BYTES: u32 = 16 << 10;
/// Hexadecimal digits of a chunk's size: 60 bits, so that nothing behind this can overflow either.
const SIZE_DIGITS: u8 = 15;

const BROKEN: Bad = Bad("the worker's chunks are not as HTTP/1.1 wants them");

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, and perhaps trailers.
    Chunked,
    /// Whatever comes until the worker ends the connection.
    UntilClose,
}

impl Framing {
    /// Takes all of the body off the front of `bytes`, if it has a length and is here: None within, if that is 0.
    pub fn take_whole(self, bytes: &mut Bytes) -> Option<Option<Bytes>> {
        let length = match self {
            Self::None => 0,
            Self::Length(length) => length,
            Self::Chunked | Self::UntilClose => return None,
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= bytes.len())?;
        Some((length > 0).then(|| bytes.split_to(length)))
    }
}

/// What comes next of a body.
#[derive(Debug)]
pub enum Step {
    /// A piece, never empty.
    Data(Bytes),
    /// The trailers, and nothing behind them.
    Trailers(HeaderMap),
    /// It is complete.
    End,
    /// More bytes have to come first.
    More,
}

/// A body on its way.
#[derive(Debug)]
pub enum Body {
    /// So many bytes are to come.
    Length(u64),
    /// Chunks.
    Chunked(Box<Chunks>),
    /// All that comes.
    UntilClose,
}

impl Body {
    /// A body that begins. Its trailers, if any, have at most `most` bytes.
    pub fn new(framing: Framing, most: usize) -> Self {
        match framing {
            Framing::None => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Box::new(Chunks::new(most))),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Takes what comes next off the front of `bytes`. Whatever of them says only how the body is framed is taken, too,
    /// also behind a piece: so the end is known together with the last piece, if it came with it.
    ///
    /// # Errors
    /// The chunks are faulty.
    pub fn next(&mut self, bytes: &mut Bytes) -> Result<Step, Bad> {
        match self {
            Self::Length(0) => Ok(Step::End),
            Self::Length(_) | Self::UntilClose if bytes.is_empty() => Ok(Step::More),
            Self::Length(left) => Ok(Step::Data(piece(bytes, left))),
            Self::UntilClose => Ok(Step::Data(std::mem::take(bytes))),
            Self::Chunked(chunks) => chunks.next(bytes),
        }
    }

    /// Whether nothing comes any more.
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.has_ended(),
            Self::UntilClose => false,
        }
    }

    /// Whether the end of the connection is the end of the body.
    pub const fn ends_with_connection(&self) -> bool {
        matches!(self, Self::UntilClose)
    }

    /// How many bytes are to come, if that is known.
    pub const fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }
}

/// So much of a length as is here.
fn piece(bytes: &mut Bytes, left: &mut u64) -> Bytes {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= length as u64;
    bytes.split_to(length)
}

/// A chunked body on its way.
#[derive(Debug)]
pub struct Chunks {
    place: Place,
    /// Of the present chunk: what its size line says so far, then what is to come of it.
    left: u64,
    digits: u8,
    extensions: u32,
    /// The trailer section so far, and how long it may become.
    section: Vec<u8>,
    most: usize,
    /// What was found behind the last piece.
    found: Option<Result<HeaderMap, Bad>>,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Size,
    /// Blanks behind a size: some servers pad it.
    Blank,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    /// The beginning of a line behind the last chunk.
    Line,
    /// Inside a trailer.
    Trailer,
    /// The LF of the empty line.
    LastLf,
    Over,
}

impl Chunks {
    const fn new(most: usize) -> Self {
        Self { place: Place::Size, left: 0, digits: 0, extensions: 0, section: Vec::new(), most, found: None }
    }

    const fn has_ended(&self) -> bool {
        matches!(self.place, Place::Over) && self.found.is_none()
    }

    fn next(&mut self, bytes: &mut Bytes) -> Result<Step, Bad> {
        self.frame(bytes);
        if let Some(found) = self.found.take() {
            return found.map(Step::Trailers);
        }
        match self.place {
            Place::Over => Ok(Step::End),
            Place::Data if !bytes.is_empty() => {
                let data = piece(bytes, &mut self.left);
                if self.left == 0 {
                    self.place = Place::DataCr;
                    self.frame(bytes);
                }
                Ok(Step::Data(data))
            }
            _ => Ok(Step::More),
        }
    }

    /// Takes everything up to the next piece.
    fn frame(&mut self, bytes: &mut Bytes) {
        let mut taken = 0;
        for byte in bytes.iter() {
            if matches!(self.place, Place::Data | Place::Over) || self.found.is_some() {
                break;
            }
            taken += 1;
            match self.after(*byte) {
                Ok(place) => self.place = place,
                Err(bad) => self.found = Some(Err(bad)),
            }
        }
        bytes.advance(taken);
    }

    fn after(&mut self, byte: u8) -> Result<Place, Bad> {
        Ok(match (self.place, byte) {
            (Place::Size, _) if byte.is_ascii_hexdigit() => self.digit(byte)?,
            (Place::Size, _) if self.digits == 0 => return Err(BROKEN),
            (Place::Size | Place::Blank, b' ' | b'\t') => self.extension(Place::Blank)?,
            (Place::Size | Place::Blank, b';') => self.extension(Place::Extension)?,
            (Place::Size | Place::Blank | Place::Extension, b'\r') => Place::SizeEnd,
            // Of a control byte in it no two parsers think the same.
            (Place::Extension, b'\t' | b' '..=b'~' | 0x80..) => self.extension(Place::Extension)?,
            (Place::SizeEnd, b'\n') => {
                self.digits = 0;
                if self.left == 0 { Place::Line } else { Place::Data }
            }
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::Size,
            (Place::Line, b'\r') => Place::LastLf,
            (Place::LastLf, b'\n') => {
                self.finish()?;
                Place::Over
            }
            (Place::Line | Place::Trailer, _) => self.trailer(byte)?,
            _ => return Err(BROKEN),
        })
    }

    fn digit(&mut self, byte: u8) -> Result<Place, Bad> {
        if self.digits == SIZE_DIGITS {
            return Err(BROKEN);
        }
        self.digits += 1;
        self.left = self.left << 4 | u64::from(char::from(byte).to_digit(16).unwrap_or(0));
        Ok(Place::Size)
    }

    fn extension(&mut self, place: Place) -> Result<Place, Bad> {
        self.extensions += 1;
        if self.extensions < EXTENSION_BYTES { Ok(place) } else { Err(BROKEN) }
    }

    fn trailer(&mut self, byte: u8) -> Result<Place, Bad> {
        self.section.push(byte);
        if self.section.len() >= self.most || (byte == b'\n' && !self.section.ends_with(b"\r\n")) {
            return Err(BROKEN);
        }
        Ok(if byte == b'\n' { Place::Line } else { Place::Trailer })
    }

    fn finish(&mut self) -> Result<(), Bad> {
        if !self.section.is_empty() {
            self.section.extend_from_slice(b"\r\n");
            self.found = Some(Ok(trailers(&std::mem::take(&mut self.section))?));
        }
        Ok(())
    }
}

fn trailers(section: &[u8]) -> Result<HeaderMap, Bad> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MOST];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut fields) else {
        return Err(BROKEN);
    };
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BROKEN)?;
        map.append(name, HeaderValue::from_bytes(field.value).map_err(|_| BROKEN)?);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A whole body as it is read, or how far it came before it broke or wanted more.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Read {
        data: Vec<u8>,
        trailers: Option<HeaderMap>,
        ended: bool,
        broken: bool,
        behind: Vec<u8>,
    }

    fn read<'a>(framing: Framing, parts: impl IntoIterator<Item = &'a [u8]>) -> Read {
        let (mut body, mut read) = (Body::new(framing, 256), Read::default());
        for part in parts {
            let mut bytes = Bytes::copy_from_slice(part);
            while !read.broken {
                match body.next(&mut bytes) {
                    Ok(Step::Data(data)) => {
                        assert!(!data.is_empty());
                        read.data.extend_from_slice(&data);
                    }
                    Ok(Step::Trailers(trailers)) => read.trailers = Some(trailers),
                    Ok(Step::More) => break,
                    Ok(Step::End) => {
                        assert!(body.has_ended());
                        read.ended = true;
                        read.behind.extend_from_slice(&bytes);
                        break;
                    }
                    Err(_) => read.broken = true,
                }
            }
        }
        read
    }

    fn whole(text: &str) -> Read {
        read(Framing::Chunked, [text.as_bytes()])
    }

    #[test]
    fn chunks_are_taken_off_and_what_is_behind_them_stays() {
        let read = whole("5\r\nhello\r\nB;x=\"y\"; z \r\n, my world\n\r\n00\r\n\r\nHTTP/1.1");
        assert_eq!(
            (&read.data[..], read.ended, &read.behind[..]),
            (&b"hello, my world\n"[..], true, &b"HTTP/1.1"[..],)
        );
        let read = whole("3  \r\nabc\r\n0\r\nX-Sum: 7\r\nx-b:\r\n\r\n");
        let trailers = read.trailers.unwrap();
        assert_eq!(
            (&read.data[..], &trailers["x-sum"], &trailers["x-b"]),
            (&b"abc"[..], &HeaderValue::from_static("7"), &HeaderValue::from_static(""),)
        );
        assert!(read.ended);
    }

    #[test]
    fn the_end_is_known_with_the_last_piece() {
        for (framing, text) in [(Framing::Chunked, "2\r\nhi\r\n0\r\n\r\n"), (Framing::Length(2), "hi")] {
            let mut body = Body::new(framing, 256);
            let mut bytes = Bytes::copy_from_slice(text.as_bytes());
            assert!(matches!(body.next(&mut bytes), Ok(Step::Data(data)) if data == "hi"));
            assert!(body.has_ended() && bytes.is_empty());
        }
        // Trailers are still to be handed on.
        let mut body = Body::new(Framing::Chunked, 256);
        let mut bytes = Bytes::from_static(b"2\r\nhi\r\n0\r\na: b\r\n\r\n");
        assert!(matches!(body.next(&mut bytes), Ok(Step::Data(_))));
        assert!(!body.has_ended());
        assert!(matches!(body.next(&mut bytes), Ok(Step::Trailers(_))));
        assert!(body.has_ended());
    }

    #[test]
    fn faulty_chunks_are_broken() {
        let long = "a".repeat(300);
        for text in [
            "0x5\r\nhello\r\n0\r\n\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            "\r\n",
            ";x\r\n",
            " 5\r\n",
            "5 5\r\n",
            "5\nhello",
            "5\rhello",
            "5;a\nhello",
            "5;a\rb\r\n",
            "5;a\0b\r\n",
            "5\r\nhelloX\r\n",
            "5\r\nhello\n",
            "5\r\nhello\r\r\n",
            "1000000000000000\r\n",
            "0000000000000001\r\n",
            "0\r\na\r\n\r\n",
            "0\r\na: b\n\r\n",
            "0\r\n: b\r\n\r\n",
            "0\r\n a: b\r\n\r\n",
            "0\r\na: b\0\r\n\r\n",
            "0\r\n\rX",
            "0\r\n\n",
            &format!("0\r\na: {long}\r\n\r\n"),
            &format!("0\r\n{}\r\n", "a:\r\n".repeat(FIELDS_MOST + 1)),
        ] {
            let read = whole(text);
            assert!(read.broken && !read.ended, "{text:?}: {read:?}");
        }
        let line = format!("1;{}\r\na\r\n", "x".repeat(100));
        assert!(!whole(&line.repeat(100)).broken);
        assert!(whole(&line.repeat(200)).broken, "extensions are bounded");
    }

    #[test]
    fn a_length_is_a_length() {
        let read = read(Framing::Length(5), [&b"hel"[..], &b"lo, world"[..]]);
        assert_eq!((&read.data[..], read.ended, &read.behind[..]), (&b"hello"[..], true, &b", world"[..]));
        let none = super::tests::read(Framing::None, [&b"x"[..]]);
        assert!(none.ended && none.data.is_empty() && none.behind == b"x");
        let open = super::tests::read(Framing::UntilClose, [&b"a"[..], &b"b"[..]]);
        assert!(!open.ended && open.data == b"ab");
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_is_the_same_body(
            pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..40), 0_usize..3), 0..6),
            trailers in prop::collection::vec("[a-z]{1,8}: [ -~]{0,12}", 0..4),
            cuts in prop::collection::vec(1_usize..20, 1..40),
            spoil in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let mut text = Vec::new();
            for (piece, padding) in &pieces {
                text.extend_from_slice(format!("{:x}{}\r\n", piece.len(), " ".repeat(*padding)).as_bytes());
                text.extend_from_slice(piece);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n");
            for trailer in &trailers {
                text.extend_from_slice(trailer.as_bytes());
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"\r\n");
            if let Some((at, byte)) = spoil {
                let at = at.index(text.len());
                text[at] = byte;
            }
            let once = read(Framing::Chunked, [&text[..]]);
            let (mut parts, mut rest, mut cut) = (Vec::new(), &text[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (part, more) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                parts.push(part);
                rest = more;
            }
            let mut cut = read(Framing::Chunked, parts);
            // What is behind the end is told for each part anew.
            if once.ended {
                cut.behind.clone_from(&once.behind);
            }
            prop_assert_eq!(&once, &cut);
            if spoil.is_none() {
                let data: Vec<u8> = pieces.iter().flat_map(|(piece, _)| piece.clone()).collect();
                prop_assert_eq!(&once.data, &data);
                prop_assert!(once.ended);
                prop_assert_eq!(once.trailers.map_or(0, |map| map.len()), trailers.len());
            }
        }
    }
}
