//! `limits.agreements`: with whom, how much, until when.

use super::limits::Parts;
use super::{Checker, Quick, items, value};
use crate::config::file::{self, Field};
use crate::config::report::{Code, Spot};
use crate::config::units::Day;
use crate::config::{Agreement, Callers};

/// An agreement that ends sooner than this is told of.
const SOON: u64 = 14 * 86_400;

impl Checker<'_> {
    pub(super) fn agreements(
        &mut self,
        list: &Field<file::List<file::Agreement>>,
        callers: &Callers,
    ) -> Vec<Agreement> {
        let mut first: Quick<usize, Spot> = Quick::default();
        let written = list.as_ref().and_then(|list| list.value.as_ref()).map_or(0, Vec::len);
        let mut agreements = Vec::with_capacity(written);
        for (agreement, at) in items(list) {
            let (numbers, names) = self.parties(agreement, at, callers, &mut first);
            let quota =
                self.quota(&Parts::of_agreement(agreement, at), format!("agreement {}", names.join(", ")));
            self.words("owner", &agreement.owner);
            self.words("reason", &agreement.reason);
            self.until_of_agreement(agreement, &names);
            agreements.push(Agreement {
                callers: numbers,
                shared: value(&agreement.shared).copied().unwrap_or(false),
                quota,
                owner: value(&agreement.owner).map(|owner| owner.as_str().into()),
                until: value(&agreement.until).map(|day| day.0.0),
            });
        }
        agreements
    }

    /// The callers that it names: their numbers and their names.
    fn parties<'f>(
        &mut self,
        agreement: &'f file::Agreement,
        at: Spot,
        callers: &Callers,
        first: &mut Quick<usize, Spot>,
    ) -> (Vec<usize>, Vec<&'f str>) {
        const HELP: &str = "write `caller: name`, or `callers: [one, two]`";
        match (&agreement.caller, &agreement.callers) {
            (Some(_), Some(several)) => {
                self.error(
                    Code::Contradiction,
                    several.at,
                    "`callers` stands beside `caller`",
                    "write one of the two",
                );
            }
            (None, None) => self.error(Code::MissingKey, at, "`caller` is missing", HELP),
            (None, Some(list)) if list.value.as_ref().is_some_and(Vec::is_empty) => {
                self.error(Code::BadValue, list.at, "the list `callers` is empty", HELP);
            }
            _ => {}
        }
        let one = agreement.caller.as_ref().and_then(|caller| Some((caller.value.as_ref()?, caller.at)));
        // Most name one: a Vec that grows begins with four.
        let (mut numbers, mut names) = (Vec::with_capacity(1), Vec::with_capacity(1));
        for (name, at) in one.into_iter().chain(items(&agreement.callers)) {
            names.push(name.as_str());
            let Some(number) = self.caller(name, at, callers) else { continue };
            if let Some(other) = first.get(&number) {
                let message = format!("`{name}` already has an agreement at {}", self.problems.place(*other));
                let help =
                    "a caller has one agreement for each service, an expired one counts too; remove one";
                self.error(Code::GivenTwice, at, message, help);
                continue;
            }
            first.insert(number, at);
            numbers.push(number);
        }
        (numbers, names)
    }

    fn until_of_agreement(&mut self, agreement: &file::Agreement, names: &[&str]) {
        let Some(located) = &agreement.until else { return };
        let Some(day) = located.value.as_ref().map(|day| day.0) else { return };
        let (Day(end), names) = (day, names.join(", "));
        if end <= self.now {
            let message = format!("`until` has passed: the agreement of {names} ended on {day}");
            let help = "remove it, or agree on a later day; until then it is as if it were not there";
            self.problems.warn(Code::Expired, located.at, message, Some(help));
        } else if end - self.now <= SOON {
            let days = (end - self.now).div_ceil(86_400);
            let message = format!(
                "the agreement of {names} ends on {day}, in {days} {}",
                if days == 1 { "day" } else { "days" }
            );
            self.problems.warn(Code::EndsSoon, located.at, message, Some("agree on a later day in time"));
        }
    }
}
