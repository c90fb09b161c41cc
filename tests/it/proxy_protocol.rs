//! PROXY headers: from load balancers in front, by hand and by HAProxy and curl; and to workers, read by nginx and
//! HAProxy. What a header may look like is tested beside its parser.

use std::time::Duration;

use crate::neighbours::{curl, curl_unix, haproxy, nginx};
use crate::world::{Buckler, End, Raw, World, free_port, get, one_service};

const TRUSTED: &str = "callers: { trusted_proxies: [127.0.0.1/32] }\n";

/// 192.0.2.7:33333 to 198.51.100.1:443.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x82\x35\x01\xbb";
const V2_UNKNOWN: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn receiving(world: &World) -> Buckler {
    world.buckler(&format!("{TRUSTED}{}", one_service("proxy_protocol: true")))
}

/// The name under which the worker `a` saw the last request.
#[track_caller]
fn named(world: &World) -> String {
    world.worker("a").last().field("x-buckler-caller").expect("every request has a caller").to_owned()
}

#[test]
fn a_header_of_a_trusted_peer_names_the_client() {
    let world = World::new();
    let buckler = receiving(&world);
    for (header, caller) in [
        (&b"PROXY TCP4 192.0.2.7 198.51.100.1 33333 443\r\n"[..], "address:192.0.2.7"),
        (b"PROXY TCP6 2001:db8:1:2::7 2001:db8::1 33333 443\r\n", "address:2001:db8:1:2::/64"),
        (b"PROXY TCP6 ::ffff:192.0.2.8 ::ffff:198.51.100.1 1 443\r\n", "address:192.0.2.8"),
        (b"PROXY UNKNOWN\r\n", "address:127.0.0.1"),
        (V2, "address:192.0.2.7"),
        (V2_LOCAL, "address:127.0.0.1"),
    ] {
        let mut raw = buckler.connect();
        raw.send(header);
        raw.answer(&get("/")).is(200);
        assert_eq!(named(&world), caller, "{:?}", String::from_utf8_lossy(header));
        // It is said once, for the connection.
        raw.answer(&get("/again")).is(200);
        assert_eq!(named(&world), caller);
    }
    let seen = world.worker("a").seen();
    assert_eq!(
        seen[0].field("x-forwarded-for"),
        Some("192.0.2.7"),
        "the worker is told of the balancer instead"
    );
}

#[test]
fn a_client_that_a_balancer_has_no_address_of_is_not_trusted_as_the_balancer_is() {
    let world = World::new();
    let buckler = receiving(&world);
    let forging = get("/").header("x-forwarded-for", "192.0.2.66").header("x-request-id", "forged");
    for (header, caller) in [
        (&b"PROXY UNKNOWN\r\n"[..], "address:127.0.0.1"),
        (V2_UNKNOWN, "address:127.0.0.1"),
        (V2_LOCAL, "address:192.0.2.66"),
    ] {
        let mut raw = buckler.connect();
        raw.send(header);
        raw.answer(&forging).is(200);
        assert_eq!(named(&world), caller, "{header:?}");
        let seen = world.worker("a").last();
        let is_local = header == V2_LOCAL;
        assert_eq!(seen.field("x-request-id") == Some("forged"), is_local, "{}", seen.head);
        let told = if is_local { "192.0.2.66, 127.0.0.1" } else { "127.0.0.1" };
        assert_eq!(seen.field("x-forwarded-for"), Some(told), "{}", seen.head);
    }
}

#[test]
fn a_balancer_that_has_no_address_of_the_client_gives_workers_none() {
    let world = World::new();
    let (_nginx, buckler) = sending(&world, "proxy_protocol: true");
    for header in [&b"PROXY UNKNOWN\r\n"[..], V2_UNKNOWN] {
        let mut raw = buckler.connect();
        raw.send(header);
        assert_eq!(told(&mut raw)[..2], [":", ":"]);
    }
}

#[test]
fn how_a_header_is_cut_does_not_matter() {
    let world = World::new();
    let buckler = receiving(&world);
    for header in [&b"PROXY TCP4 192.0.2.7 198.51.100.1 33333 443\r\n"[..], V2] {
        let mut raw = buckler.connect();
        raw.drip(header, Duration::from_millis(1));
        raw.answer(&get("/")).is(200);
        assert_eq!(named(&world), "address:192.0.2.7");
        // In one piece with the request.
        let whole = [header, &get("/").bytes()].concat();
        buckler.answer_to(whole).is(200);
        assert_eq!(named(&world), "address:192.0.2.7");
    }
}

