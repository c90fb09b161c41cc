//! What people and machines see of Buckler: metrics, health, status, refusals, the access log.

use crate::world::{ONE_PORT, Raw, World, eventually, get, one_service, request};

#[test]
fn metrics_count_every_request_once() {
    let world = World::new();
    let buckler = world.buckler(ONE_PORT);
    for _ in 0..7 {
        buckler.answer(get("/").key("web-secret")).is(200);
    }
    for _ in 0..3 {
        buckler.answer(get("/admin")).is(403);
    }
    eventually("all of them counted", || {
        let metrics = buckler.metrics();
        let requests = |labels: &[(&str, &str)]| metrics.sum("buckler_requests_total", labels).round() as i64;
        requests(&[("service", "playlist"), ("code", "200"), ("reason", "")]) == 7
            && requests(&[("code", "403"), ("reason", "denied_by_rule")]) == 3
            && requests(&[]) == 10
    });
    let metrics = buckler.metrics();
    let count = |name: &str, labels: &[(&str, &str)]| metrics.sum(name, labels).round() as i64;
    assert_eq!(count("buckler_caller_requests_total", &[("caller", "web"), ("verdict", "allowed")]), 7);
    assert_eq!(count("buckler_worker_requests_total", &[]), 7);
    assert_eq!(count("buckler_worker_up", &[]), 4);
    assert_eq!(count("buckler_worker_weight", &[]), 49);
    assert_eq!(count("buckler_limited_total", &[("mode", "enforce"), ("reason", "denied_by_rule")]), 3);
    assert_eq!(count("http_server_request_duration_seconds_count", &[("service", "playlist")]), 10);
    assert_eq!(count("buckler_active_requests", &[]), 0);
    assert_eq!(count("buckler_config_last_reload_success", &[]), 1);
}

#[test]
fn metrics_are_open_metrics() {
    let world = World::new();
    let buckler = world.one_service("");
    let page = buckler.look("/metrics").is(200);
    assert!(page.field("content-type").unwrap().starts_with("application/openmetrics-text"), "{}", page.head);
    let text = page.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let metrics = buckler.metrics();
    assert!(metrics.has("buckler_limiter_keys") && metrics.has("buckler_build_info"), "{text}");
}

#[test]
fn callers_from_everywhere_do_not_make_endless_series() {
    let world = World::new();
    let buckler = world.one_service("");
    for n in 0..400 {
        buckler.answer(get("/").from(&format!("127.1.{}.{}", n / 200, n % 200 + 1))).is(200);
    }
    let metrics = buckler.metrics();
    let mut callers = metrics.values("buckler_caller_requests_total", "caller");
    callers.sort_unstable();
    callers.dedup();
    assert!(callers.len() <= 150, "{} callers have series of their own", callers.len());
    assert!(callers.contains(&"_other"));
    let all = metrics.sum("buckler_caller_requests_total", &[("verdict", "allowed")]);
    assert!((all - 400.0).abs() < 0.5, "{all}");
}

#[test]
fn health_is_told_in_a_word() {
    let world = World::new();
    let buckler = world.one_service("");
    buckler.look("/livez").is(200);
    buckler.look("/readyz").is(200);
    let verbose = buckler.look("/readyz?verbose").is(200).text();
    assert!(verbose.contains("configuration") && verbose.contains("api"), "{verbose}");
    buckler.look("/nonsense").is(404);
}

