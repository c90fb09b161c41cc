//! Numbers, words and names that are out of bounds or without their unit. Addresses stand in `addresses.rs`.

use super::*;

#[test]
fn a_number_without_its_unit_is_told_what_to_write() {
    assert_eq!(
        inside("timeouts: { head: 10 }"),
        ["t.yaml:6:23: `10` is not a duration: a number alone has no unit"]
    );
    assert_eq!(
        inside("bounds: { body_bytes: 1000 }"),
        ["t.yaml:6:27: `1000` is not a size: a number alone has no unit"]
    );
    assert_eq!(
        inside("bounds: { upload_rate: 240 }"),
        ["t.yaml:6:28: `240` is not a size: a number alone has no unit"]
    );
    let text = SERVICE.replace("10/s", "10");
    assert_eq!(told(&load_text(&text)), ["t.yaml:5:32: `10` is not a rate: a number alone has no unit"]);
    assert_eq!(help(&text), "write how many in which time: `100/s`, `6000/min`, `10/h` or `5/d`");
    let text = SERVICE.replace("10/s", "0/s");
    assert_eq!(told(&load_text(&text)), ["t.yaml:5:32: a rate of 0 lets nothing pass"]);
}

#[test]
fn values_out_of_bounds_are_told_the_bounds() {
    assert_eq!(beside("threads: 0"), ["t.yaml:6:10: 0 is out of bounds"]);
    assert_eq!(
        inside("timeouts: { head: 2d, total: 0s }"),
        ["t.yaml:6:23: `2d` is out of bounds", "t.yaml:6:34: `0s` is out of bounds",]
    );
    assert_eq!(
        inside("bounds: { head_bytes: 4KiB, uri_bytes: 8KiB }"),
        ["t.yaml:6:44: `8KiB` is out of bounds"]
    );
    // `http::Uri` holds no more than 65,534 bytes; a longer target would be let in and then refused.
    assert_eq!(
        inside("bounds: { head_bytes: 1MiB, uri_bytes: 64KiB }"),
        ["t.yaml:6:44: `64KiB` is out of bounds"]
    );
    assert!(inside("bounds: { head_bytes: 1MiB, uri_bytes: 65534B }").is_empty());
    assert_eq!(inside("bounds: { upload_rate: 0B }"), ["t.yaml:6:28: `0B` is out of bounds"]);
    assert_eq!(inside("bounds: { upload_rate: 2GiB }"), ["t.yaml:6:28: `2GiB` is out of bounds"]);
    assert!(inside("bounds: { upload_rate: none }").is_empty());
    assert_eq!(beside("callers: { address: { ipv4_prefix: 33 } }"), ["t.yaml:6:36: 33 is out of bounds"]);
    assert_eq!(beside("callers: { ledger: { max_keys: 7 } }"), ["t.yaml:6:32: 7 is out of bounds"]);
    assert_eq!(beside("log: { level: 'x=y=z' }"), ["t.yaml:6:15: `x=y=z` is not a level"]);
    assert_eq!(beside("log: { level: loud }"), ["t.yaml:6:15: `loud` is not a level"]);
    assert!(beside("log: { level: 'info,buckler::workers=debug' }").is_empty());
    assert_eq!(beside("access_log: { path: '' }"), ["t.yaml:6:21: `path` is empty"]);
    assert_eq!(
        beside("access_log: { format: jsn }"),
        ["t.yaml:6:23: `jsn` is not one of `json`, `combined`, `off`"]
    );
}

#[test]
fn a_weight_over_65535_is_an_error() {
    let text = SERVICE.replace("\"127.0.0.1:9001\"", "{ address: 127.0.0.1:9001, weight: 65536 }");
    assert_eq!(told(&load_text(&text)), ["t.yaml:4:63: `65536` is not a whole number from 0 to 65535"]);
}

#[test]
fn a_service_has_a_name_that_fits_into_a_log() {
    let text = SERVICE.replace("  a:", "  \"a b\":");
    assert_eq!(told(&load_text(&text)), ["t.yaml:2:3: `a b` is not a name for a service"]);
}
