"""The figures of a run, their medians, the table that a person reads, and what the goals come to."""

import statistics

PHASES = ("normal", "failure", "recovery")
UNPROTECTED = "unprotected"
MANY_OTHERS_PERCENT = 10

# title, key, digits
ROWS = (
    ("normal", None, 0),
    ("B delivered /s", "normal_b_rate", 0),
    ("B p50 ms", "normal_b_p50_ms", 2),
    ("B p99 ms", "normal_b_p99_ms", 2),
    ("A delivered /s", "normal_a_rate", 0),
    ("A and B not delivered %", "normal_lost_percent", 3),
    ("CPU s", "normal_cpu_s", 2),
    ("CPU us/delivered", "normal_cpu_us", 1),
    ("  to unprotected", "cpu_ratio", 2),
    ("failure", None, 0),
    ("B delivered /s", "failure_b_rate", 0),
    ("  to normal", "b_rate_ratio", 3),
    ("B p50 ms", "failure_b_p50_ms", 2),
    ("  to normal", "b_p50_ratio", 3),
    ("B p99 ms", "failure_b_p99_ms", 2),
    ("  to normal", "b_p99_ratio", 3),
    ("B not delivered %", "failure_b_lost_percent", 3),
    ("A asked /s", "failure_a_asked_rate", 0),
    ("A refused %", "failure_a_refused_percent", 2),
    ("A failed %", "failure_a_failed_percent", 2),
    ("A success %", "failure_a_success_percent", 2),
    ("  of those at workers", "failure_a_reached_percent", 2),
    ("A's workers answered /s", "failure_a_answered_rate", 1),
    ("A delivered /s", "failure_a_rate", 1),
    ("  delivered share %", "failure_a_delivered_percent", 1),
    ("A at workers, most", "failure_a_most", 0),
    ("CPU s", "failure_cpu_s", 2),
    ("CPU us/delivered", "failure_cpu_us", 1),
    ("recovery", None, 0),
    ("recovered after s", "recovered_after_s", 2),
    ("last failure after s", "last_failure_s", 2),
    ("A failures after 1 s %", "failures_after_percent", 3),
    ("B delivered /s", "recovery_b_rate", 0),
    ("CPU s", "recovery_cpu_s", 2),
    ("CPU us/delivered", "recovery_cpu_us", 1),
    ("all phases", None, 0),
    ("CPU s", "cpu_s", 2),
    ("others %", "others_percent", 0),
)

# title, and for each of the published runs: none, two of Hystrix, semaphore
PUBLISHED_RUNS = ("unprotected", "Hystrix", "Hystrix (2)", "semaphore")
PUBLISHED = (
    ("B executions /s in the failure minute", (13, 2564, 2531, 2304)),
    ("CPU s, of a whole JVM", (39, 231, 153, 66)),
    ("failures after recovery %", (1, 3, 2, 1)),
    ("A success % in the failure minute", (17, 0, 0, 0)),
)


def turn(report, cpu):
    """One run as flat figures; None where there is nothing to divide by. The raw report stays beside them."""
    made = {}
    for name in PHASES:
        phase = report["phases"][name]
        a, b, seconds = phase["a"], phase["b"], phase["seconds"]
        begin, end = cpu[name]
        spent = end["proxy"] - begin["proxy"]
        delivered = a["delivered"] + b["delivered"]
        requests = a["requests"] + b["requests"]
        made.update({
            f"{name}_b_rate": b["delivered"] / seconds,
            f"{name}_a_rate": a["delivered"] / seconds,
            f"{name}_b_p50_ms": b["p50_ms"],
            f"{name}_b_p99_ms": b["p99_ms"],
            f"{name}_b_lost_percent": part(b["refused"] + b["failed"], b["requests"]),
            f"{name}_lost_percent": part(requests - delivered, requests),
            f"{name}_a_asked_rate": a["requests"] / seconds,
            f"{name}_a_refused_percent": part(a["refused"], a["requests"]),
            f"{name}_a_failed_percent": part(a["failed"], a["requests"]),
            f"{name}_a_success_percent": part(a["delivered"], a["requests"]),
            f"{name}_a_reached_percent": part(a["delivered"], a["delivered"] + a["failed"]),
            f"{name}_a_answered_rate": a["workers_answered"] / seconds,
            f"{name}_a_delivered_percent": part(a["answers_delivered"], a["workers_answered"]),
            f"{name}_a_most": a["most_at_workers"],
            f"{name}_cpu_s": spent,
            f"{name}_cpu_us": 1e6 * spent / delivered if delivered else None,
        })
    recovery = report["recovery"]
    first, last = cpu[PHASES[0]][0], cpu[PHASES[-1]][1]
    busy = last["machine"] - first["machine"]
    ours = sum(last[who] - first[who] for who in ("proxy", "load"))
    made.update({
        "b_rate_ratio": ratio(made["failure_b_rate"], made["normal_b_rate"]),
        "b_p50_ratio": ratio(made["failure_b_p50_ms"], made["normal_b_p50_ms"]),
        "b_p99_ratio": ratio(made["failure_b_p99_ms"], made["normal_b_p99_ms"]),
        "recovered_after_s": recovery["recovered_after_s"],
        "last_failure_s": recovery["last_failure_s"],
        "failures_after_percent": part(recovery["failures_after_1_s"], recovery["requests_after_1_s"]),
        "cpu_s": last["proxy"] - first["proxy"],
        "others_percent": part(max(0.0, busy - ours), busy),
        "report": report,
    })
    return made


