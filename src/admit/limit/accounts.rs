//! The accounts of one service by place. A caller's is fetched from the ledger when it first asks: with many services
//! and many callers, most of them never meet, and an account for each pair would be the larger part of a start.

use std::ops::Index;
use std::sync::{Arc, OnceLock};

use crate::config::{Callers, ServiceName};

use super::super::ledger::{Account, Ledger};
use super::super::seed::keyed_hash;

/// Callers whose places are made together: 1 KiB.
const TOGETHER: usize = 64;

/// So many places in a row.
type Leaf = [OnceLock<Arc<Account>>; TOGETHER];

/// The accounts of a service; the places are those of the callers of `known`, then `others`.
#[derive(Debug)]
pub(in super::super) struct Accounts {
    ledger: Arc<Ledger>,
    service: ServiceName,
    callers: Arc<Callers>,
    known: OnceLock<Box<[OnceLock<Box<Leaf>>]>>,
    others: Box<[Arc<Account>]>,
}

impl Accounts {
    /// Accounts of the callers of `known`, and these behind them.
    pub(in super::super) fn new(
        ledger: Arc<Ledger>,
        service: ServiceName,
        callers: Arc<Callers>,
        others: Vec<Arc<Account>>,
    ) -> Self {
        Self { ledger, service, callers, known: OnceLock::new(), others: others.into() }
    }

    /// How many places callers of `known` have.
    pub(super) fn callers(&self) -> usize {
        self.callers.known.len()
    }

    fn fetch(&self, number: usize) -> Arc<Account> {
        self.ledger.account(keyed_hash((self.service.as_str(), "caller", &*self.callers.known[number].name)))
    }
}

impl Index<usize> for Accounts {
    type Output = Arc<Account>;

    fn index(&self, place: usize) -> &Arc<Account> {
        if let Some(other) = place.checked_sub(self.callers.known.len()) {
            return &self.others[other];
        }
        let leaves = self.known.get_or_init(|| {
            (0..self.callers.known.len().div_ceil(TOGETHER)).map(|_| OnceLock::new()).collect()
        });
        let leaf = leaves[place / TOGETHER].get_or_init(|| Box::new([const { OnceLock::new() }; TOGETHER]));
        leaf[place % TOGETHER].get_or_init(|| self.fetch(place))
    }
}
