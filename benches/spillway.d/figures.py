"""The figures of a run, their medians and the table that a person reads. What the goals come to stands in goals.py."""

import statistics

import goals

PHASES = ("normal", "failure", "recovery")
UNPROTECTED = "unprotected"
MANY_OTHERS_PERCENT = 10

# A with two of its three workers has two thirds of its normal rate, at least; 5 % are for chance.
HANG_KEEPS = 2 / 3
HANG_BACK_AT = 0.95 * HANG_KEEPS
BEAT_S = 0.1
SECOND_BEATS = round(1 / BEAT_S)
# Of a phase, to see how much it varies by itself.
SLICES = 10

# title, key, digits
ROWS = (
    ("normal", None, 0),
    ("B delivered /s", "normal_b_rate", 0),
    ("  unsteady by %", "b_rate_unsteady_percent", 1),
    ("B p50 ms", "normal_b_p50_ms", 2),
    ("  unsteady by %", "b_p50_unsteady_percent", 1),
    ("B p99 ms", "normal_b_p99_ms", 2),
    ("A delivered /s", "normal_a_rate", 0),
    ("A p50 ms", "normal_a_p50_ms", 2),
    ("A p99 ms", "normal_a_p99_ms", 2),
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
    ("  to normal", "a_rate_ratio", 3),
    ("  to normal, after 1 s", "a_kept_ratio", 3),
    ("  at 63 % of normal after s", "a_back_after_s", 1),
    ("  seconds below 63 %", "a_seconds_below", 0),
    ("  delivered share %", "failure_a_delivered_percent", 1),
    ("A p50 ms", "failure_a_p50_ms", 2),
    ("A p99 ms", "failure_a_p99_ms", 2),
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

# Rows that say nothing in the other tables.
ONLY_IN = {"a_kept_ratio": "three", "a_back_after_s": "three", "a_seconds_below": "three"}

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
            **{f"{name}_{who}_{which}_ms": phase[who][f"{which}_ms"] for who in "ab" for which in ("p50", "p99")},
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
        **unsteady(report["phases"]["normal"]),
        "a_rate_ratio": ratio(made["failure_a_rate"], made["normal_a_rate"]),
        **through_failure(report, made["normal_a_rate"]),
        "recovered_after_s": recovery["recovered_after_s"],
        "last_failure_s": recovery["last_failure_s"],
        "failures_after_percent": part(recovery["failures_after_1_s"], recovery["requests_after_1_s"]),
        "cpu_s": last["proxy"] - first["proxy"],
        "others_percent": part(max(0.0, busy - ours), busy),
        "report": report,
    })
    return made


def unsteady(phase):
    """By how many percent the worst tenth of this phase of B is worse than the whole, by its rate and by its p50."""
    part, seconds = phase["b"], round(phase["seconds"])
    told = (part["delivered_by_second"] + [0] * seconds)[:seconds]
    width = max(1, seconds // SLICES)
    rates = [sum(told[begin:begin + width]) / width for begin in range(0, seconds - width + 1, width)]
    p50s = part["p50_ms_by_tenth"]
    mean = part["delivered"] / phase["seconds"]
    return {
        "b_rate_unsteady_percent": 100 * max(0.0, 1 - min(rates) / mean) if rates and mean else None,
        "b_p50_unsteady_percent": 100 * (max(p50s) / part["p50_ms"] - 1) if p50s else None,
    }


def through_failure(report, normal_rate):
    """How A fares from the first to the last second of the failure, by what it delivers in each tenth of a second."""
    beats = round(report["phases"]["failure"]["seconds"] / BEAT_S)
    told = report["failure_a_delivered_by_100_ms"]
    # Nothing is told after the last delivery; a last beat beyond the phase is a matter of microseconds.
    told = (told + [0] * beats)[:beats]
    if not normal_rate or beats < 2 * SECOND_BEATS:
        return {"a_kept_ratio": None, "a_back_after_s": None, "a_seconds_below": None}

    def kept(begin, end):
        return sum(told[begin:end]) / ((end - begin) * BEAT_S) / normal_rate

    # Back: in the second that follows, and on average from then to the end of the failure.
    back = (begin for begin in range(beats - SECOND_BEATS + 1)
            if min(kept(begin, begin + SECOND_BEATS), kept(begin, beats)) >= HANG_BACK_AT)
    first = next(back, None)
    return {
        "a_kept_ratio": kept(SECOND_BEATS, beats),
        "a_back_after_s": None if first is None else round(first * BEAT_S, 1),
        "a_seconds_below": sum(kept(begin, begin + SECOND_BEATS) < HANG_BACK_AT
                               for begin in range(0, beats - SECOND_BEATS + 1, SECOND_BEATS)),
    }


def medians(rounds):
    """By set-up: the median of each figure. CPU is compared with unprotected in the same round."""
    for name, turns in rounds.items():
        for number, one in enumerate(turns):
            base = rounds.get(UNPROTECTED)
            one["cpu_ratio"] = ratio(one["normal_cpu_us"], base[number]["normal_cpu_us"]) if base else None
    keys = [key for _, key, _ in ROWS if key]
    return {name: {key: median([one[key] for one in turns]) for key in keys} for name, turns in rounds.items()}


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
        yield from aligned([["", *table["setups"]], *rows(name, table["setups"])])
        yield ""
        yield "goals"
        yield from aligned([["", *table["setups"]], *goals.rows(name, table["setups"])])
        if name == "one":
            yield ""
            yield "published, threads of one JVM, a minute each"
            yield from aligned([["", *PUBLISHED_RUNS], *([title, *map(str, values)] for title, values in PUBLISHED)])
        for setup, values in table["setups"].items():
            if (values["others_percent"] or 0) > MANY_OTHERS_PERCENT:
                yield f"note: {setup}: {values['others_percent']:.0f} % of the busy CPU time belonged to others; measure on a quieter machine"


def rows(table, setups):
    for title, key, digits in ROWS:
        if ONLY_IN.get(key, table) != table:
            continue
        if not key:
            yield [title, *("" for _ in setups)]
            continue
        yield [f"  {title}", *("-" if values[key] is None else f"{values[key]:.{digits}f}" for values in setups.values())]


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
