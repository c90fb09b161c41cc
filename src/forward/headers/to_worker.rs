//! The fields of a request on their way to a worker: what is the client's connection's own goes, what a client may not
//! say goes, and Buckler says whom the request is from.

use std::cell::RefCell;

use http::Version;
use tokio::time::Instant;

use super::{extend, is_of_one_hop, say_via, strip, version_said};
use crate::clock::Moment;
use crate::fields::{Fields, Form, is_text, text};
use crate::forward::seen::Has;

/// What Buckler knows of a request and tells the worker.
#[derive(Debug)]
pub struct Told<'a> {
    /// Where it comes from.
    pub origin: &'a Origin,
    /// The client's certificate, if the worker is to be told.
    pub certificate: Option<&'a str>,
    /// Whether the peer's own X-Forwarded-* are believed and extended instead of replaced.
    pub trusted: bool,
    /// The caller's name.
    pub caller: &'a str,
    /// The request's id.
    pub request_id: &'a [u8],
    /// The authority from the request line, if it had one: it wins over `Host` (RFC 9112 section 3.2.2).
    pub authority: Option<&'a str>,
    /// Whether the body comes in chunks, so its length is not known.
    pub chunked: bool,
    /// The field with the caller's key, if that is not the worker's business.
    pub key: Option<&'a str>,
    /// The service's name, for `Host` where an HTTP/1.0 client gave none.
    pub nameless_host: &'a str,
}

/// Where the requests of a connection come from, and how.
#[derive(Debug)]
pub struct Origin {
    peer: Box<str>,
    secure: bool,
    version: Version,
}

thread_local! {
    /// What the worker is told of nearly every request, as it was told last.
    static TOLD: RefCell<Form> = RefCell::new(
        Form::default()
            .line("x-forwarded-for", &[b"", b""])
            .line("x-forwarded-proto", &[b"http", b""])
            .line("via", &[b"", b" buckler"])
            .line("x-forwarded-host", &[b"", b""])
            .line("x-request-id", &[b"", b""])
            .line("x-buckler-caller", &[b"", b""]),
    );
}

/// Makes the fields of a request, of which `has` tells, fit for the worker.
pub fn to_worker(fields: &mut Fields, has: Has, told: &Told<'_>) {
    let trailers = has.any(Has::TE) && takes_trailers(fields);
    if has.any(Has::GOES) {
        strip(fields, |name| is_of_one_hop(name) || is_forged(name, told.trusted));
    }
    if let Some(key) = told.key {
        fields.remove(key);
    }
    if has.any(Has::REQUEST_ID) {
        fields.remove("x-request-id");
    }
    if trailers {
        // RFC 9110 section 10.1.4: `TE` goes on only with its own connection option.
        fields.add("te", b"trailers");
        fields.add("connection", b"te");
    }
    if told.chunked {
        // The chunks frame the message, so a length beside them would be a lie.
        fields.remove("content-length");
    }
    if !tell_together(fields, told) {
        tell_one_by_one(fields, told);
    }
    if let Some(certificate) = told.certificate {
        fields.add("x-forwarded-client-cert", plain(certificate, "unreadable"));
    }
}

/// Tells the worker whence the request comes, all at once. False: it names no host, or proxies before have told of its
/// way.
fn tell_together(fields: &mut Fields, told: &Told<'_>) -> bool {
    TOLD.with_borrow_mut(|form| {
        let Some(host) = fields.get("host") else { return false };
        if told.authority.is_some() || is_told_of(fields) {
            return false;
        }
        told.words(host).iter().enumerate().for_each(|(gap, word)| form.put(gap, word));
        fields.add_form(form);
        // A value that is never to be indexed is not under its other name either.
        if fields.is_never_indexed(b"host") {
            fields.never_index(b"x-forwarded-host");
        }
        true
    })
}

/// Whether a proxy before has told of the request's way, and is believed.
fn is_told_of(fields: &Fields) -> bool {
    fields.contains("x-forwarded-for")
        || fields.contains("x-forwarded-proto")
        || fields.contains("x-forwarded-host")
        || fields.contains("via")
}

/// The same with each line for itself, behind what was told before.
#[inline(never)]
fn tell_one_by_one(fields: &mut Fields, told: &Told<'_>) {
    let named = fields.contains("x-forwarded-host");
    told.origin.tell(fields);
    if told.authority.is_some() || !fields.contains("host") {
        fields.set("host", told.authority.unwrap_or(told.nameless_host).as_bytes());
    }
    if !named {
        fields.add_copy("x-forwarded-host", "host");
    }
    fields.add("x-request-id", told.request_id);
    fields.add("x-buckler-caller", told.caller_said());
}

