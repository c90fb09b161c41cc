//! `buckler key`: makes an API key, or hashes a given one. The configuration takes the hash; the key itself is shown
//! once, here, and kept nowhere.

use std::io::{self, BufRead};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use serde::Serialize;

use super::arguments::Key;
use super::exit::Exit;
use super::output;

/// Random bytes of a key: 192 bits, beyond guessing.
const KEY_BYTES: usize = 24;

/// The longest key that is taken, in bytes; a header has to hold it.
const LONGEST_KEY: usize = 4096;

/// Stands in front of a key that was made here, so that people and secret scanners know one when they see it.
const PREFIX: &str = "bkl_";

#[derive(Serialize)]
struct Made {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    hash: String,
    yaml: String,
}

/// Runs the command.
pub(super) fn run(arguments: &Key) -> Exit {
    let (key, is_new) = if arguments.stdin {
        match first_line(io::stdin().lock()) {
            Ok(key) => (key, false),
            Err(why) => return output::failed(&format!("standard input: {why}")),
        }
    } else {
        match random_key() {
            Some(key) => (key, true),
            None => return output::failed("the system gives no random numbers"),
        }
    };
    let hash = hash(&key);
    let yaml = format!("api_keys: [\"{hash}\"]");
    let made = Made { key: is_new.then_some(key), hash, yaml };
    if arguments.json {
        return output::json(&made);
    }
    let key = made.key.as_ref().map(|key| format!("key:  {key}\n")).unwrap_or_default();
    let exit = output::data(&format!("{key}hash: {}\nyaml: {}\n", made.hash, made.yaml));
    if is_new {
        output::say("Give the key to the caller, who sends it as x-api-key; nobody can show it again.");
    }
    output::say("Put the yaml line under callers.known.NAME in the configuration.");
    exit
}

/// The key on the first line, as the header will carry it.
///
/// # Errors
///
/// Why it is none, in words.
pub(super) fn first_line(input: impl BufRead) -> Result<String, String> {
    let mut line = Vec::new();
    let mut bounded = input.take(LONGEST_KEY as u64 + 3);
    bounded.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line {
        [] => Err("there is no key on the first line".to_owned()),
        _ if line.len() > LONGEST_KEY => Err(format!("the key is longer than {LONGEST_KEY} bytes")),
        _ => match std::str::from_utf8(line) {
            Ok(key) if key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(key.to_owned()),
            _ => Err("the key may only have visible ASCII characters, and no blanks: a header carries it"
                .to_owned()),
        },
    }
}

/// `sha256:` and the hash in hex, as the configuration takes it.
fn hash(key: &str) -> String {
    format!("sha256:{}", hex(digest(&SHA256, key.as_bytes()).as_ref()))
}

fn random_key() -> Option<String> {
    let mut bytes = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(format!("{PREFIX}{}", hex(&bytes)))
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_one_that_sha256sum_gives() {
        let expected = "sha256:761fed9dbb22427bedbc73c3f0ab93fff41104aa77eb145025d0113be8c035a3";
        assert_eq!(hash("web-secret"), expected);
    }

    #[test]
    fn keys_are_long_and_never_alike() {
        let (one, other) = (random_key().unwrap(), random_key().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), PREFIX.len() + 2 * KEY_BYTES);
    }

    #[test]
    fn the_first_line_is_the_key() {
        assert_eq!(first_line(b"web-secret\r\nrest".as_slice()).as_deref(), Ok("web-secret"));
        assert_eq!(first_line(b"web-secret".as_slice()).as_deref(), Ok("web-secret"));
        assert!(first_line(b"\n".as_slice()).is_err());
        assert!(first_line(b"two words\n".as_slice()).is_err());
        assert!(first_line(b"\xff\xfe\n".as_slice()).is_err());
        assert!(first_line(vec![b'a'; LONGEST_KEY].as_slice()).is_ok());
        assert!(first_line(vec![b'a'; LONGEST_KEY + 1].as_slice()).is_err());
    }
}
