"""Runs a table of cases against one proxy, many at once, and collects what failed. Not here: the command line."""

import fnmatch
import queue
import threading
import traceback
from dataclasses import dataclass, field

import play_http1
import play_http2


@dataclass
class Result:
    """One case against one proxy: passed if `faults` is empty."""

    case: object
    faults: list = field(default_factory=list)
    shown: list = field(default_factory=list)


def run(edge, cases, patience=1.0, again=None, tell=lambda text: None):
    """The results, in the order of the cases, of those that there are lanes for. `again`: whether a case that failed is played once more, alone."""
    timings = list(dict.fromkeys(lane.timing for lane in edge.lanes))
    cases = [case for case in cases if case.timing in timings]
    results = {}
    threads = []
    for timing in timings:
        waiting = queue.Queue()
        for case in cases:
            if case.timing == timing:
                waiting.put(case)
        for lane in edge.lanes:
            if lane.timing == timing:
                threads.append(threading.Thread(target=work, args=(edge, lane, waiting, results, patience, tell)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if edge.died():
        bury(edge, cases, results, patience)
    for case in cases:
        if again and results[case.id].faults and again(case):
            lane = next(lane for lane in edge.lanes if lane.timing == case.timing)
            results[case.id] = play(edge, lane, case, patience)
            tell(f"{'ok  ' if not results[case.id].faults else 'FAIL'} {case.id}, played again")
    return [results[case.id] for case in cases]


def bury(edge, cases, results, patience):
    """A proxy died: every failed case is played anew, alone, so that only the one that kills is blamed."""
    for case in cases:
        if results[case.id].faults:
            if edge.died():
                edge.start()
            lane = next(lane for lane in edge.lanes if lane.timing == case.timing)
            results[case.id] = play(edge, lane, case, patience)


def work(edge, lane, waiting, results, patience, tell):
    """Plays case after case on one lane until none is left."""
    while True:
        try:
            case = waiting.get_nowait()
        except queue.Empty:
            return
        results[case.id] = play(edge, lane, case, patience)
        tell(f"{'ok  ' if not results[case.id].faults else 'FAIL'} {case.id}")


def play(edge, lane, case, patience):
    try:
        if case.protocol == "http2":
            seen, faults = play_http2.play(case, lane.port_h2, lane.origin, patience)
            shown = play_http2.show(seen)
        else:
            seen, faults = play_http1.play(case, lane.port, lane.origin, patience)
            shown = show(seen)
    except Exception as error:
        shown, faults = [], [f"could not be played: {error!r} {traceback.format_exc(limit=-3)}"]
    died = edge.died()
    return Result(case, [*faults, *([died] if died else [])], shown)


def show(seen):
    """What was seen, in a few lines for people."""
    lines = []
    for connection in seen.connections:
        for answer in connection.answers:
            whole = "" if answer.complete else ", not complete"
            interim = f"{answer.interim[:8]} then " if answer.interim else ""
            lines.append(f"client: {interim}{answer.status}{whole}, body {answer.body[:60]!r}")
        left = f", left over {connection.left[:60]!r}" if connection.left else ""
        lines.append(f"client: connection {connection.end}{left}")
    for request in seen.requests:
        whole = "" if request.complete else ", not complete"
        lines.append(f"worker: {request.head[:300]!r}{whole}, body {request.body[:60]!r}")
    return lines or ["worker: nothing"]


def chosen(cases, patterns, groups):
    """The cases whose id fits one of the patterns and whose group is wanted; everything if nothing is said."""
    return [
        case for case in cases
        if (not patterns or any(fnmatch.fnmatch(case.id, pattern) for pattern in patterns))
        and (not groups or case.group in groups)
    ]
