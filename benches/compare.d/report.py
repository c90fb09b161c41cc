"""The report: medians over the rounds, ratios to the base, and the table that a person reads."""

import statistics

BASE = "nginx"
DIRECT = "direct"
MANY_OTHERS_PERCENT = 10

ROWS = (
    # title, key, digits, key of the other end of a span
    ("CPU us/req", "cpu_us", 2, None),
    ("  to nginx", "cpu_us_ratio", 2, None),
    ("  min..max", "cpu_us_min", 2, "cpu_us_max"),
    ("  user", "user_us", 2, None),
    ("  system", "system_us", 2, None),
    ("added us/req", "added_us", 2, None),
    ("req/s", "rps", 0, None),
    ("  to nginx", "rps_ratio", 2, None),
    ("  min..max", "rps_min", 0, "rps_max"),
    ("p50 ms", "p50_ms", 2, None),
    ("p99 ms", "p99_ms", 2, None),
    ("RSS MiB", "rss_mib", 1, None),
    ("PSS MiB", "pss_mib", 1, None),
    ("others %", "others_percent", 0, None),
)


def summary(name, rounds):
    """Medians over the rounds. Ratios are taken within a round, where both met the same machine, then their median."""
    own = rounds[name]
    result = {key: median([one[key] for one in own]) for key in own[0]}
    for key in ("cpu_us", "rps"):
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
        yield f"{name}: {scene['about']}"
        yield from table(scene["peers"])
        yield from notes(scene["peers"])


def table(peers):
    rows = [["", *peers]]
    for title, key, digits, other_end in ROWS:
        rows.append([title, *(cell(values, key, digits, other_end) for values in peers.values())])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for title, *cells in rows:
        yield "  ".join([title.ljust(widths[0]), *(text.rjust(width) for text, width in zip(cells, widths[1:]))])


def cell(values, key, digits, other_end):
    if values[key] is None:
        return "-"
    text = f"{values[key]:.{digits}f}"
    return f"{text}..{values[other_end]:.{digits}f}" if other_end else text


def notes(peers):
    """What makes the figures above weaker than they look."""
    for name, values in peers.items():
        if values["others_percent"] > MANY_OTHERS_PERCENT:
            yield f"note: {name}: {values['others_percent']:.0f} % of the busy CPU time belonged to others; measure on a quieter machine"
        if values["cpu_us"] and values["origin_us"] > values["cpu_us"]:
            yield f"note: {name}: the origin took {values['origin_us']:.2f} us a request, more than the proxy: it may hold the proxy back"