#[test]
fn the_status_shows_services_workers_and_callers() {
    let world = World::new();
    let buckler = world.buckler(ONE_PORT);
    for _ in 0..8 {
        buckler.answer(get("/").key("web-secret")).is(200);
    }
    let status = buckler.status_json();
    let service = &status["services"][0];
    assert_eq!(service["name"], "playlist");
    assert_eq!(service["requests"], 8);
    let workers = service["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 4);
    let share = |n: usize, key: &str| workers[n][key].as_f64().unwrap();
    assert!((share(2, "share_configured") - 0.5).abs() < 0.01, "{workers:?}");
    assert!((share(2, "share_actual") - 0.5).abs() < 0.26, "{workers:?}");
    assert_eq!(workers[0]["state"], "healthy");
    assert_eq!(workers[3]["priority"], 20);
    let callers = service["callers"].as_array().unwrap();
    let web = callers.iter().find(|caller| caller["name"] == "web").unwrap();
    assert_eq!((web["allowed"].as_u64(), web["refused"].as_u64()), (Some(8), Some(0)));
    assert_eq!(web["tier"], "partner");
    let office = callers.iter().find(|caller| caller["name"] == "office").unwrap();
    assert_eq!(office["agreement"]["owner"], "playlist-squad");
    assert_eq!(office["agreement"]["expired"], false);
}

#[test]
fn a_line_of_the_access_log_tells_the_whole_story() {
    let world = World::new();
    let buckler = world.buckler(ONE_PORT);
    let ask =
        request("POST", "/list/a?secret=1").key("web-secret").header("user-agent", "test/1").body("hello");
    let answer = buckler.answer(ask).is(200);
    let line = buckler.logged("the request", |line| line["path"] == "/list/a");
    for (key, value) in [
        ("service", "playlist"),
        ("caller", "web"),
        ("tier", "partner"),
        ("method", "POST"),
        ("host", "api.example.test"),
        ("client_ip", "127.0.0.1"),
        ("peer_ip", "127.0.0.1"),
        ("user_agent", "test/1"),
    ] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    assert_eq!(line["request_id"].as_str(), answer.field("x-request-id"));
    assert_eq!((line["status"].as_u64(), line["attempts"].as_u64()), (Some(200), Some(1)));
    assert_eq!(line["bytes_in"], 5);
    assert_eq!(line["bytes_out"], answer.body.len());
    assert_eq!(line["worker"], world.worker(answer.worker().unwrap()).address());
    assert!(line["t_total"].as_f64().unwrap() > 0.0 && line["t_ttfb"].as_f64().is_some(), "{line}");
    assert!(line["ts"].as_str().unwrap().starts_with("20"), "{line}");
    assert!(line["reason"].is_null() && !line.to_string().contains("secret="), "{line}");
}

#[test]
fn nothing_that_a_client_sends_breaks_a_line() {
    let world = World::new();
    let buckler = world.one_service("");
    buckler.answer(get("/a\"b?c").header("user-agent", "\"},{\"status\":1} \\ \t end"));
    buckler.answer_to(b"GET /high HTTP/1.1\r\nhost: a\r\nuser-agent: \xff\xfe\xc3\xa9\r\n\r\n");
    buckler.answer(get("/last")).is(200);
    // Two shards write their lines in no order between them.
    eventually("three lines", || buckler.access_log().len() >= 3);
    let log = buckler.access_log();
    assert_eq!(log.len(), 3, "{log:?}");
    let agents: Vec<_> = log.iter().filter_map(|line| line["user_agent"].as_str()).collect();
    assert!(agents.iter().any(|agent| agent.contains("\"},{")), "{log:?}");
}

#[test]
fn usr1_opens_the_log_again() {
    let world = World::new();
    let buckler = world.one_service("");
    buckler.answer(get("/before")).is(200);
    buckler.logged("the first", |line| line["path"] == "/before");
    let file = buckler.config_file().with_extension("log");
    let away = world.dir().join("rotated.log");
    std::fs::rename(&file, &away).unwrap();
    buckler.usr1();
    eventually("a new file", || file.exists());
    buckler.answer(get("/after")).is(200);
    buckler.logged("the second", |line| line["path"] == "/after");
    let old = std::fs::read_to_string(away).unwrap();
    assert!(old.contains("/before") && !old.contains("/after"), "{old}");
}

#[test]
fn a_flood_of_refusals_is_sampled_and_counted() {
    let world = World::new();
    let log = "access_log: { path: \"{dir}/buckler0.log\", refusals_per_second: 2 }\n";
    let buckler = world.buckler(&format!("{log}{}", one_service("permissions: { default: deny }")));
    let mut raw = buckler.connect();
    for _ in 0..300 {
        raw.answer(&get("/flood")).is(403);
    }
    eventually("all counted", || buckler.refused("denied_by_rule").round() as i64 == 300);
    buckler.logged("some of them", |line| line["path"] == "/flood");
    let suppressed = buckler.metrics().sum("buckler_access_log_suppressed_total", &[]);
    assert!(suppressed > 200.0, "{suppressed}");
    eventually("the others logged", || buckler.access_log().len() as f64 + suppressed > 299.0);
    assert!(buckler.access_log().len() < 100);
}

#[test]
fn the_combined_format_is_apaches() {
    let world = World::new();
    let log = "access_log: { path: \"{dir}/plain.log\", format: combined }\n";
    let buckler = world.buckler(&format!("{log}{}", one_service("")));
    buckler.answer(get("/a?b=1").header("user-agent", "test/1").header("referer", "http://r.test/")).is(200);
    let read = || std::fs::read_to_string(world.dir().join("plain.log")).unwrap_or_default();
    eventually("the line", || read().ends_with('\n'));
    let line = read();
    assert!(line.starts_with("127.0.0.1 - address:127.0.0.1 ["), "{line}");
    assert!(line.contains("] \"GET /a HTTP/1.1\" 200 "), "{line}");
    assert!(line.trim_end().ends_with("\"http://r.test/\" \"test/1\""), "{line}");
}

#[test]
fn the_operators_door_is_not_the_publics() {
    let world = World::new();
    let buckler = world.one_service("");
    for page in ["/metrics", "/api/v1/status", "/livez"] {
        let answer = buckler.answer(get(page)).is(200);
        assert_eq!(answer.worker(), Some("a"), "{page} was answered by Buckler itself");
    }
    assert_open_only_on_loopback(&world);
}

/// Without a token the admin listener is for loopback only.
fn assert_open_only_on_loopback(world: &World) {
    let open = format!("admin: {{ listen: \"0.0.0.0:{{admin}}\" }}\n{}", one_service(""));
    let (code, said) = world.check(&open);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("token_file"), "{said}");
}

