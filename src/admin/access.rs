//! Who may look: with a token file, whoever shows the token; without one, requests from this machine that name this
//! machine. A page in somebody's browser must neither read through a name that points here (DNS rebinding) nor post.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use aws_lc_rs::{constant_time, digest};
use axum::body::Body;
use axum::response::Response;
use http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};

use super::{Desk, pages};

/// The longest token file that is read, in bytes.
const TOKEN_FILE_BYTES: usize = 4096;

/// What must come as `Authorization: Bearer …`. Only its hash is kept.
pub struct Token([u8; 32]);

impl Token {
    /// Reads the first line of a file.
    ///
    /// # Errors
    /// The file cannot be read, is too long, or its first line is empty.
    pub fn read(path: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let token = text.lines().next().map(str::trim).unwrap_or_default();
        if token.is_empty() || text.len() > TOKEN_FILE_BYTES {
            let problem = "its first line must be the token, and the file at most 4096 bytes long";
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(Self::of(token))
    }

    /// This token.
    pub fn of(token: &str) -> Self {
        Self(sha256(token.as_bytes()))
    }

    fn is(&self, shown: &[u8]) -> bool {
        // Hashes are compared, so that neither the time nor an early end tells the length or a part of it.
        constant_time::verify_slices_are_equal(&self.0, &sha256(shown)).is_ok()
    }
}

/// The answer that says why this request may not be answered; none if it may.
pub(super) fn denial<B>(desk: &Desk, peer: SocketAddr, request: &Request<B>) -> Option<Response<Body>> {
    let headers = request.headers();
    // Probes of an orchestrator carry no token, and learn nothing that an open port would not tell.
    if matches!(request.uri().path(), "/livez" | "/readyz") && request.uri().query().is_none() {
        return None;
    }
    if headers.contains_key(ORIGIN) && request.method() != Method::GET {
        return Some(denied("a page in a browser may not do this"));
    }
    match desk.token.load().as_deref() {
        Some(token) if bearer(headers).is_some_and(|shown| token.is(shown)) => None,
        Some(_) => {
            let words = "the token of admin.token_file is needed, as \"Authorization: Bearer …\"";
            let mut answer = pages::problem(StatusCode::UNAUTHORIZED, words);
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            Some(answer)
        }
        None if !peer.ip().to_canonical().is_loopback() => {
            Some(denied("without admin.token_file only this machine may ask"))
        }
        None if !names_this_machine(headers, desk.listen) => Some(denied(
            "the Host is not this machine's: ask for localhost or the address that admin listens on",
        )),
        None => None,
    }
}

fn denied(why: &str) -> Response<Body> {
    pages::problem(StatusCode::FORBIDDEN, why)
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (Some(only), None) = (fields.next(), fields.next()) else { return None };
    let (scheme, token) = only.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token.trim_ascii())
}

fn names_this_machine(headers: &HeaderMap, listen: SocketAddr) -> bool {
    let mut fields = headers.get_all(HOST).iter();
    let (Some(only), None) = (fields.next(), fields.next()) else { return false };
    let Some(authority) = only.to_str().ok().and_then(|host| host.parse::<http::uri::Authority>().ok())
    else {
        return false;
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<IpAddr>().ok();
    host.eq_ignore_ascii_case("localhost") || address.is_some_and(|ip| ip.is_loopback() || ip == listen.ip())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HOST, value.parse().unwrap())])
    }

    #[test]
    fn only_names_of_this_machine_are_taken() {
        let listen = "192.0.2.7:9900".parse().unwrap();
        for good in
            ["localhost", "LOCALHOST:9900", "127.0.0.1:9900", "127.9.9.9", "[::1]:9900", "192.0.2.7:9900"]
        {
            assert!(names_this_machine(&host(good), listen), "{good}");
        }
        for bad in ["evil.test", "localhost.evil.test:9900", "192.0.2.8", "user@evil.test", ""] {
            assert!(!names_this_machine(&host(bad), listen), "{bad}");
        }
        let mut two = host("localhost");
        two.append(HOST, "localhost".parse().unwrap());
        assert!(!names_this_machine(&two, listen));
        assert!(!names_this_machine(&HeaderMap::new(), listen));
    }

    #[test]
    fn a_token_is_the_first_line_of_its_file() {
        let path = std::env::temp_dir().join(format!("buckler-token-{}", std::process::id()));
        std::fs::write(&path, "secret\r\nnot this\n").unwrap();
        let token = Token::read(&path).unwrap();
        assert!(token.is(b"secret"));
        assert!(!token.is(b"secret\r") && !token.is(b"") && !token.is(b"not this"));
        std::fs::write(&path, "\nsecret\n").unwrap();
        assert!(Token::read(&path).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