/// Tells the worker in `timeouts.deadline_header` how many milliseconds are left until `until`: whole ones, rounded
/// down, but at least 1, since some take 0 for no end at all. A client's own word, or that of an earlier attempt, goes.
pub fn tell_deadline(fields: &mut Fields, name: &str, until: Option<Instant>, now: Moment) {
    fields.remove(name);
    if let Some(until) = until {
        let left = until.saturating_duration_since(Instant::from_std(now.instant()));
        let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        fields.add(name, itoa::Buffer::new().format(millis).as_bytes());
    }
}

/// Asks the worker to speak `protocol` from its answer on; the request's own wish went with the fields of its hop.
pub fn ask_upgrade(fields: &mut Fields, protocol: &[u8]) {
    fields.add("upgrade", protocol);
    extend(fields, "connection", b"upgrade");
}

fn takes_trailers(fields: &Fields) -> bool {
    fields.get_all("te").any(|value| {
        let mut parts = text(value).unwrap_or("").split(',');
        parts.any(|part| part.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("trailers"))
    })
}

/// What a client may not say about itself. A name with an underscore becomes the same CGI or WSGI variable as the one
/// with a hyphen, so such names do not pass at all (as with nginx's default).
#[inline]
pub(in crate::forward) fn is_forged(name: &[u8], trusted: bool) -> bool {
    name.iter().fold(false, |found, byte| found | (*byte == b'_'))
        || match name {
            [b'x', b'-', ..] => {
                name.starts_with(b"x-buckler-")
                    || *name == *b"x-forwarded-client-cert"
                    || (!trusted && (name.starts_with(b"x-forwarded-") || *name == *b"x-real-ip"))
            }
            [b'f', ..] => !trusted && *name == *b"forwarded",
            _ => false,
        }
}

/// What may stand in a field as it is, or the other words.
fn plain<'a>(words: &'a str, otherwise: &'static str) -> &'a [u8] {
    let words = words.as_bytes();
    if is_text(words) { words } else { otherwise.as_bytes() }
}

impl<'a> Told<'a> {
    /// The words of [`TOLD`]. None of them can end its line: an address, words of ours, a value that stood in a line,
    /// an id of graphic ASCII, and a name that was made plain.
    fn words(&self, host: &'a [u8]) -> [&'a [u8]; 6] {
        let Origin { peer, secure, version } = self.origin;
        let secure: &[u8] = if *secure { b"s" } else { b"" };
        [peer.as_bytes(), secure, version_said(*version), host, self.request_id, self.caller_said()]
    }

    fn caller_said(&self) -> &'a [u8] {
        plain(self.caller, "unnamed")
    }
}

impl Origin {
    /// Of requests that this `peer`, an address as text, sends in this `version`; under TLS if it is `secure`.
    pub const fn new(peer: Box<str>, secure: bool, version: Version) -> Self {
        Self { peer, secure, version }
    }

    /// The version that the client spoke.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Behind what proxies before said. What a trusted one said of it has stayed; what a stranger said is gone.
    fn tell(&self, fields: &mut Fields) {
        extend(fields, "x-forwarded-for", self.peer.as_bytes());
        if !fields.contains("x-forwarded-proto") {
            fields.add("x-forwarded-proto", if self.secure { b"https" } else { b"http" });
        }
        say_via(fields, self.version);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::forward::seen::Seen;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        pairs.iter().for_each(|(name, value)| fields.add(name, value.as_bytes()));
        fields
    }

    /// The fields as the worker gets them.
    fn send(fields: &mut Fields, trusted: bool) {
        let has = Seen::of(fields, "x-api-key", trusted).has();
        to_worker(fields, has, &told(&origin(), trusted));
    }

    fn origin() -> Origin {
        Origin::new("192.0.2.7".into(), false, Version::HTTP_11)
    }