#[test]
fn a_token_opens_the_operators_door() {
    let world = World::new();
    let token = world.file("token", "open-sesame\n");
    let admin =
        format!("admin: {{ listen: \"127.0.0.1:{{admin}}\", token_file: \"{}\" }}\n", token.display());
    let buckler = world.buckler_starting(&format!("{admin}{}", one_service("")));
    let ask = |token: &str| {
        let mut raw = Raw::try_connect(std::net::Ipv4Addr::LOCALHOST, buckler.admin()).ok()?;
        let ask = buckler.of_admin("/api/v1/status").header("authorization", &format!("Bearer {token}"));
        Some(raw.answer(&ask).status)
    };
    eventually("the status for the token", || ask("open-sesame") == Some(200));
    assert_eq!(ask("wrong"), Some(401));
    assert_eq!(buckler.look("/api/v1/status").status, 401);
    assert!(!buckler.stderr().contains("open-sesame"));
}

#[test]
fn a_reload_asked_for_with_the_token_is_answered_and_a_lost_token_changes_nothing() {
    let world = World::new();
    let token = world.file("token", "open-sesame\n");
    let admin =
        format!("admin: {{ listen: \"127.0.0.1:{{admin}}\", token_file: \"{}\" }}\n", token.display());
    let buckler = world.buckler_starting(&format!("{admin}{}", one_service("")));
    buckler.wait_ready();
    let config = buckler.config_file().to_str().unwrap();
    let (code, out, said) = world.command(&["reload", "-c", config]);
    assert_eq!(code, 0, "{out}{said}");
    std::fs::remove_file(&token).unwrap();
    let ask = |method: &str, path: &str| {
        let ask = request(method, path).header("host", "localhost");
        let mut raw = Raw::try_connect(std::net::Ipv4Addr::LOCALHOST, buckler.admin()).unwrap();
        raw.answer(&ask.header("authorization", "Bearer open-sesame"))
    };
    let refused = ask("POST", "/api/v1/reload").is(422).text();
    assert!(refused.contains("token file"), "{refused}");
    assert_eq!(ask("GET", "/api/v1/status").is(200).json()["config"]["last_reload"]["ok"], false);
}
