//! Who is believed to be calling, and who is not.

use std::num::NonZeroUsize;

use aws_lc_rs::digest;
use http::HeaderName;
use proptest::prelude::*;

use crate::config::{At, KnownCaller, UnknownKey};

use super::*;

const PEER: &str = "192.0.2.7";
const PROXY: &str = "127.0.0.2";

fn sha256(key: &str) -> [u8; 32] {
    digest::digest(&digest::SHA256, key.as_bytes()).as_ref().try_into().unwrap()
}

fn known(name: &str, keys: &[&str], nets: &[&str], tier: Option<usize>) -> KnownCaller {
    KnownCaller {
        name: name.into(),
        api_keys: keys.iter().map(|key| sha256(key)).collect(),
        certificates: vec![],
        addresses: nets.iter().map(|net| net.parse().unwrap()).collect(),
        tier,
        at: At { file: "t.yaml".into(), line: 1, column: 1 },
    }
}

fn callers() -> Callers {
    Callers {
        identify: vec![Credential::ApiKey, Credential::Address],
        api_key_header: HeaderName::from_static("x-api-key"),
        unknown_key: UnknownKey::Refuse,
        ipv4_prefix: 32,
        ipv6_prefix: 64,
        trusted_proxies: vec!["127.0.0.2/32".parse().unwrap(), "2001:db8:f::/48".parse().unwrap()],
        known: vec![
            known("web", &["web-secret", "a,b"], &[], Some(0)),
            known("office", &[], &["10.0.0.0/8"], None),
            known("desk", &[], &["10.1.2.3/32", "2001:db8:1::/48"], None),
        ],
        tiers: vec![],
        max_keys: NonZeroUsize::MIN,
    }
}

fn book_with(change: impl FnOnce(&mut Callers)) -> CallerBook {
    let mut callers = callers();
    change(&mut callers);
    CallerBook::new(Arc::new(callers))
}

fn address(text: &str) -> Peer<'static> {
    text.parse::<IpAddr>().unwrap().into()
}

