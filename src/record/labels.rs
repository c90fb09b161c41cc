//! The closed sets behind the labels `method`, `code`, `code_class` and `state`, so that no client can make new series.

use http::Method;

/// Methods with a series of their own; every other is [`OTHER_METHOD`].
pub const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY", OTHER_METHOD];

/// The label of a method that is none of the known ones (as OpenTelemetry writes it).
pub const OTHER_METHOD: &str = "_OTHER";

/// The place of a method in [`METHODS`].
pub fn method_index(method: Option<&Method>) -> u8 {
    match method {
        Some(&Method::GET) => 0,
        Some(&Method::HEAD) => 1,
        Some(&Method::POST) => 2,
        Some(&Method::PUT) => 3,
        Some(&Method::DELETE) => 4,
        Some(&Method::PATCH) => 5,
        Some(&Method::OPTIONS) => 6,
        Some(&Method::QUERY) => 7,
        _ => 8,
    }
}

/// Status codes with a series of their own. `000` is for what has none, a connection of `protocol: tcp`; the last three
/// stand for the others.
pub const CODES: [&str; 47] = [
    "000", "101", "200", "201", "202", "204", "205", "206", "207", "300", "301", "302", "303", "304", "307",
    "308", "400", "401", "402", "403", "404", "405", "406", "408", "409", "410", "411", "412", "413", "414",
    "415", "416", "417", "421", "422", "428", "429", "431", "499", "500", "502", "503", "504", "505", "2xx",
    "4xx", "_other",
];

/// The place of a status code in [`CODES`].
pub fn code_index(code: u16) -> usize {
    INDEX.get(usize::from(code)).copied().map_or(CODES.len() - 1, usize::from)
}

/// Classes of status codes, as the label `code_class` shows them.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The states of a worker, as the label `state` shows them.
pub const STATES: [&str; 4] = ["healthy", "suspect", "ejected", "returning"];

/// The place of every status code below 600 in [`CODES`].
const INDEX: [u8; 600] = index();

const fn index() -> [u8; 600] {
    let last = CODES.len() - 1;
    let mut index = [last as u8; 600];
    let mut code = 200;
    while code < 300 {
        index[code] = (last - 2) as u8;
        code += 1;
    }
    code = 400;
    while code < 500 {
        index[code] = (last - 1) as u8;
        code += 1;
    }
    let mut place = 0;
    while place < CODES.len() - 3 {
        let digits = CODES[place].as_bytes();
        let code = (digits[0] - b'0') as usize * 100
            + (digits[1] - b'0') as usize * 10
            + (digits[2] - b'0') as usize;
        index[code] = place as u8;
        place += 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Reason;

    #[test]
    fn every_answer_of_our_own_has_a_code_of_its_own() {
        for reason in Reason::all() {
            assert_eq!(CODES[code_index(reason.status())], reason.status().to_string());
        }
    }

    #[test]
    fn codes_outside_the_set_fall_into_their_class() {
        assert_eq!(CODES[code_index(226)], "2xx");
        assert_eq!(CODES[code_index(418)], "4xx");
        assert_eq!(CODES[code_index(599)], "_other");
        assert_eq!(CODES[code_index(999)], "_other");
        assert_eq!(CODES[code_index(99)], "_other");
        assert_eq!(CODES[code_index(0)], "000");
    }

    #[test]
    fn an_invented_method_makes_no_series() {
        let invented = Method::from_bytes(b"BREW").unwrap();
        let label = |method: Option<&Method>| METHODS[usize::from(method_index(method))];
        assert_eq!(label(Some(&invented)), "_OTHER");
        assert_eq!(label(None), "_OTHER");
        for name in METHODS {
            assert_eq!(label(Some(&Method::from_bytes(name.as_bytes()).unwrap())), name);
        }
    }
}
