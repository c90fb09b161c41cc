//! A flood of made-up callers: it costs fixed memory, and those who are known do not notice.

use crate::world::{Buckler, Raw, World, callers, eventually, get, one_service, service};

/// Made-up addresses; each comes once. They are thirty times what is remembered.
const STRANGERS: u32 = 30_000;

/// Strangers remembered at once.
const REMEMBERED: u32 = 1024;

/// Requests sent in one go.
const AT_ONCE: u32 = 100;

/// What the flood may cost in resident memory: buffers and the allocator's slack, not 30,000 of anything.
const MEMORY_BYTES: f64 = 12e6;

/// Sends one request of each of so many made-up addresses through the trusted proxy; returns how many passed.
fn flood(buckler: &Buckler, port: u16) -> u32 {
    let mut proxy = Raw::connect_from("127.0.0.2".parse().unwrap(), port);
    let mut passed = 0;
    for begin in (0..STRANGERS).step_by(AT_ONCE as usize) {
        let address = |n: u32| std::net::Ipv4Addr::from_bits(0x0B00_0000 + (begin + n) * 193);
        let asks = (0..AT_ONCE).map(|n| get("/").header("x-forwarded-for", &address(n).to_string()).bytes());
        proxy.send(asks.flatten().collect::<Vec<u8>>());
        passed += (0..AT_ONCE).map(|_| u32::from(proxy.read_response().status == 200)).sum::<u32>();
    }
    assert!(buckler.runs());
    passed
}

#[test]
fn a_flood_of_made_up_addresses_takes_fixed_memory_and_nothing_from_a_known_caller() {
    let world = World::new();
    let known =
        callers().replace("callers:\n", &format!("callers:\n  ledger: {{ max_keys: {REMEMBERED} }}\n"));
    let limits = "limits:\n  default: { rate: 1/h, burst: 2 }\n  agreements:\n    \
                  - { caller: office, rate: 1/h, burst: 5 }";
    let two = service(&["b"], "limits: { default: { rate: 100/s, burst: 100 } }")
        .replace("services:\n  api:\n", "  two:\n")
        .replace("{port}", "{port:two}");
    let buckler = world.buckler(&format!("{known}{}{two}", one_service(limits)));
    let office = || buckler.answer(get("/").from("127.0.0.9")).status;
    assert_eq!([office(), office()], [200, 200]);
    let memory = || buckler.metrics().sum("process_resident_memory_bytes", &[]);
    let before = memory();
    let passed = flood(&buckler, buckler.port());
    assert!(passed < 4 * REMEMBERED, "{passed} strangers passed a table of {REMEMBERED} full of debts");
    let grown = memory() - before;
    assert!(grown < MEMORY_BYTES, "{grown} bytes");
    assert_eq!(
        [office(), office(), office(), office()],
        [200, 200, 200, 429],
        "two of five were used before"
    );
    let keys = buckler.metrics().sum("buckler_limiter_keys", &[]);
    assert!(keys <= f64::from(REMEMBERED), "{keys}");
    let crowded = buckler.metrics().sum("buckler_limiter_evictions_total", &[]);
    assert!(
        crowded > f64::from(STRANGERS / 2),
        "{crowded}: the operator cannot see that the table is too small"
    );
    // Nor do strangers of another service pay for it.
    for n in 1..100 {
        let stranger = get("/").from(&format!("127.0.1.{n}"));
        let answer = Raw::connect_from(format!("127.0.1.{n}").parse().unwrap(), buckler.port_of("two"));
        let mut answer = answer;
        answer.answer(&stranger).is(200);
    }
    eventually("everybody counted", || {
        buckler.metrics().sum("buckler_caller_requests_total", &[("service", "api")]).round() as u32
            == STRANGERS + 6
    });
    let metrics = buckler.metrics();
    let mut names = metrics.values("buckler_caller_requests_total", "caller");
    names.sort_unstable();
    names.dedup();
    assert!(names.len() < 150, "{} callers have series of their own", names.len());
}