def medians(rounds):
    """By set-up: the median of each figure. CPU is compared with unprotected in the same round."""
    for name, turns in rounds.items():
        for number, one in enumerate(turns):
            base = rounds.get(UNPROTECTED)
            one["cpu_ratio"] = ratio(one["normal_cpu_us"], base[number]["normal_cpu_us"]) if base else None
    keys = [key for _, key, _ in ROWS if key]
    return {name: {key: median([one[key] for one in turns]) for key in keys} for name, turns in rounds.items()}


def goals(table, values):
    """The issue's goals: what is wanted, what was measured, and whether it is met; None where it cannot be said."""
    slow = [
        ("B keeps 99 % of its rate in the failure", values["b_rate_ratio"], lambda got: got >= 0.99),
        ("B keeps its latency: p50 within 1 % of normal", values["b_p50_ratio"], lambda got: got <= 1 / 0.99),
        ("A delivers more than 0 %", values["failure_a_success_percent"], lambda got: got > 0),
        ("A delivers most of what its workers answer, %", values["failure_a_delivered_percent"], lambda got: got > 50),
        ("A recovers within 1 s", values["recovered_after_s"], lambda got: got <= 1),
        ("A fails at most 0.1 % after 1 s of recovery", values["failures_after_percent"], lambda got: got <= 0.1),
        ("CPU a delivered answer, normal, at most 1.1 of unprotected", values["cpu_ratio"], lambda got: got <= 1.1),
    ]
    quick = [("A delivers at least 69 % in the failure", values["failure_a_success_percent"], lambda got: got >= 69)]
    for title, got, met in slow if table == "one" else quick:
        yield title, got, None if got is None else met(got)


def lines(result):
    """The whole report as lines of text."""
    for key, value in result["header"].items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {text}" for name, text in value.items())
        yield f"{key + ':':9} {value}"
    for name, about in result["about"].items():
        yield f"{name + ':':14} {about}"
    for name, table in result["tables"].items():
        yield ""
        yield f"table {name}: {table['about']}"
        yield from aligned([["", *table["setups"]], *rows(table["setups"])])
        yield ""
        yield "goals"
        yield from aligned([["", *table["setups"]], *goal_rows(name, table["setups"])])
        if name == "one":
            yield ""
            yield "published, threads of one JVM, a minute each"
            yield from aligned([["", *PUBLISHED_RUNS], *([title, *map(str, values)] for title, values in PUBLISHED)])
        for setup, values in table["setups"].items():
            if (values["others_percent"] or 0) > MANY_OTHERS_PERCENT:
                yield f"note: {setup}: {values['others_percent']:.0f} % of the busy CPU time belonged to others; measure on a quieter machine"


def rows(setups):
    for title, key, digits in ROWS:
        if not key:
            yield [title, *("" for _ in setups)]
            continue
        yield [f"  {title}", *("-" if values[key] is None else f"{values[key]:.{digits}f}" for values in setups.values())]


def goal_rows(table, setups):
    columns = [list(goals(table, values)) for values in setups.values()]
    for number, (title, _, _) in enumerate(columns[0]):
        cells = []
        for column in columns:
            _, got, met = column[number]
            cells.append("-" if met is None else f"{'pass' if met else 'MISS'} {got:.4g}")
        yield [f"  {title}", *cells]


def aligned(table):
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for title, *cells in table:
        yield "  ".join([title.ljust(widths[0]), *(text.rjust(width) for text, width in zip(cells, widths[1:]))]).rstrip()


def part(some, of_all):
    """In percent."""
    return 100 * some / of_all if of_all else None


def ratio(one, other):
    return one / other if one is not None and other else None


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None
