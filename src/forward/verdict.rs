//! What an answer's head says of the worker that gave it, and of the service. Both are counted; what a status says of a
//! worker, and what follows from the counts, is decided in `workers`.

use http::StatusCode;

pub(super) use crate::workers::score::Verdict;
use crate::workers::score::verdict;

/// Of gRPC ("Status codes and their use"): the codes that servers give for what they could not do.
const UNKNOWN: u16 = 2;
const INTERNAL: u16 = 13;
const UNAVAILABLE: u16 = 14;
const DATA_LOSS: u16 = 15;

/// What the head says of the worker; `grpc` is the status of an answer of gRPC that is all in its head.
pub(super) fn of_worker(status: StatusCode, grpc: Option<u16>) -> Verdict {
    match grpc {
        Some(UNKNOWN | INTERNAL | UNAVAILABLE | DATA_LOSS) => Verdict::Bad,
        _ => verdict(status),
    }
}

/// What the head says of the service: an overload or a lack of somebody behind it, and not a fault in the request's own
/// work, which fewer requests would not mend.
pub(super) const fn of_service(status: StatusCode, grpc: Option<u16>) -> Verdict {
    match (status.as_u16(), grpc) {
        (502..=504, _) | (_, Some(UNAVAILABLE)) => Verdict::Bad,
        _ => Verdict::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_servers_say_of_themselves_is_bad() {
        let worker = |status: u16| of_worker(StatusCode::from_u16(status).unwrap(), None);
        let service = |status: u16| of_service(StatusCode::from_u16(status).unwrap(), None);
        for status in [101, 200, 204, 304, 400, 401, 404, 408, 429, 499, 501, 505, 507, 599] {
            assert_eq!((worker(status), service(status)), (Verdict::Good, Verdict::Good), "{status}");
        }
        for status in [502, 503, 504] {
            assert_eq!((worker(status), service(status)), (Verdict::Bad, Verdict::Bad), "{status}");
        }
        assert_eq!((worker(500), service(500)), (Verdict::Bad, Verdict::Good));
    }

    #[test]
    fn so_it_is_with_grpc() {
        for grpc in 0..=16 {
            let bad = |verdict| verdict == Verdict::Bad;
            assert_eq!(bad(of_worker(StatusCode::OK, Some(grpc))), [2, 13, 14, 15].contains(&grpc), "{grpc}");
            assert_eq!(bad(of_service(StatusCode::OK, Some(grpc))), grpc == 14, "{grpc}");
        }
    }
}
