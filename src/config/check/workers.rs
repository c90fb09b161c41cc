//! `workers`: a list or a DNS name, not both and not neither; who of them gets a request, and how they come back.

use std::collections::HashMap;
use std::time::Duration;

use super::attempts::is_of_one_hop;
use super::{Checker, SECOND, items, value};
use crate::config::file::{self, Field};
use crate::config::report::{Code, Spot};
use crate::config::{Balance, RingKey, WorkerSource, WorkerSpec};

/// So many workers may stand in one list.
const MOST_WORKERS: usize = 10_000;

const HELP: &str = "write `addresses: [\"127.0.0.1:9001\"]`, or `srv:` with a DNS name";

impl Checker<'_> {
    pub(super) fn workers(&mut self, field: &Field<file::Workers>, of: Spot) -> Option<WorkerSource> {
        let workers = self.needed(field, "workers", of, HELP)?;
        let at = field.as_ref().map_or(of, |workers| workers.at);
        match (&workers.addresses, &workers.srv) {
            (Some(_), Some(srv)) => {
                let message = "`srv` stands beside `addresses`";
                self.error(Code::Contradiction, srv.at, message, "write one of the two");
                None
            }
            (None, None) => {
                self.error(Code::MissingKey, at, "`addresses` or `srv` is missing", HELP);
                None
            }
            (None, Some(srv)) => self.srv(srv.value.as_ref()?, srv.at),
            (Some(list), None) => {
                let count = list.value.as_ref()?.len();
                if count == 0 || count > MOST_WORKERS {
                    let message =
                        if count == 0 { "the list of workers is empty" } else { "too many workers" };
                    self.error(
                        Code::BadValue,
                        list.at,
                        message,
                        &format!("write 1 to {MOST_WORKERS} addresses"),
                    );
                }
                Some(WorkerSource::List(self.worker_list(&workers.addresses)))
            }
        }
    }

    /// `balance`; a header to go by belongs to `ring`.
    pub(super) fn balance(&mut self, service: &file::Service) -> Balance {
        let located = value(&service.workers).and_then(|workers| workers.balance.as_ref());
        let Some((balance, at)) = located.and_then(|located| Some((located.value.as_ref()?, located.at)))
        else {
            return Balance::default();
        };
        let by =
            self.needed(&balance.by, "by", at, "write `balance: ring`, or `{ by: ring, header: x-user }`");
        if let (Some(header), Some(by)) = (&balance.header, &balance.by)
            && by.value.is_some_and(|by| by != file::BalanceBy::Ring)
        {
            let message = format!(
                "`header` says what a ring goes by, and `by` at {} is none",
                self.problems.place(by.at)
            );
            self.error(Code::Contradiction, header.at, message, "write `by: ring`, or remove this");
        }
        let header = value(&balance.header).map(|header| &header.0);
        if let (Some(name), Some(located)) = (header, &balance.header)
            && is_of_one_hop(name)
        {
            let message = format!("`{name}` frames a message and tells nobody apart");
            self.error(Code::BadValue, located.at, message, "write one like `x-user`");
        }
        match by {
            None | Some(file::BalanceBy::Weighted) => Balance::Weighted,
            Some(file::BalanceBy::LeastRequests) => Balance::LeastRequests,
            Some(file::BalanceBy::Ring) => {
                Balance::Ring(header.map_or(RingKey::Caller, |name| RingKey::Header(name.clone())))
            }
        }
    }

    /// `slow_start`.
    pub(super) fn slow_start(&mut self, service: &file::Service) -> Duration {
        let written = value(&service.workers).map(|workers| &workers.slow_start);
        self.span(written, 10 * SECOND, Duration::ZERO, 3_600 * SECOND)
    }

    fn worker_list(&mut self, list: &Field<file::List<file::Worker>>) -> Vec<WorkerSpec> {
        let mut first: HashMap<_, Spot> = HashMap::new();
        let mut specs = Vec::new();
        for (worker, at) in items(list) {
            let Some(address) =
                self.needed(&worker.address, "address", at, "write `address: 127.0.0.1:9001`")
            else {
                continue;
            };
            let at = worker.address.as_ref().map_or(at, |address| address.at);
            let address = self.endpoint(address, at);
            if address.tcp().is_some_and(|tcp| tcp.port() == 0 || tcp.ip().is_unspecified()) {
                let message = format!("nobody can be reached at {address}");
                self.error(
                    Code::BadValue,
                    at,
                    message,
                    "write the address and port on which the worker listens",
                );
            }
            if let Some(other) = first.get(&address) {
                let message =
                    format!("the worker {address} is already written at {}", self.problems.place(*other));
                self.error(Code::GivenTwice, at, message, "give one worker more `weight` instead");
                continue;
            }
            first.insert(address.clone(), at);
            let priority = value(&worker.priority).copied().unwrap_or(0);
            specs.push(WorkerSpec { address, priority, weight: value(&worker.weight).copied().unwrap_or(1) });
        }
        specs
    }

    fn srv(&mut self, name: &str, at: Spot) -> Option<WorkerSource> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let label = |label: &str| {
            let letters = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            (1..=63).contains(&label.len()) && letters
        };
        if name.len() > 253 || !name.split('.').all(label) {
            let message = format!("`{}` is not a DNS name", crate::config::tree::shorten(name));
            self.error(Code::BadValue, at, message, "write it as in DNS: `_playlist._http.example.test`");
            return None;
        }
        Some(WorkerSource::Srv(name.into()))
    }
}
