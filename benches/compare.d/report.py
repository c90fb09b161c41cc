"""The report: medians over the rounds, ratios to the base, the goals, and the table that a person reads."""

import statistics

BASE = "nginx"
DIRECT = "direct"
MANY_OTHERS_PERCENT = 10
MOST_LOGGED = 0.99

# title, key, digits, key of the other end of a span; {} is the unit. A row that nobody has a figure for is left out.
ROWS = (
    ("CPU us/{}", "cpu_us", 2, None),
    ("  to nginx", "cpu_us_ratio", 2, None),
    ("  min..max", "cpu_us_min", 2, "cpu_us_max"),
    ("  user", "user_us", 2, None),
    ("  system", "system_us", 2, None),
    ("{} per CPU s", "per_cpu_s", 0, None),
    ("added us/{}", "added_us", 2, None),
    ("{}/s", "per_s", 0, None),
    ("  to nginx", "per_s_ratio", 2, None),
    ("  min..max", "per_s_min", 0, "per_s_max"),
    ("p50 us", "p50_us", 0, None),
    ("p99 us", "p99_us", 0, None),
    ("p99.9 us", "p999_us", 0, None),
    ("sent late, p99 us", "late_p99_us", 0, None),
    ("added p50 us", "added_p50_us", 1, None),
    ("added p99 us", "added_p99_us", 1, None),
    ("added p99.9 us", "added_p999_us", 1, None),
    ("RSS MiB, idle", "idle_mib", 1, None),
    ("  after a turn", "rss_mib", 1, None),
    ("  at its peak", "peak_mib", 1, None),
    ("  peak beyond idle", "grown_mib", 1, None),
    ("PSS MiB", "pss_mib", 1, None),
    ("lines per answer", "logged_share", 3, None),
    ("others %", "others_percent", 0, None),
)


def titles(unit):
    """What the table calls each figure."""
    return {key: title.format(unit).strip() for title, key, _, _ in ROWS}


def digits_of(measure):
    """Digits behind the point that the table gives a figure."""
    return next(digits for _, key, digits, _ in ROWS if key == measure)


def summary(name, rounds):
    """Medians over the rounds. Ratios are taken within a round, where both met the same machine, then their median."""
    own = rounds[name]
    result = {key: median([one[key] for one in own]) for key in own[0]}
    for key in ("cpu_us", "per_s"):
        values = [one[key] for one in own if one[key] is not None]
        result[f"{key}_min"], result[f"{key}_max"] = (min(values), max(values)) if values else (None, None)
        pairs = [(one[key], base[key]) for one, base in zip(own, rounds.get(BASE, [])) if one[key] is not None]
        result[f"{key}_ratio"] = median([mine / base for mine, base in pairs if base])
    added = [one["all_us"] - base["all_us"] for one, base in zip(own, rounds.get(DIRECT, []))]
    result["added_us"] = median(added) if name != DIRECT else None
    return result


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def lines(result):
    """The whole report as lines of text."""
    for key, value in result["header"].items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {text}" for name, text in value.items())
        yield f"{key + ':':9} {value}"
    for name, scene in result["scenes"].items():
        yield ""
        yield f"{name}: {scene['about']} ({scene['load']})"
        yield from table(scene)
        yield from verdicts(scene["goals"])
        yield from notes(scene)


def table(scene):
    peers = scene["peers"]
    rows = [["", *peers]]
    for title, key, digits, other_end in ROWS:
        if any(values.get(key) is not None for values in peers.values()):
            rows.append([title.format(scene["unit"]), *(cell(values, key, digits, other_end) for values in peers.values())])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for title, *cells in rows:
        yield "  ".join([title.ljust(widths[0]), *(text.rjust(width) for text, width in zip(cells, widths[1:]))])


def cell(values, key, digits, other_end):
    if values.get(key) is None:
        return "-"
    text = f"{values[key]:.{digits}f}"
    return f"{text}..{values[other_end]:.{digits}f}" if other_end else text


def verdicts(goals):
    """A line for each goal: its figure is a ratio where it names a peer."""
    for goal in goals:
        figure = "" if goal["figure"] is None else f", is {goal['figure']:.2f}"
        best = f" ({goal['to']})" if goal["to"] and goal["to"] not in goal["goal"] else ""
        yield f"goal: {goal['goal']}{figure}{best}: {goal['verdict']}"


def notes(scene):
    """What makes the figures above weaker than they look."""
    for name, values in scene["peers"].items():
        if values["others_percent"] > MANY_OTHERS_PERCENT:
            yield f"note: {name}: {values['others_percent']:.0f} % of the busy CPU time belonged to others; measure on a quieter machine"
        if values["cpu_us"] and values["origin_us"] > values["cpu_us"]:
            yield f"note: {name}: the origin took {values['origin_us']:.2f} us a {scene['unit']}, more than the proxy: it may hold the proxy back"
        if values["logged_share"] is not None and values["logged_share"] < MOST_LOGGED:
            yield f"note: {name}: logged only {100 * values['logged_share']:.0f} % of what it answered: less work is not compared"