    fn told(origin: &Origin, trusted: bool) -> Told<'_> {
        Told {
            origin,
            certificate: None,
            trusted,
            caller: "web",
            request_id: b"id-1",
            authority: None,
            chunked: false,
            key: None,
            nameless_host: "playlist",
        }
    }

    fn of<'a>(fields: &'a Fields, name: &str) -> &'a str {
        let mut values = fields.get_all(name);
        let value = values.next().unwrap_or_else(|| panic!("no {name} in {fields:?}"));
        assert_eq!(values.next(), None, "{name} comes twice");
        std::str::from_utf8(value).unwrap()
    }

    #[test]
    fn nominated_fields_go_and_identity_stays() {
        let mut fields = fields(&[
            ("host", "a.test"),
            ("connection", "x-secret, X-Buckler-Caller, x-forwarded-for, host"),
            ("x-secret", "1"),
            ("x-buckler-caller", "admin"),
            ("x-forwarded-for", "10.0.0.1"),
            ("keep-alive", "timeout=5"),
        ]);
        send(&mut fields, true);
        assert_eq!(of(&fields, "x-buckler-caller"), "web");
        assert_eq!(of(&fields, "x-forwarded-for"), "192.0.2.7");
        assert_eq!(of(&fields, "host"), "a.test");
        for gone in ["x-secret", "connection", "keep-alive"] {
            assert!(!fields.contains(gone), "{gone}");
        }
    }

    #[test]
    fn forwarded_fields_are_replaced_from_strangers_and_extended_from_trusted_proxies() {
        let asked = [
            ("host", "a.test"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "10.0.0.1"),
        ];
        let mut stranger = fields(&asked);
        send(&mut stranger, false);
        assert_eq!(of(&stranger, "x-forwarded-for"), "192.0.2.7");
        assert_eq!(of(&stranger, "x-forwarded-proto"), "http");
        assert!(!stranger.contains("x-real-ip"));
        let mut trusted = fields(&asked);
        send(&mut trusted, true);
        assert_eq!(of(&trusted, "x-forwarded-for"), "10.0.0.1, 10.0.0.2, 192.0.2.7");
        assert_eq!(of(&trusted, "x-forwarded-proto"), "https");
        assert_eq!(of(&trusted, "x-forwarded-host"), "a.test");
    }

    #[test]
    fn look_alikes_with_underscores_do_not_pass() {
        let mut fields =
            fields(&[("host", "a"), ("x_buckler_caller", "admin"), ("x_forwarded_for", "10.0.0.1")]);
        send(&mut fields, true);
        assert!(fields.iter().all(|(name, _)| !name.contains(&b'_')));
    }

    #[test]
    fn trailers_are_asked_for_again_on_the_next_hop() {
        let mut fields = fields(&[("host", "a"), ("te", "gzip;q=0.5, trailers"), ("connection", "te")]);
        send(&mut fields, false);
        assert_eq!(of(&fields, "te"), "trailers");
        assert_eq!(of(&fields, "connection"), "te");
    }

    #[test]
    fn the_deadline_is_told_in_whole_milliseconds_and_nobody_elses_word_is() {
        let now = Moment::at(5_000_000_000);
        let told = |left: Option<u64>| {
            let mut fields = fields(&[("x-timeout-ms", "99999"), ("x-timeout-ms", "7")]);
            let until = left.map(|nanos| now.plus(std::time::Duration::from_nanos(nanos)));
            tell_deadline(
                &mut fields,
                "x-timeout-ms",
                until.map(|until| Instant::from_std(until.instant())),
                now,
            );
            fields.get_all("x-timeout-ms").map(|value| text(value).unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(told(Some(2_500_000_000)), ["2500"]);
        assert_eq!(told(Some(2_999_999)), ["2"]);
        assert_eq!(told(Some(999_999)), ["1"], "0 is never said");
        assert_eq!(told(Some(0)), ["1"]);
        assert_eq!(told(None), [""; 0], "the client's own word is nobody's deadline");
    }

    #[rustfmt::skip]
    const NAMES: [&str; 24] = [
        "te", "via", "host", "accept", "connection", "keep-alive", "x-request-id", "x-forwarded-for", "x-forwarded-host",
        "x-forwarded-proto", "x-forwarded-port", "x-real-ip", "forwarded", "x_forwarded_for", "x-api-key", "x-a", "x-b",
        "content-length", "transfer-encoding", "upgrade", "x-buckler-caller", "x-forwarded-client-cert", "cookie", "trailer",
    ];
    const OF_THE_HOP: [&str; 5] = ["te", "connection", "keep-alive", "transfer-encoding", "upgrade"];

    type Values = Vec<Vec<u8>>;

    /// What the worker gets, name by name, as it is written down in RFC 9110 and in `docs`, without any haste.
    fn model(asked: &[(&str, Vec<u8>)], told: &Told<'_>) -> BTreeMap<String, Values> {
        let listed = |name: &str| -> Vec<String> {
            let lines = asked.iter().filter(|field| field.0 == name).filter_map(|field| text(&field.1));
            let members = lines.flat_map(|line| line.split(','));
            members.map(|member| member.trim().to_ascii_lowercase()).collect()
        };
        let nominated = listed("connection");
        let is_nominated = |name: &str| {
            nominated.iter().any(|named| named == name) && !["host", "content-length"].contains(&name)
        };
        let goes = |name: &str| {
            OF_THE_HOP.contains(&name)
                || is_nominated(name)
                || ["x-forwarded-client-cert", "x-request-id"].contains(&name)
                || name.contains('_')
                || name.starts_with("x-buckler-")
                || (!told.trusted
                    && (name.starts_with("x-forwarded-") || name == "x-real-ip" || name == "forwarded"))
                || told.key == Some(name)
                || (told.chunked && name == "content-length")
        };
        let mut gets: BTreeMap<String, Values> = BTreeMap::new();
        for (name, value) in asked.iter().filter(|field| !goes(field.0)) {
            gets.entry((*name).to_owned()).or_default().push(value.clone());
        }
        let mut list = |name: &str, value: &str| {
            let before = gets.remove(name).unwrap_or_default();
            let mut members: Vec<_> =
                before.iter().filter_map(|line| text(line)).skip_while(|line| line.is_empty()).collect();
            members.push(value);
            gets.insert(name.to_owned(), vec![members.join(", ").into_bytes()]);
        };
        list("via", "1.1 buckler");
        list("x-forwarded-for", "192.0.2.7");
        let host = gets.entry("host".to_owned()).or_insert_with(|| vec![told.nameless_host.into()]);
        if let Some(authority) = told.authority {
            *host = vec![authority.into()];
        }
        let host = host[0].clone();
        gets.entry("x-forwarded-host".to_owned()).or_insert_with(|| vec![host]);
        gets.entry("x-forwarded-proto".to_owned()).or_insert_with(|| vec![b"http".to_vec()]);
        gets.insert("x-request-id".to_owned(), vec![told.request_id.to_vec()]);
        gets.insert("x-buckler-caller".to_owned(), vec![told.caller.into()]);
        if listed("te").iter().any(|member| member.split(';').next().unwrap_or("").trim() == "trailers") {
            gets.insert("te".to_owned(), vec![b"trailers".to_vec()]);
            gets.insert("connection".to_owned(), vec![b"te".to_vec()]);
        }
        gets
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => prop::collection::vec(prop_oneof![6 => b' '..=b'~', 1 => 0x80..=0xff_u8], 0..12),
            1 => "(close|Keep-Alive|trailers|gzip;q=1, Trailers; q=0|X-A|via, x-b|Host|content-length, accept|x-forwarded-for)"
                .prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #[test]
        fn a_worker_gets_what_a_plain_model_computes(
            asked in prop::collection::vec((prop::sample::select(NAMES.to_vec()), value()), 0..14),
            trusted: bool,
            chunked: bool,
            key: bool,
            authority: bool,
        ) {
            let (key, authority) = (key.then_some("x-api-key"), authority.then_some("a.test:81"));
            let origin = origin();
            let told = Told { chunked, key, authority, ..told(&origin, trusted) };
            let mut fields = Fields::new();
            asked.iter().for_each(|(name, value)| fields.add(name, value));
            let has = Seen::of(&fields, "x-api-key", trusted).has();
            to_worker(&mut fields, has, &told);
            let mut gets: BTreeMap<String, Values> = BTreeMap::new();
            for (name, value) in fields.iter() {
                gets.entry(String::from_utf8(name.to_vec()).unwrap()).or_default().push(value.to_vec());
            }
            prop_assert_eq!(gets, model(&asked, &told));
            // What passes as it is keeps its order.
            let ours = ["te", "connection", "via", "host", "x-request-id", "x-buckler-caller"];
            let passes = |name: &str| fields.contains(name) && !ours.contains(&name) && !name.starts_with("x-forwarded-");
            let passed: Vec<_> = fields.iter().filter(|(name, _)| passes(text(name).unwrap())).collect();
            let came = asked.iter().filter(|(name, _)| passes(name)).map(|(name, value)| (name.as_bytes(), &**value));
            prop_assert_eq!(passed, came.collect::<Vec<_>>());
        }
    }
}
