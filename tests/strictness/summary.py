"""What is printed: the table of groups and grades side by side, the list of failures, the list of cases."""

from model import GRADES


def count(results, keep):
    kept = [result for result in results if keep(result.case)]
    if not kept:
        return "-"
    return f"{sum(not result.faults for result in kept)}/{len(kept)}"


def table(results):
    """One line for each group and grade, one column for each proxy."""
    cases = [result.case for result in max(results.values(), key=len)]
    rows = [["", *results]]
    for group in dict.fromkeys(case.group for case in cases):
        rows.append([group, *(count(each, lambda case: case.group == group) for each in results.values())])
    for grade in GRADES:
        rows.append([f"*{grade}*", *(count(each, lambda case: case.grade == grade) for each in results.values())])
    rows.append(["all", *(count(each, lambda case: True) for each in results.values())])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield row[0].ljust(widths[0]) + "".join(f"  {cell.rjust(width)}" for cell, width in zip(row[1:], widths[1:])) + "\n"


def failures(results):
    """Each failed case with its source, what was wrong and what was seen."""
    for name, each in results.items():
        for result in each:
            if result.faults:
                case = result.case
                yield f"\n{name}: {case.id} ({case.grade}; {case.source})" + (f": {case.why}" if case.why else "") + "\n"
                yield f"  sent: {sent(case)}\n"
                yield "".join(f"  {fault}\n" for fault in result.faults)
                yield "".join(f"    {line}\n" for line in result.shown)


def sent(case):
    text = " ".join(repr(step) for step in case.send)
    return text if len(text) < 500 else f"{text[:500]}…"


def listing(cases):
    for case in cases:
        ways = "; or ".join(outcome.name for outcome in case.want)
        yield f"{case.id}\t{case.grade}\t{case.source}\t{ways}\n"


def as_json(results):
    return {
        name: [{"id": result.case.id, "grade": result.case.grade, "source": result.case.source,
                "passed": not result.faults, "faults": result.faults, "seen": result.shown} for result in each]
        for name, each in results.items()
    }
