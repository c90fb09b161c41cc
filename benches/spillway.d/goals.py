"""The goals of the experiment: what is wanted in each table, what was measured, and what that comes to."""

import dataclasses
import typing

LEAST_RATE = 0.99
MOST_LATENCY = 1 / 0.99


@dataclasses.dataclass(frozen=True)
class Goal:
    """One line. `even`, where it is known how much the figure varies by itself: whether a miss is within that."""

    title: str
    key: str
    met: typing.Callable
    even: typing.Callable = lambda got, values: False

    def verdict(self, values):
        got = values[self.key]
        if got is None:
            return "-"
        if self.met(got):
            return f"pass {got:.4g}"
        # A miss is one only if it is more than what the figure varies by while nothing is wrong.
        return f"{'even' if self.even(got, values) else 'MISS'} {got:.4g}"


B_KEEPS = (
    Goal("B keeps 99 % of its rate in the failure", "b_rate_ratio", lambda got: got >= LEAST_RATE,
         lambda got, values: got >= 1 - values["b_rate_unsteady_percent"] / 100),
    Goal("B keeps its latency: p50 within 1 % of normal", "b_p50_ratio", lambda got: got <= MOST_LATENCY,
         lambda got, values: got <= 1 + values["b_p50_unsteady_percent"] / 100),
)

GOALS = {
    "one": (
        *B_KEEPS,
        Goal("A delivers more than 0 %", "failure_a_success_percent", lambda got: got > 0),
        Goal("A delivers most of what its workers answer, %", "failure_a_delivered_percent", lambda got: got > 50),
        Goal("A recovers within 1 s", "recovered_after_s", lambda got: got <= 1),
        Goal("A fails at most 0.1 % after 1 s of recovery", "failures_after_percent", lambda got: got <= 0.1),
        Goal("CPU a delivered answer, normal, at most 1.1 of unprotected", "cpu_ratio", lambda got: got <= 1.1),
    ),
    "two": (
        Goal("A delivers at least 69 % in the failure", "failure_a_success_percent", lambda got: got >= 69),
    ),
    "three": (
        Goal("A keeps 2/3 of its rate from 1 s after the failure begins", "a_kept_ratio", lambda got: got >= 2 / 3),
        *B_KEEPS,
    ),
}


def rows(table, setups):
    """A row for each goal of this table, a column for each set-up."""
    for goal in GOALS[table]:
        yield [f"  {goal.title}", *(goal.verdict(values) for values in setups.values())]
