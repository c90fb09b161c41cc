//! `buckler reload`: asks the admin listener of the running Buckler for a reload and waits for the result. What a
//! reload does stands in `lifecycle`, the answer's form in `admin`.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::arguments::Reload;
use super::exit::Exit;
use super::key::first_line;
use super::{load, output};

const PATH: &str = "/api/v1/reload";

/// How long to wait for the admin listener to take the connection.
const CONNECT: Duration = Duration::from_secs(5);

/// How long to wait for the result; a reload reads files and opens ports, so it is a matter of seconds.
const ANSWER: Duration = Duration::from_secs(60);

/// The longest answer that is read, in bytes.
const ANSWER_BYTES: u64 = 1 << 20;

/// Fields of the answer's head that are read.
const FIELDS: usize = 64;

/// Runs the command.
pub(super) fn run(arguments: &Reload) -> Exit {
    let (admin, token_file) = match where_to_ask(arguments) {
        Ok(place) => place,
        Err(exit) => return exit,
    };
    let token = match token_file.as_deref().map(read_token).transpose() {
        Ok(token) => token,
        Err(why) => return output::failed(&why),
    };
    match ask(reachable(admin), token.as_deref()) {
        Ok(answer) => report(&answer, arguments.json),
        Err(error) => output::failed(&format!(
            "cannot ask the admin listener at {admin}: {error}; is Buckler running, and is this its `admin.listen`? \
             `--admin` names another, and HUP needs none"
        )),
    }
}

/// The admin listener's address and the file with its token.
fn where_to_ask(arguments: &Reload) -> Result<(SocketAddr, Option<PathBuf>), Exit> {
    if let Some(admin) = arguments.admin {
        return Ok((admin, arguments.token_file.clone()));
    }
    // A file that the running one would refuse is not sent to it: here every mistake is shown with its line.
    let sound = load::sound(&arguments.file)?;
    sound.config.admin.map(|admin| (admin.listen, admin.token_file)).ok_or_else(|| {
        output::failed(&format!(
            "{} has no admin listener to ask; add `admin: {{ listen: 127.0.0.1:9900 }}`, or send HUP",
            sound.path.display()
        ))
    })
}

struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    /// What it says to people: `result` or `error` of its JSON.
    fn words(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        let words = body.get("result").or_else(|| body.get("error"))?;
        words.as_str().map(str::to_owned)
    }
}

fn report(answer: &Answer, as_json: bool) -> Exit {
    let written = match as_json {
        true => output::data(&format!("{}\n", answer.body.trim_end())),
        false => Exit::Fine,
    };
    let told = answer.words();
    match answer.status {
        200..=299 => {
            output::say(&format!("buckler: {}", told.as_deref().unwrap_or("reloaded")));
            return written;
        }
        401 | 403 => {
            output::say("buckler: the admin listener does not take this token; see admin.token_file")
        }
        504 => output::say(&format!("buckler: {}", told.as_deref().unwrap_or("the reload goes on"))),
        status => {
            let why = told.unwrap_or_else(|| format!("the admin listener answers {status}"));
            output::say(&format!("buckler: not reloaded; what was in use stays in use\n{}", why.trim_end()));
        }
    }
    Exit::AdminRefused
}

fn read_token(file: &Path) -> Result<String, String> {
    let told = |error: String| format!("cannot read the admin token in {}: {error}", file.display());
    let input = File::open(file).map_err(|error| told(error.to_string()))?;
    first_line(BufReader::new(input)).map_err(told)
}

/// A listener on every address is asked on loopback.
fn reachable(mut admin: SocketAddr) -> SocketAddr {
    match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => admin.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => admin.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    admin
}

fn ask(admin: SocketAddr, token: Option<&str>) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&admin, CONNECT)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    let credential = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    write!(
        stream,
        "POST {PATH} HTTP/1.1\r\nhost: {admin}\r\n{credential}accept: application/json\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n"
    )?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| io::Error::other("the answer is not HTTP; is this the admin listener?"))
}

/// Reads an answer after which the connection was closed.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(bytes).ok()? else { return None };
    let is_chunked = head.headers.iter().any(|field| field.name.eq_ignore_ascii_case("transfer-encoding"));
    let body = &bytes[length..];
    let body = if is_chunked { join_chunks(body)? } else { body.to_vec() };
    Some(Answer { status: head.code?, body: String::from_utf8_lossy(&body).into_owned() })
}

fn join_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut joined = Vec::new();
    loop {
        let httparse::Status::Complete((line, size)) = httparse::parse_chunk_size(rest).ok()? else {
            return None;
        };
        let size = usize::try_from(size).ok()?;
        if size == 0 {
            return Some(joined);
        }
        rest = rest.get(line..)?;
        joined.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_with_and_without_chunks() {
        let plain = parse(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        assert_eq!((plain.status, plain.body.as_str()), (200, "{}"));
        let chunked =
            b"HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n";
        let chunked = parse(chunked).unwrap();
        assert_eq!((chunked.status, chunked.body.as_str()), (409, "{}"));
        assert!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{").is_none(), "cut off");
        assert!(parse(b"SSH-2.0-OpenSSH\r\n").is_none());
    }

    #[test]
    fn a_listener_on_every_address_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:9900".parse().unwrap()), "127.0.0.1:9900".parse().unwrap());
        assert_eq!(reachable("[::]:9900".parse().unwrap()), "[::1]:9900".parse().unwrap());
        assert_eq!(reachable("192.0.2.1:9".parse().unwrap()), "192.0.2.1:9".parse().unwrap());
    }
}