#[test]
fn a_missing_or_malformed_header_closes_the_connection_without_a_word() {
    let world = World::new();
    let buckler = receiving(&world);
    let request = get("/").bytes();
    for header in [
        &b""[..],
        b"PROXY TCP4 192.0.2.7 198.51.100.1 33333\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 33333 443\n",
        b"PROXY TCP4 192.0.2.07 198.51.100.1 33333 443\r\n",
        b" PROXY UNKNOWN\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x11\0\0\0",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02ab",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ] {
        buckler.connect().send([header, &request].concat()).closed();
    }
    // Twice: the second is no request.
    buckler.connect().send(b"PROXY UNKNOWN\r\nPROXY UNKNOWN\r\n").read_response().is(400);
    assert_eq!(world.worker("a").count(), 0);
}

#[test]
fn a_header_of_a_stranger_is_not_believed() {
    let world = World::new();
    let buckler = receiving(&world);
    let request = get("/").bytes();
    for header in [&b"PROXY TCP4 192.0.2.7 198.51.100.1 33333 443\r\n"[..], V2, V2_LOCAL, b""] {
        let mut raw = Raw::connect_from("127.0.0.9".parse().unwrap(), buckler.port());
        raw.send([header, &request].concat()).closed();
    }
    assert_eq!(world.worker("a").count(), 0);
}

#[test]
fn a_connection_too_many_behind_a_balancer_is_closed_without_a_byte() {
    let world = World::new();
    let more = one_service("proxy_protocol: true\nbounds: { connections: 1 }");
    let buckler = world.buckler(&format!("{TRUSTED}{more}"));
    let mut held = buckler.connect();
    held.send(V2);
    held.answer(&get("/")).is(200);
    assert_eq!(buckler.connect().closed(), End::Closed);
    assert_eq!(buckler.refused("connections"), 1.0);
}

#[test]
fn without_the_key_a_header_is_no_request() {
    let world = World::new();
    let buckler = world.buckler(&format!("{TRUSTED}{}", one_service("")));
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 33333 443\r\n";
    buckler.connect().send([&header[..], &get("/").bytes()].concat()).read_response().is(400);
    assert_eq!(world.worker("a").count(), 0);
}

#[test]
fn haproxy_in_front_names_its_clients_in_both_versions() {
    let world = World::new();
    let buckler = receiving(&world);
    for sends in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority check inter 100",
    ] {
        let port = free_port();
        let sections = format!(
            "listen front\n  mode tcp\n  bind 127.0.0.1:{port}\n  unique-id-format x%ci\n  \
             server b 127.0.0.1:{} {sends}",
            buckler.port()
        );
        let _haproxy = haproxy(&world, port, &sections);
        for client in ["127.0.0.5", "127.0.0.6"] {
            let mut raw = Raw::connect_from(client.parse().unwrap(), port);
            raw.answer(&get("/")).is(200);
            assert_eq!(named(&world), format!("address:{client}"), "{sends}");
        }
    }
}

#[test]
fn curl_sends_a_header_of_its_own() {
    let world = World::new();
    let buckler = receiving(&world);
    let url = format!("http://127.0.0.1:{}/curl", buckler.port());
    let (status, _) = curl(&["--haproxy-protocol", &url]);
    assert_eq!((status, world.worker("a").last().target.as_str()), (200, "/curl"));
    assert_eq!(curl(&[&url]).0, 0, "without a header");
}

/// What nginx says that a PROXY header told it, and which connection it came on.
const NGINX_TELLS: &str = "return 200 \"$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port $connection\";";

