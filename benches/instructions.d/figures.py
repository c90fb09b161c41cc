"""What the counts come to: figures for one request, the table, and what is shown to those who look for the reason."""

import re
from collections import Counter
from dataclasses import dataclass

from callgrind import CALLER, Count

# Calls that happen less often than this for one request are not shown.
RARE = 0.02


@dataclass(frozen=True)
class Figures:
    """One scene: what one request takes, without what Buckler does by the clock."""

    instructions: float
    allocations: float
    system_calls: float
    # From the lowest to the highest count, in percent of the figure.
    spread: float
    # All counts without pauses together.
    total: Count

    @classmethod
    def of(cls, quick, slow, empty):
        """From counts of the same requests, without pauses and with pauses, and from counts without a request.

        What there is more of with pauses is done by the clock, as ticks and judging workers. It is taken off, or the
        figures would rise on a busy machine, where as many requests take longer. What an empty count has is done while
        callgrind writes, and is in each count.
        """
        total, paused, nothing = sum_of(quick), sum_of(slow), sum_of(empty)

        def by_clock(figure):
            """Of this, so much a second."""
            return (figure(paused) - figure(total)) / (paused.seconds - total.seconds)

        def a_request(figure, count, counts=1):
            return (figure(count) - counts * figure(nothing) / len(empty) - by_clock(figure) * count.seconds) / count.requests

        def instructions(count):
            return count.instructions

        figure = a_request(instructions, total, len(quick))
        each = [a_request(instructions, count) for count in quick + slow]
        return cls(
            instructions=figure,
            allocations=a_request(lambda count: sum(count.allocations().values()), total, len(quick)),
            system_calls=a_request(lambda count: sum(count.system_calls.values()), total, len(quick)),
            spread=100 * (max(each) - min(each)) / figure,
            total=total,
        )

    def kept(self):
        """As it is written down."""
        return {"instructions": round(self.instructions), "allocations": round(self.allocations, 1), "system_calls": round(self.system_calls, 1)}


def sum_of(counts):
    total = Count()
    for count in counts:
        total.add(count)
    return total


def table(results, before, name_of_before):
    """The lines of the table; `before` has the figures to compare with, by scene, as they are kept."""
    yield f"{'':20}{'instructions a request':^40}{'allocations':^18}{'system calls':^18}"
    yield f"{'scene':20}{'now':>10}{name_of_before:>10}{'change':>10}{'spread':>10}" + f"{'now':>9}{name_of_before:>9}" * 2
    for name, figures in results.items():
        old = before.get(name)
        line = f"{name:20}{figures.instructions:10.0f}"
        line += f"{old['instructions']:10}{change(figures, old):+9.1f}%" if old else f"{'-':>10}{'-':>10}"
        line += f"{figures.spread:9.2f}%"
        for kind in ("allocations", "system_calls"):
            line += f"{getattr(figures, kind):9.1f}" + (f"{old[kind]:9.1f}" if old else f"{'-':>9}")
        yield line


def change(figures, old):
    """In percent."""
    return 100 * (figures.instructions / old["instructions"] - 1)


def top(scene, total, limit):
    """The functions and source files with most instructions, and who makes system calls."""
    for title, by in (
        ("by function, without what it calls", total.by_function),
        ("by source file, also where the compiler inlined it elsewhere", joined(total.by_file, short)),
    ):
        yield f"\n{scene}: instructions a request {title}"
        for name, cost in by.most_common(limit):
            yield f"{cost / total.requests:10.1f} {100 * cost / total.instructions:5.1f} %  {name}"
    yield f"\n{scene}: system calls a request, by function of the C library"
    for name, calls in total.system_calls.most_common(limit):
        if calls >= RARE * total.requests:
            yield f"{calls / total.requests:10.2f}  {name}"


def differences(scene, now, before, limit):
    """The functions and source files whose instructions differ most; recursion and hashes of crates do not tell them apart."""
    for title, by, shown in (("by function, without what it calls", "by_function", bare), ("by source file", "by_file", short)):
        new, old = joined(getattr(now, by), shown), joined(getattr(before, by), shown)
        each = {name: new[name] / now.requests - old[name] / before.requests for name in new | old}
        yield f"\n{scene}: what changed most, instructions a request {title}"
        for name in sorted(each, key=lambda name: -abs(each[name]))[:limit]:
            yield f"{each[name]:+10.1f} {old[name] / before.requests:10.1f} -> {new[name] / now.requests:8.1f}  {name}"


def callers(scene, total, part_of_name, limit):
    """Who calls the functions with this in their name."""
    yield f"\n{scene}: calls a request of functions named like {part_of_name!r}, and instructions in them and what they call"
    chosen = {pair: cost for pair, cost in total.inside.items() if part_of_name in pair[0]}
    for pair in sorted(chosen, key=chosen.get, reverse=True)[:limit]:
        yield f"{total.calls[pair] / total.requests:8.2f} {chosen[pair] / total.requests:10.1f}  {' < '.join(pair)}"


def allocations(scene, total):
    """Who asks for memory, with the callers of each."""
    yield f"\n{scene}: allocations a request, and by which way"
    for (called, _), calls in Counter(total.allocations()).most_common():
        if calls >= RARE * total.requests:
            way = (name for name in called.split(CALLER) if not name.startswith("__rustc::"))
            yield f"{calls / total.requests:8.2f}  {' < '.join(way)}"


def joined(counter, shown):
    """The same with names as they are shown; those that become the same are added."""
    sums = Counter()
    for name, cost in counter.items():
        sums[shown(name)] += cost
    return sums


def bare(function):
    return function.split(CALLER)[0]


def short(file):
    """A source file without the folders that differ from machine to machine: what is before the crate, or the tree."""
    for folders in (r"/registry/src/[^/]+/", r"/rustc/[0-9a-f]+/library/", r"/(?=src/)"):
        parts = re.split(folders, file, maxsplit=1)
        if len(parts) > 1:
            return parts[1]
    return file
