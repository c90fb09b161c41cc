//! Which rules may match a request, found without looking at the others. Each rule stands under that part of it which
//! it shares with the fewest others: the callers that it names, its hosts, its paths, its tiers or its methods. What a
//! request brings leads to lists of rules, and these are walked together in the order of the file.
//!
//! A list may hold rules that do not match; it never lacks one that does. So whether a rule matches is asked of each
//! candidate as before, and the first that matches decides as before.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;
use http::Method;

use crate::config::{CallerPattern, HostPattern, PathPattern, Rule, Segment};

use super::super::Facts;
use super::super::caller::{Caller, Who};
use super::super::pattern::plain_segment;

/// So many lists are walked together; with more of them every rule is asked.
const LISTS: usize = 24;

/// Numbers of rules, ascending.
type List = Vec<u32>;
type Lists<K> = HashMap<K, List, RandomState>;

/// All rules of a service, each in one kind of list.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Those that must be asked of every request.
    always: List,
    known: Lists<usize>,
    names: Lists<Arc<str>>,
    tiers: Lists<usize>,
    methods: Lists<Method>,
    hosts: Lists<Arc<str>>,
    /// By what stands behind the first label, with its dot.
    suffixes: Lists<Arc<str>>,
    paths: Step,
}

/// What may follow the segments of a path so far.
#[derive(Debug, Default)]
struct Step {
    /// By a segment as [`plain_segment`] has it.
    literals: HashMap<Box<[u8]>, Self, RandomState>,
    one: Option<Box<Self>>,
    /// Rules of which a pattern ends here.
    ends: List,
    /// Rules of which a pattern has `**` here.
    rests: List,
}

/// A value that leads to a rule.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key<'r> {
    Known(usize),
    Name(&'r Arc<str>),
    Tier(usize),
    Method(&'r Method),
    Host(&'r Arc<str>),
    Suffix(&'r Arc<str>),
    Path(&'r [Segment]),
}

impl Index {
    /// An index of these rules.
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut shared: HashMap<Key<'_>, u32, RandomState> = HashMap::default();
        for key in rules.iter().flat_map(keys).flatten() {
            *shared.entry(key).or_default() += 1;
        }
        let mut index = Self::default();
        for (rule, number) in rules.iter().zip(0..) {
            let most = |keys: &Vec<Key<'_>>| keys.iter().filter_map(|key| shared.get(key)).max().copied();
            match keys(rule).min_by_key(most) {
                Some(keys) => keys.into_iter().for_each(|key| index.add(key, number)),
                None => index.always.push(number),
            }
        }
        index
    }

    fn add(&mut self, key: Key<'_>, number: u32) {
        let list = match key {
            Key::Known(caller) => self.known.entry(caller).or_default(),
            Key::Name(name) => self.names.entry(Arc::clone(name)).or_default(),
            Key::Tier(tier) => self.tiers.entry(tier).or_default(),
            Key::Method(method) => self.methods.entry(method.clone()).or_default(),
            Key::Host(host) => self.hosts.entry(Arc::clone(host)).or_default(),
            Key::Suffix(suffix) => self.suffixes.entry(Arc::clone(suffix)).or_default(),
            Key::Path(segments) => self.paths.list(segments),
        };
        // Two paths of one rule may lead to the same place.
        if list.last() != Some(&number) {
            list.push(number);
        }
    }

    /// The numbers of the rules that may match, ascending. None: there are too many lists of them.
    pub(super) fn candidates(
        &self,
        caller: &Caller,
        name: &str,
        facts: &Facts<'_>,
    ) -> Option<Candidates<'_>> {
        let mut found = Candidates { lists: [&[]; LISTS], count: 0, too_many: false };
        found.add(Some(&self.always));
        if let Who::Known(number) = caller.who {
            found.add(get(&self.known, &number));
        }
        found.add(get(&self.names, name));
        found.add(caller.tier.and_then(|tier| get(&self.tiers, &tier)));
        found.add(get(&self.methods, facts.method));
        found.add(get(&self.hosts, facts.host));
        if let Some(dot) = facts.host.find('.') {
            found.add(get(&self.suffixes, &facts.host[dot..]));
        }
        if let Some(path) = facts.path.strip_prefix('/') {
            self.paths.walk(Some(path), &mut found);
        }
        (!found.too_many).then_some(found)
    }
}

/// Nothing is hashed for what no rule stands under.
fn get<'i, K, Q>(lists: &'i Lists<K>, key: &Q) -> Option<&'i List>
where
    K: std::borrow::Borrow<Q> + Hash + Eq,
    Q: Hash + Eq + ?Sized,
{
    if lists.is_empty() { None } else { lists.get(key) }
}

/// For each part of the rule under which it can stand, the values that lead to it: all of them, or it would be missed.
fn keys(rule: &Rule) -> impl Iterator<Item = Vec<Key<'_>>> {
    let parts: [Option<Vec<Key<'_>>>; 5] = [
        rule.paths.iter().map(of_path).collect(),
        rule.callers.iter().map(of_caller).collect(),
        rule.hosts.iter().map(of_host).collect(),
        rule.tiers.iter().map(|tier| Some(Key::Tier(*tier))).collect(),
        rule.methods.iter().map(|method| Some(Key::Method(method))).collect(),
    ];
    // An empty list matches everything.
    parts.into_iter().flatten().filter(|keys| !keys.is_empty())
}

