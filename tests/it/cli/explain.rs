//! `buckler explain`: what it says of callers, rules, quotas and malformed requests.

use super::{Done, GOOD, buckler_in, folder};

fn explained(name: &str, arguments: &[&str], input: &str) -> Done {
    let folder = folder(name, GOOD);
    let all = [&["explain", "--service", "playlist"], arguments].concat();
    let done = buckler_in(&folder, &all, input);
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{arguments:?}");
    done
}

#[test]
fn explain_names_the_rule_and_its_line() {
    let done = explained("explain-text", &["--path", "/x/../admin/y", "--address", "192.0.2.7"], "");
    assert_eq!(
        done.out,
        "\
request     GET /admin/y for 127.0.0.1 to service playlist
            sent as /x/../admin/y
caller      address:192.0.2.7 by address
rules       permissions.rules[1]  deny   buckler.yaml:19  does not match: another method
            permissions.rules[2]  allow  buckler.yaml:20  does not match: another caller
            permissions.rules[3]  deny   buckler.yaml:21  matches and decides
            permissions.default   allow  built in         is not asked
quota       default: 20/s, burst 40, 50 in progress  [buckler.yaml:23]
total       total: 20000/s, burst 20000  [buckler.yaml:24]
cost        1
answer      403 denied_by_rule: a rule denies it, by permissions.rules[3]  [buckler.yaml:21] \"staff only\"
            ratelimit: \"default\";r=40;t=0
            ratelimit-policy: \"default\";q=40;w=2
"
    );
}

#[test]
fn explain_knows_callers_quotas_and_costs() {
    let known = ["--path", "/search/x", "--key-file", "-", "--json"];
    let told = explained("explain-known", &known, "web-secret\n").json();
    assert_eq!(told["caller"]["name"], "web");
    assert_eq!((&told["caller"]["via"], &told["caller"]["tier"]), (&"api_key".into(), &"partner".into()));
    assert_eq!((&told["cost"], &told["limits"][0]["rule"]), (&5.into(), &"tier partner".into()));
    assert_eq!(told["answer"]["passes"], true);
    assert_eq!(told["answer"]["headers"][0], "ratelimit: \"tier partner\";r=1995;t=1");

    let told = explained("explain-wrong-key", &known, "wrong-secret\n").json();
    assert_eq!((&told["answer"]["status"], &told["answer"]["reason"]), (&401.into(), &"no_identity".into()));
    assert_eq!(told.get("caller"), None, "nobody is known, so nothing more is asked");

    let shadow = ["--method", "DELETE", "--path", "/a", "--address", "127.0.0.9", "--json"];
    let told = explained("explain-shadow", &shadow, "").json();
    assert_eq!((&told["caller"]["name"], &told["answer"]["passes"]), (&"office".into(), &true.into()));
    assert_eq!(
        (&told["shadows"][0]["would"], &told["shadows"][0]["at"]),
        (&"deny".into(), &"buckler.yaml:19".into())
    );
}

#[test]
fn explain_refuses_on_the_wire_what_run_would() {
    let cases = [
        (vec!["--path", "/a%2fb"], 400, "the path holds an encoded slash"),
        (vec!["--path", "/a b"], 400, "the request line does not end with a version and CRLF"),
        (vec!["--path", "/a", "--method", "TRACE"], 405, "TRACE is never forwarded"),
        (vec!["--path", "/a", "--host", "a b"], 400, ""),
    ];
    for (number, (arguments, status, detail)) in cases.into_iter().enumerate() {
        let arguments = [arguments.as_slice(), &["--json"]].concat();
        let answer = explained(&format!("explain-wire-{number}"), &arguments, "").json()["answer"].clone();
        assert_eq!(answer["status"], status, "{arguments:?}: {answer}");
        assert!(answer["detail"].as_str().unwrap().contains(detail), "{arguments:?}: {answer}");
    }
}

#[test]
fn explain_asks_for_what_it_needs() {
    let folder = folder("explain-usage", GOOD);
    let cases = [
        (
            ["--service", "playlst", "--path", "/a"],
            "there is no service playlst; the configuration has: playlist",
        ),
        (["--service", "playlist", "--path", "a"], "--path begins with a slash; try /a"),
        (["--service", "playlist", "--path", "/a\r\nhost: b"], "a line break"),
    ];
    for (arguments, said) in cases {
        let done = buckler_in(&folder, &[&["explain"][..], &arguments].concat(), "");
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{arguments:?}: {}", done.err);
        assert!(done.err.contains(said), "{arguments:?}: {}", done.err);
    }
}

/// Two services on Unix sockets: one asks for certificates, the other insists.
const CERTIFIED: &str = "\
callers:
  known:
    web: { certificates: [web.example.test] }
services:
  open:
    listen: unix:/run/open.sock
    tls: { certificates: [{ chain: a.pem, key: a.key }], client_ca: ca.pem, client_certificate: optional }
    workers: { addresses: [\"127.0.0.1:9001\"] }
    permissions: { rules: [{ deny: { callers: [\"certificate:*\"] } }] }
    limits: { default: { rate: 1/s } }
  strict:
    listen: unix:/run/strict.sock
    tls: { certificates: [{ chain: a.pem, key: a.key }], client_ca: ca.pem, client_certificate: required }
    workers: { addresses: [\"127.0.0.1:9001\"] }
    limits: { default: { rate: 1/s } }
";

#[test]
fn explain_asks_with_a_certificate() {
    let folder = folder("explain-certificate", CERTIFIED);
    let ask = |service: &str, certificate: &[&str]| {
        let all = [&["explain", "--service", service, "--path", "/", "--json"], certificate].concat();
        buckler_in(&folder, &all, "")
    };
    let told = ask("open", &["--certificate", "Web.example.test"]).json();
    assert_eq!((&told["caller"]["name"], &told["caller"]["via"]), (&"web".into(), &"certificate".into()));
    assert_eq!((&told["host"], &told["answer"]["passes"]), (&"localhost".into(), &true.into()));
    let told = ask("open", &["--certificate", "spiffe://example.test/x"]).json();
    assert_eq!(told["caller"]["name"], "certificate:spiffe://example.test/x");
    assert_eq!(told["answer"]["reason"], "denied_by_rule");
    assert_eq!(ask("open", &[]).json()["caller"]["name"], "address:127.0.0.1");
    let done = ask("strict", &[]);
    assert_eq!(done.code, 2);
    assert!(done.err.contains("strict takes no client without a certificate"), "{}", done.err);
}

#[test]
fn explain_has_no_certificate_where_none_is_asked_for() {
    let folder = folder("explain-no-certificate", GOOD);
    let all = ["explain", "--service", "playlist", "--path", "/", "--certificate", "web.example.test"];
    let done = buckler_in(&folder, &all, "");
    assert_eq!(done.code, 2);
    assert!(done.err.contains("playlist asks for no certificate; leave --certificate out"), "{}", done.err);
}