/// Buckler in front of an nginx that wants PROXY headers; `more` stands in the service.
fn sending(world: &World, more: &str) -> (crate::neighbours::Neighbour, Buckler) {
    let port = free_port();
    let server = format!("    listen 127.0.0.1:{port} proxy_protocol;\n    location / {{ {NGINX_TELLS} }}");
    let nginx = nginx(world, &server, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let config = format!(
        "{TRUSTED}threads: 1\nservices:\n  api:\n    listen: 127.0.0.1:{{port}}\n    {more}\n    \
         workers: {{ send_proxy_protocol: true, addresses: [\"127.0.0.1:{port}\"] }}\n"
    );
    (nginx, world.buckler(&config))
}

/// The client, the destination and the connection, as nginx tells them.
#[track_caller]
fn told(raw: &mut Raw) -> [String; 3] {
    let text = raw.answer(&get("/")).is(200).text();
    let words: Vec<_> = text.split(' ').map(str::to_owned).collect();
    words.try_into().unwrap_or_else(|words| panic!("{words:?}"))
}

#[test]
fn a_worker_is_told_of_the_client_and_of_nobody_else_on_one_connection() {
    let world = World::new();
    let (_nginx, buckler) = sending(&world, "");
    let here = format!("127.0.0.1:{}", buckler.port());
    let mut first = Raw::connect_from("127.0.0.5".parse().unwrap(), buckler.port());
    let [client, destination, connection] = told(&mut first);
    assert!(client.starts_with("127.0.0.5:"), "{client}");
    assert_eq!(destination, here);
    assert_eq!(told(&mut first), [client.clone(), here.clone(), connection.clone()], "it is used again");
    let mut second = Raw::connect_from("127.0.0.5".parse().unwrap(), buckler.port());
    let [other_client, _, other_connection] = told(&mut second);
    assert!(other_client.starts_with("127.0.0.5:") && other_client != client, "{other_client}");
    assert_ne!(other_connection, connection, "it spoke for another");
    assert_eq!(told(&mut first), [client, here, connection]);
}

#[test]
fn a_connection_older_than_the_reload_that_tells_workers_is_told_with_its_client() {
    let world = World::new();
    let port = free_port();
    let server = format!("    listen 127.0.0.1:{port} proxy_protocol;\n    location / {{ {NGINX_TELLS} }}");
    let _nginx = nginx(&world, &server, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let buckler = world.one_service("");
    let mut raw = Raw::connect_from("127.0.0.5".parse().unwrap(), buckler.port());
    raw.answer(&get("/")).is(200);
    let telling = one_service("")
        .replace("workers:", "workers:\n      send_proxy_protocol: true")
        .replace("{worker:a}", &format!("127.0.0.1:{port}"));
    world.reload(&buckler, &telling);
    let [client, destination, _] = told(&mut raw);
    assert!(client.starts_with("127.0.0.5:"), "{client}");
    assert_eq!(destination, format!("127.0.0.1:{}", buckler.port()));
}

#[test]
fn what_a_balancer_in_front_says_of_the_client_is_told_on() {
    let world = World::new();
    let (_nginx, buckler) = sending(&world, "proxy_protocol: true");
    let mut raw = buckler.connect();
    raw.send(V2);
    assert_eq!(told(&mut raw)[..2], ["192.0.2.7:33333", "198.51.100.1:443"]);
    let mut raw = buckler.connect();
    raw.send("PROXY TCP6 2001:db8::7 2001:db8::1 1 443\r\n");
    assert_eq!(told(&mut raw)[..2], ["2001:db8::7:1", "2001:db8::1:443"]);
}

#[test]
fn connections_that_only_carry_bytes_are_told_of_too() {
    let world = World::new();
    let (_nginx, buckler) = sending(&world, "proxy_protocol: true\n    protocol: tcp");
    let mut raw = buckler.connect();
    // What stands right behind the header is not lost.
    raw.send([V2, &get("/").bytes()[..]].concat());
    assert!(raw.read_response().is(200).text().starts_with("192.0.2.7:33333 198.51.100.1:443 "));
    assert_eq!(told(&mut raw)[..2], ["192.0.2.7:33333", "198.51.100.1:443"]);
    drop(raw);
    buckler.logged("the connection", |line| line["caller"] == "address:192.0.2.7" && line["proto"] == "TCP");
    let (_nginx, buckler) = sending(&world, "protocol: tcp");
    let mut raw = Raw::connect_from("127.0.0.5".parse().unwrap(), buckler.port());
    let [client, destination, _] = told(&mut raw);
    assert!(client.starts_with("127.0.0.5:"), "{client}");
    assert_eq!(destination, format!("127.0.0.1:{}", buckler.port()));
}

#[test]
fn a_client_of_a_unix_socket_has_no_address_to_tell() {
    let world = World::new();
    let port = free_port();
    let server = format!("    listen 127.0.0.1:{port} proxy_protocol;\n    location / {{ {NGINX_TELLS} }}");
    let _nginx = nginx(&world, &server, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let _buckler = world.buckler(&format!(
        "services:\n  api:\n    listen: unix:{{dir}}/api.sock\n    \
         workers: {{ send_proxy_protocol: true, addresses: [\"127.0.0.1:{port}\"] }}\n"
    ));
    let (status, text) = curl_unix(&world.dir().join("api.sock"), "/");
    assert_eq!(status, 200, "{text}");
    assert!(text.starts_with(": : "), "{text}");
}

#[test]
fn haproxy_behind_takes_the_client_from_the_header() {
    let world = World::new();
    let port = free_port();
    let sections = format!(
        "listen back\n  bind 127.0.0.1:{port} accept-proxy\n  http-request set-header x-src %[src]:%[src_port]\n  \
         http-request set-header x-dst %[dst]:%[dst_port]\n  server a {}",
        world.worker("a").address()
    );
    let _haproxy = haproxy(&world, port, &sections);
    let buckler = world.buckler(&format!(
        "services:\n  api:\n    listen: 127.0.0.1:{{port}}\n    \
         workers: {{ send_proxy_protocol: true, addresses: [\"127.0.0.1:{port}\"] }}\n"
    ));
    buckler.answer(get("/").from("127.0.0.5")).is(200);
    let seen = world.worker("a").last();
    assert!(seen.field("x-src").is_some_and(|src| src.starts_with("127.0.0.5:")), "{}", seen.head);
    assert_eq!(seen.field("x-dst"), Some(&*format!("127.0.0.1:{}", buckler.port())));
}
