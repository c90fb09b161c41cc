//! `workers`: whose turn it is, and how many requests each worker takes.

use super::*;
use crate::config::RingKey;

#[test]
fn a_ring_goes_by_the_caller_or_by_a_header() {
    let ring = |balance: &str| sound(&format!("balance: {balance}"), "").balance;
    assert_eq!(ring("ring"), Balance::Ring(RingKey::Caller));
    assert_eq!(ring("{ by: ring }"), Balance::Ring(RingKey::Caller));
    let by = RingKey::Header(http::HeaderName::from_static("x-user"));
    assert_eq!(ring("{ by: ring, header: X-User }"), Balance::Ring(by));
    assert_eq!(ring("{ by: weighted }"), Balance::Weighted);
}

#[test]
fn a_balance_is_one_of_three_words() {
    says(
        "balance: least_request",
        "",
        "4:56: `least_request` is not one of `weighted`, `least_requests`, `ring`",
        "did you mean `least_requests`?",
    );
    says(
        "balance: { by: weighted, header: x-user }",
        "",
        "4:80: `header` says what a ring goes by, and `by` at t.yaml:4:62 is none",
        "write `by: ring`",
    );
    says("balance: { header: x-user }", "", "4:56: `by` is missing", "write `balance: ring`");
    says(
        "balance: { by: ring, header: te }",
        "",
        "4:76: `te` frames a message and tells nobody apart",
        "write one like `x-user`",
    );
    says("concurrent_per_worker: 0", "", "4:70: 0 is out of bounds", "write 1 to 1000000");
    says("slow_start: 2h", "", "4:59: `2h` is out of bounds", "write 0s to 1h");
    says("slow_star: 2s", "", "4:47: unknown key `slow_star`", "did you mean `slow_start`?");
}