fn headers(fields: &[(&'static str, &str)]) -> Fields {
    let mut all = Fields::new();
    fields.iter().for_each(|(name, value)| all.add(name, value.as_bytes()));
    all
}

/// The name, or the reason of the refusal.
fn who(book: &CallerBook, peer: &str, fields: &[(&'static str, &str)]) -> Result<String, Reason> {
    let mut cached = CachedCaller::default();
    let peer: IpAddr = peer.parse().unwrap();
    let first = book.identify(peer.into(), &headers(fields), &mut cached);
    let second = book.identify(peer.into(), &headers(fields), &mut cached);
    let name = |answer: Result<Caller, Refusal>| match answer {
        Ok(caller) => Ok((book.name(&caller).to_owned(), caller.hash, caller.client)),
        Err(refusal) => Err(refusal.reason),
    };
    let (first, second) = (name(first), name(second));
    assert_eq!(first, second, "what a connection remembers changes no answer");
    first.map(|(name, ..)| name)
}

#[test]
fn a_key_names_its_caller() {
    let book = book_with(|_| {});
    assert_eq!(who(&book, PEER, &[("x-api-key", "web-secret")]), Ok("web".into()));
    assert_eq!(who(&book, PEER, &[("x-api-key", " \tweb-secret\t ")]), Ok("web".into()));
    assert_eq!(who(&book, PEER, &[("x-api-key", "a,b")]), Ok("web".into()));
    let web = book
        .identify(address(PEER), &headers(&[("x-api-key", "web-secret")]), &mut CachedCaller::default())
        .unwrap();
    assert_eq!((web.who, web.via, web.tier), (Who::Known(0), Via::ApiKey, Some(0)));
}

#[test]
fn a_present_but_wrong_key_never_falls_through() {
    let book = book_with(|_| {});
    for key in ["other", "", " ", "web-secret2", "web-secre", "WEB-SECRET", "a"] {
        assert_eq!(who(&book, "10.1.2.3", &[("x-api-key", key)]), Err(Reason::NoIdentity), "{key:?}");
    }
}

#[test]
fn a_doubled_key_header_is_refused() {
    let book = book_with(|_| {});
    let twice = [("x-api-key", "web-secret"), ("x-api-key", "web-secret")];
    assert_eq!(who(&book, PEER, &twice), Err(Reason::BadRequest));
}

#[test]
fn an_unknown_key_may_be_a_caller_of_its_own() {
    let book = book_with(|callers| callers.unknown_key = UnknownKey::Anonymous);
    let hex: String = sha256("other")[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(who(&book, PEER, &[("x-api-key", "other")]), Ok(format!("api_key:{hex}")));
    assert_eq!(who(&book, PEER, &[("x-api-key", "")]), Err(Reason::NoIdentity));
}

#[test]
fn the_order_of_identify_decides() {
    let address_only = book_with(|callers| callers.identify = vec![Credential::Address]);
    assert_eq!(who(&address_only, PEER, &[("x-api-key", "wrong")]), Ok("address:192.0.2.7".into()));
    let key_only = book_with(|callers| callers.identify = vec![Credential::ApiKey]);
    assert_eq!(who(&key_only, "10.1.2.3", &[]), Err(Reason::NoIdentity));
}

#[test]
fn addresses_are_named_by_the_longest_prefix() {
    let book = book_with(|_| {});
    for (peer, name) in [
        ("10.9.9.9", "office"),
        ("10.1.2.3", "desk"),
        ("::ffff:10.1.2.3", "desk"),
        ("2001:db8:1:2::3", "desk"),
        ("192.0.2.7", "address:192.0.2.7"),
        ("::ffff:192.0.2.7", "address:192.0.2.7"),
        ("2001:db8:2:3:4::5", "address:2001:db8:2:3::/64"),
    ] {
        assert_eq!(who(&book, peer, &[]), Ok(name.into()), "{peer}");
    }
    let wide = book_with(|callers| (callers.ipv4_prefix, callers.ipv6_prefix) = (24, 128));
    assert_eq!(who(&wide, PEER, &[]), Ok("address:192.0.2.0/24".into()));
    assert_eq!(who(&wide, "2001:db8:2::5", &[]), Ok("address:2001:db8:2::5".into()));
}

#[test]
fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
    let book = book_with(|_| {});
    let xff = [("x-forwarded-for", "10.1.2.3, 198.51.100.9")];
    assert_eq!(who(&book, PEER, &xff), Ok("address:192.0.2.7".into()));
    assert_eq!(who(&book, PROXY, &xff), Ok("address:198.51.100.9".into()));
    assert_eq!(who(&book, "2001:db8:f::1", &xff), Ok("address:198.51.100.9".into()));
    assert_eq!(
        who(&book, PROXY, &[("x-forwarded-for", "198.51.100.9"), ("x-forwarded-for", "10.1.2.3")]),
        Ok("desk".into())
    );
    assert_eq!(
        who(&book, PROXY, &[("x-forwarded-for", "10.1.2.3, garbage")]),
        Ok("address:127.0.0.2".into())
    );
    assert!(book.is_trusted("::ffff:127.0.0.2".parse().unwrap()) && !book.is_trusted(PEER.parse().unwrap()));
}

#[test]
fn a_caller_known_by_key_keeps_the_believed_address() {
    let (book, mut cached) = (book_with(|_| {}), CachedCaller::default());
    for client in ["198.51.100.9", "198.51.100.10"] {
        let fields = headers(&[("x-api-key", "web-secret"), ("x-forwarded-for", client)]);
        let caller = book.identify(address(PROXY), &fields, &mut cached).unwrap();
        assert_eq!((book.name(&caller), caller.client), ("web", client.parse().unwrap()));
    }
}

#[test]
fn a_connection_forgets_what_an_older_configuration_knew() {
    let (old, mut cached) = (book_with(|_| {}), CachedCaller::default());
    let (peer, fields) = (address("10.1.2.3"), headers(&[("x-api-key", "web-secret")]));
    assert!(old.identify(peer, &fields, &mut cached).is_ok());
    assert!(old.identify(peer, &Fields::default(), &mut cached).is_ok());
    let new = book_with(|callers| callers.known.truncate(0));
    assert_eq!(new.identify(peer, &fields, &mut cached).unwrap_err().reason, Reason::NoIdentity);
    let caller = new.identify(peer, &Fields::default(), &mut cached).unwrap();
    assert_eq!(new.name(&caller), "address:10.1.2.3");
}

#[test]
fn the_ledger_knows_a_caller_again_after_a_reload() {
    let (old, new) = (book_with(|_| {}), book_with(|callers| callers.known.swap(0, 2)));
    for fields in [headers(&[]), headers(&[("x-api-key", "web-secret")])] {
        let hash = |book: &CallerBook| {
            book.identify(address(PEER), &fields, &mut CachedCaller::default()).unwrap().hash
        };
        assert_eq!(hash(&old), hash(&new));
    }
}

/// A book that looks at certificates first.
fn certificate_book() -> CallerBook {
    book_with(|callers| {
        callers.identify.insert(0, Credential::Certificate);
        callers.known[0].certificates =
            vec!["SPIFFE://Example.test/web".into(), "web.example.test".into(), "www.example.test".into()];
        callers.known[1].certificates = vec!["office.example.test".into()];
    })
}

fn identity(names: &[&str]) -> Identity {
    let names: Vec<Arc<str>> = names.iter().map(|name| (*name).into()).collect();
    Identity { display: format!("certificate:{}", names[0]).into(), names, fault: None }
}

/// The name, what named it, and the hash; or the refusal's detail.
fn shows(
    book: &CallerBook,
    identity: &Identity,
    fields: &[(&'static str, &str)],
) -> Result<Caller, &'static str> {
    let (peer, mut cached) =
        (Peer { certificate: Some(identity), ..address("10.1.2.3") }, CachedCaller::default());
    let answer = [0; 2].map(|_| book.identify(peer, &headers(fields), &mut cached));
    let [first, second] = answer.map(|answer| {
        answer.map_err(|refusal| {
            assert_eq!(refusal.reason, Reason::NoIdentity);
            refusal.detail
        })
    });
    assert_eq!(format!("{first:?}"), format!("{second:?}"), "what a connection remembers changes no answer");
    second
}

#[test]
fn any_name_of_a_certificate_names_its_caller() {
    let book = certificate_book();
    for names in [
        &["spiffe://example.test/web"][..],
        &["spiffe://example.test/other", "web.example.test"],
        &["a.test", "b.test", "www.example.test", "web.example.test"],
    ] {
        // The certificate decides before the key and the address, which are others'.
        let caller = shows(&book, &identity(names), &[("x-api-key", "wrong")]).unwrap();
        assert_eq!((book.name(&caller), caller.via, caller.tier), ("web", Via::Certificate, Some(0)));
        assert_eq!(caller.client, IpAddr::from([10, 1, 2, 3]));
    }
}

#[test]
fn an_unknown_certificate_is_a_caller_of_its_own() {
    let book = certificate_book();
    let strange = shows(&book, &identity(&["spiffe://example.test/WEB", "other.test"]), &[]).unwrap();
    assert_eq!(book.name(&strange), "certificate:spiffe://example.test/WEB");
    assert_eq!((strange.tier, strange.known()), (None, None));
    let found = book.of_name("certificate:spiffe://example.test/WEB").unwrap();
    assert_eq!((found.hash, found.who), (strange.hash, strange.who), "status finds its quota");
    let other = shows(&book, &identity(&["other.test"]), &[]).unwrap();
    assert_ne!(other.hash, strange.hash);
}

#[test]
fn a_certificate_that_means_two_callers_or_nobody_is_refused() {
    let book = certificate_book();
    let two = identity(&["web.example.test", "office.example.test"]);
    assert_eq!(
        shows(&book, &two, &[]).unwrap_err(),
        "the client certificate holds the names of two known callers"
    );
    let faulty = Identity { fault: Some("it is faulty"), ..identity(&["web.example.test"]) };
    assert_eq!(shows(&book, &faulty, &[("x-api-key", "web-secret")]).unwrap_err(), "it is faulty");
}

#[test]
fn without_a_certificate_the_next_credential_decides() {
    let book = certificate_book();
    assert_eq!(who(&book, PEER, &[("x-api-key", "web-secret")]), Ok("web".into()));
    assert_eq!(who(&book, PEER, &[]), Ok("address:192.0.2.7".into()));
    // Where certificates are not looked at, one changes nothing.
    let blind = book_with(|callers| callers.known[0].certificates = vec!["web.example.test".into()]);
    assert_eq!(blind.name(&shows(&blind, &identity(&["web.example.test"]), &[]).unwrap()), "desk");
}

proptest! {
    #[test]
    fn one_name_one_hash(left in any::<u32>(), right in any::<u32>(), bits in 0..33_u8) {
        let book = book_with(|callers| callers.ipv4_prefix = bits);
        let one = |address: u32| {
            let peer = IpAddr::V4(std::net::Ipv4Addr::from_bits(address));
            let caller = book.identify(peer.into(), &Fields::default(), &mut CachedCaller::default()).unwrap();
            (book.name(&caller).to_owned(), caller.hash)
        };
        let (left, right) = (one(left), one(right));
        prop_assert_eq!(left.0 == right.0, left.1 == right.1);
    }

    #[test]
    fn no_header_makes_it_panic_or_names_a_known_caller_by_guess(key in proptest::collection::vec(32..=255_u8, 0..40)) {
        let book = book_with(|_| {});
        let mut fields = Fields::new();
        fields.add("x-api-key", &key);
        fields.add("x-forwarded-for", &key);
        prop_assert!(book.identify(address(PROXY), &fields, &mut CachedCaller::default()).is_err());
        fields.remove("x-api-key");
        prop_assert!(book.identify(address(PROXY), &fields, &mut CachedCaller::default()).is_ok());
    }
}
