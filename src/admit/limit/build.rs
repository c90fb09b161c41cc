//! Building a limit book: numbers in place of names, an account in the ledger for everybody named.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::config::{Callers, Quota, Service};

use super::super::cost::Costs;
use super::super::headers::quoted;
use super::super::ledger::{Account, Ledger};
use super::super::meter::{Meter, Place};
use super::super::seed::keyed_hash;
use super::accounts::Accounts;
use super::{Agreed, Limit, LimitBook};

/// The limits of the configuration before, by their names.
type Before<'a> = HashMap<&'a str, &'a Limit>;

pub(super) fn book(
    service: &Service,
    callers: &Arc<Callers>,
    ledger: Arc<Ledger>,
    before: Option<&LimitBook>,
) -> LimitBook {
    static BOOKS: AtomicU64 = AtomicU64::new(1);
    let before = before.map(|before| &*before.limits).unwrap_or_default();
    let before: Before<'_> = before.iter().map(|limit| (limit.rule.name.as_str(), limit)).collect();
    let name = service.name.as_str();
    let limits = &service.limits;
    // The order of places: callers of `known`, shared agreements, the total.
    let mut others: Vec<Arc<Account>> = Vec::new();
    let mut taken = HashSet::new();
    for agreement in limits.agreements.iter().filter(|agreement| agreement.shared) {
        let members = agreement.callers.iter().filter_map(|number| callers.known.get(*number));
        let keys: Vec<u64> = members.map(|member| keyed_hash((name, "shared", &*member.name))).collect();
        let account = ledger.group_account(&keys, &taken);
        taken.insert(Arc::as_ptr(&account));
        others.push(account);
    }
    others.push(ledger.account(keyed_hash((name, "total"))));
    let total_place = Place::Account(callers.known.len() + others.len() - 1);
    let accounts = Accounts::new(Arc::clone(&ledger), service.name.clone(), Arc::clone(callers), others);

    let mut book = LimitBook {
        number: BOOKS.fetch_add(1, Relaxed),
        service: keyed_hash((name, "strangers")),
        costs: Costs::new(&limits.costs),
        headers: limits.headers,
        limits: Vec::new(),
        agreed: HashMap::default(),
        tiers: Vec::new(),
        default: None,
        total: None,
        accounts: Arc::new(accounts),
        region: ledger.region(name),
        ledger,
    };
    book.default = limits.default.as_ref().map(|quota| book.add(quota, &before));
    book.total = limits.total.as_ref().map(|quota| (book.add(quota, &before), total_place));
    book.tiers = callers.tiers.iter().map(|tier| book.add(&tier.quota, &before)).collect();
    let mut shared_place = callers.known.len();
    for agreement in &limits.agreements {
        let limit = book.add(&agreement.quota, &before);
        for &number in &agreement.callers {
            let place = Place::Account(if agreement.shared { shared_place } else { number });
            book.agreed.insert(number, Agreed { limit, place, until: agreement.until });
        }
        shared_place += usize::from(agreement.shared);
    }
    book
}

impl LimitBook {
    fn add(&mut self, quota: &Quota, before: &Before<'_>) -> usize {
        let before = before.get(quota.rule_ref.name.as_str()).and_then(|limit| limit.meter.as_ref());
        let meter = quota
            .rate
            .map(|rate| Meter::new(rate, before, (self.ledger.clone(), self.region), self.accounts.clone()));
        self.limits.push(Limit {
            name: quoted(&quota.rule_ref.name),
            // Above 65,535 limits the numbers end; those behind show the last one's name.
            number: u16::try_from(self.limits.len()).unwrap_or(u16::MAX),
            rule: quota.rule_ref.clone(),
            mode: quota.mode,
            meter,
            concurrent: quota.concurrent,
        });
        self.limits.len() - 1
    }
}
