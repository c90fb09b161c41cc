//! `buckler explain` and the running Buckler say the same of the same request, whatever is asked.

use crate::world::{ONE_PORT, World, request};

const CASES: usize = 80;

const METHODS: &[&str] = &["GET", "POST", "DELETE", "HEAD", "OPTIONS", "TRACE", "PURGE"];

const PATHS: &[&str] = &[
    "/",
    "/list",
    "/admin",
    "/admin/a",
    "/%61dmin/./a",
    "/x/../admin",
    "//admin",
    "/administrator",
    "/search/a?b=c",
    "/a%2fb",
    "/a\\b",
    "/%zz",
    "/a/%2e%2e/admin?x",
    "/../..",
    "/;a/b",
    "/a%00",
    "/%41%5f%7e",
];

const HOSTS: &[&str] = &["api.example.test", "a:8080", "EXAMPLE.test.", "a_b", "[::1]:80", "a@b", "-"];

/// A key, whether it is known or not; or an address.
const WHO: &[(&str, &str)] = &[
    ("key", "web-secret"),
    ("key", "scraper-secret"),
    ("key", "wrong"),
    ("address", "127.0.0.1"),
    ("address", "127.0.0.9"),
    ("address", "127.0.0.77"),
];

#[test]
fn explain_and_the_running_server_decide_alike() {
    let world = World::new();
    // A shadow and an expired rule stand before the others; rates so high that no request is refused for its time.
    let config = ONE_PORT
        .replace("10/h", "1000/s")
        .replace("      rules:\n", "      rules:\n        - { deny: { methods: [GET] }, mode: shadow }\n");
    let buckler = world.buckler(&config);
    let file = buckler.config_file().to_str().unwrap().to_owned();
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..CASES {
        let (method, path) = (METHODS[random.usize(..METHODS.len())], PATHS[random.usize(..PATHS.len())]);
        let (host, (kind, who)) = (HOSTS[random.usize(..HOSTS.len())], WHO[random.usize(..WHO.len())]);
        let key_file = world.file("asked.key", who);
        let mut arguments = vec!["explain", "-c", &file, "--service", "playlist", "--json"];
        arguments.extend(["--method", method, "--path", path, "--host", host]);
        let mut asked = request(method, path).header("host", host);
        if kind == "key" {
            arguments.extend(["--key-file", key_file.to_str().unwrap(), "--address", "127.0.0.1"]);
            asked = asked.key(who);
        } else {
            arguments.extend(["--address", who]);
            asked = asked.from(who);
        }
        let (code, out, said) = world.command(&arguments);
        assert_eq!(code, 0, "{arguments:?}: {said}");
        let told: serde_json::Value = serde_json::from_str(&out).unwrap();
        let answer = buckler.answer(asked.header("connection", "close"));
        let told = &told["answer"];
        assert_eq!(told["passes"], answer.status == 200, "{arguments:?}: {told}\n{}", answer.head);
        let headers = told["headers"].as_array().unwrap().iter().filter_map(|header| header.as_str());
        let policy = headers.filter_map(|header| header.strip_prefix("ratelimit-policy: ")).next();
        assert_eq!(policy, answer.field("ratelimit-policy"), "{arguments:?}: {told}\n{}", answer.head);
        if answer.status != 200 {
            assert_eq!(told["status"], answer.status, "{arguments:?}: {told}");
            let logged = answer.field("proxy-status").unwrap().to_owned();
            let reason = told["reason"].as_str().unwrap();
            assert!(logged.contains(&format!("reason={reason}")), "{arguments:?}: {told}\n{logged}");
            if let Some(rule) = told["rule"].as_str() {
                assert!(logged.contains(&format!("rule={rule}")), "{arguments:?}: {told}\n{logged}");
            }
        }
    }
}