fn of_caller(pattern: &CallerPattern) -> Option<Key<'_>> {
    match pattern {
        CallerPattern::Known(number) => Some(Key::Known(*number)),
        CallerPattern::Glob(text) => (!text.contains('*')).then_some(Key::Name(text)),
    }
}

fn of_host(pattern: &HostPattern) -> Option<Key<'_>> {
    match pattern {
        HostPattern::Exact(host) => Some(Key::Host(host)),
        // Anything else would not be what stands behind the first label of a host.
        HostPattern::OneLabel(rest) => rest.starts_with('.').then_some(Key::Suffix(rest)),
    }
}

fn of_path(pattern: &PathPattern) -> Option<Key<'_>> {
    let leads = pattern.segments.iter().any(|segment| matches!(segment, Segment::Literal(_)));
    leads.then_some(Key::Path(&pattern.segments))
}

impl Step {
    /// The list of the rules with this pattern.
    fn list(&mut self, segments: &[Segment]) -> &mut List {
        match segments.split_first() {
            None => &mut self.ends,
            Some((Segment::Rest, _)) => &mut self.rests,
            Some((Segment::One, rest)) => self.one.get_or_insert_default().list(rest),
            Some((Segment::Literal(text), rest)) => {
                let text: Box<[u8]> = plain_segment(text).into();
                self.literals.entry(text).or_default().list(rest)
            }
        }
    }

    /// Finds the lists of all patterns that may match what is left of a path; None after its last segment.
    fn walk<'i>(&'i self, left: Option<&str>, found: &mut Candidates<'i>) {
        found.add(Some(&self.rests));
        let Some(left) = left else { return found.add(Some(&self.ends)) };
        if found.too_many || (self.literals.is_empty() && self.one.is_none()) {
            return;
        }
        let (segment, left) = match left.split_once('/') {
            Some((segment, left)) => (segment, Some(left)),
            None => (left, None),
        };
        let plain: Cow<'_, [u8]> = plain_segment(segment);
        if let Some(step) = self.literals.get(&*plain) {
            step.walk(left, found);
        }
        if let Some(step) = &self.one {
            step.walk(left, found);
        }
    }
}

/// Numbers of rules that may match, in ascending order, each once.
pub(super) struct Candidates<'i> {
    lists: [&'i [u32]; LISTS],
    count: usize,
    too_many: bool,
}

impl<'i> Candidates<'i> {
    fn add(&mut self, list: Option<&'i List>) {
        let Some(list) = list.filter(|list| !list.is_empty()) else { return };
        match self.lists.get_mut(self.count) {
            Some(place) => {
                *place = list;
                self.count += 1;
            }
            None => self.too_many = true,
        }
    }
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let lists = &mut self.lists[..self.count];
        let next = lists.iter().filter_map(|list| list.first().copied()).min()?;
        for list in lists {
            if let Some((first, rest)) = list.split_first()
                && *first == next
            {
                *list = rest;
            }
        }
        Some(next)
    }
}
