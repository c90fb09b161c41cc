"""The goals: what a figure of Buckler's must come to, beside a peer's or by itself, and whether it does."""

import statistics
from dataclasses import dataclass

# The peer with the best median, of those that do a proxy's work.
BEST = "the best"
NO_PROXIES = ("direct", "pump", "refuser")
PASS, MISS, EVEN, NOT_MEASURED = "pass", "MISS", "even", "not measured"


@dataclass(frozen=True)
class Goal:
    """`measure` is a key of a turn. Without `to` it counts by itself, at its largest; else as a ratio to that peer."""

    measure: str
    to: str = ""
    at_most: float = None
    at_least: float = None
    subject: str = "buckler"

    def met_by(self, figure):
        return figure <= self.at_most if self.at_least is None else figure >= self.at_least

    def about(self, titles):
        bound = f"at most {self.at_most:.2f}" if self.at_least is None else f"at least {self.at_least:.2f}"
        return f"{titles.get(self.measure, self.measure)}{f' to {self.to}' if self.to else ''}: {bound}"


def judged(goals, rounds, titles):
    """Each goal with its figure and verdict; without a figure where somebody it speaks of took no part."""
    for goal in goals:
        if goal.subject not in rounds:
            continue
        figure, to, even = to_best(goal, rounds) if goal.to == BEST else (*figure_of(goal, rounds), False)
        verdict = EVEN if even else NOT_MEASURED if figure is None else PASS if goal.met_by(figure) else MISS
        yield {"goal": goal.about(titles), "measure": goal.measure, "to": to, "at_most": goal.at_most, "at_least": goal.at_least,
               "figure": figure, "verdict": verdict}


def figure_of(goal, rounds):
    """The figure, and the peer that it is a ratio to."""
    own = [turn.get(goal.measure) for turn in rounds[goal.subject]]
    if not goal.to:
        return (max(own) if None not in own else None), None
    base = [turn.get(goal.measure) for turn in rounds.get(goal.to, [])]
    # Within a round both met the same machine.
    ratios = [mine / other for mine, other in zip(own, base) if mine is not None and other]
    return (statistics.median(ratios) if ratios else None), goal.to


def to_best(goal, rounds):
    """The ratio to whoever came out best, by medians, since who is best changes from round to round; that peer; and
    whether this run cannot say.

    What a proxy adds to a latency is a difference of two. Where it comes out at nothing or below, or where two proxies
    are closer together than `direct` is to itself from round to round, there is nothing to compare.
    """
    medians = {
        name: statistics.median(turn[goal.measure] for turn in turns)
        for name, turns in rounds.items()
        if name not in NO_PROXIES and all(turn.get(goal.measure) is not None for turn in turns)
    }
    mine = medians.pop(goal.subject, None)
    if mine is None or not medians:
        return None, None, False
    best = min(medians, key=medians.get)
    if mine <= 0 or medians[best] <= 0:
        return None, best, True
    ratio = mine / medians[best]
    base = [turn[goal.measure.removeprefix("added_")] for turn in rounds["direct"]]
    return ratio, best, not goal.met_by(ratio) and mine - medians[best] <= max(base) - min(base)
