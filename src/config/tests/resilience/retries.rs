//! `retries`, `retry`, and the deadline that workers are told.

use super::*;

#[test]
fn retries_are_written_once_and_of_failures() {
    for (lines, what, help) in [
        (
            "retry: { attempts: 2 }\nretries: { attempts: 3 }",
            "7:14: `retries` and `retry` are the same, and `retry` is already written at t.yaml:6:12",
            "write all of it under `retries`",
        ),
        (
            "retries: { attempts: 2 }\nretry: { attempts: 3 }",
            "7:12: `retries` and `retry` are the same, and `retries` is already written at t.yaml:6:14",
            "write all of it under `retries`",
        ),
        ("retries: { attempts: 0 }", "6:26: 0 is out of bounds", "write 1 to 10"),
        ("retries: { attempts: 11 }", "6:26: 11 is out of bounds", "write 1 to 10"),
        ("retries: { budget: 20 }", "6:24: `20` is not a share", "write a whole number"),
        (
            "retries: { on: [404] }",
            "6:21: a status of 404 is no failure of a worker",
            "write statuses from 500",
        ),
        (
            "retries: { on: [600] }",
            "6:21: a status of 600 is no failure of a worker",
            "write statuses from 500",
        ),
        ("retries: { on: [502, 502] }", "6:26: 502 is written twice", "remove one"),
        (
            "retries: { attempts: 1, on: [502] }",
            "6:33: `on`, and `attempts: 1` at t.yaml:6:26 never tries again",
            "write `attempts: 2`",
        ),
        (
            "retries: { budget: 0%, on: [502] }",
            "6:32: `on`, and `budget: 0%` at t.yaml:6:24 never tries again",
            "write `budget: 20%`",
        ),
        ("retrys: {}", "6:5: unknown key `retrys`", "did you mean `retry`?"),
        (
            "timeouts: { deadline_header: x-a }",
            "6:34: `deadline_header` without `total`: there is no time to tell of",
            "write `total: 5s`",
        ),
        (
            "timeouts: { total: off, deadline_header: x-a }",
            "6:46: `deadline_header`, and `total` is off at t.yaml:6:24: there is no time to tell of",
            "write `total: 5s`",
        ),
        (
            "timeouts: { total: 1s, deadline_header: Host }",
            "6:45: `host` already means something else in a request",
            "write a name of your own",
        ),
        (
            "timeouts: { total: 1s, deadline_header: Via }",
            "6:45: `via` already means something else in a request",
            "write a name of your own",
        ),
        (
            "timeouts: { total: 1s, deadline_header: x-api-key }",
            "6:45: `x-api-key` already means something else in a request",
            "write a name of your own",
        ),
    ] {
        says("", lines, what, help);
    }
}
