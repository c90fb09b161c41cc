"""What a request touches: lines of 64 bytes, of code and of data, by valgrind's lackey.

Between two system calls the kernel leaves little of a program in the first caches of a core, so each line that a request
touches comes from a slower one, however often it is used then. Two programs of as many instructions may differ in this.
"""

import os
import statistics
from dataclasses import dataclass

import callgrind

# As most CPUs have; and a large one is no line of valgrind's.
LINE_BYTES = 64
REQUESTS = 20
# What stands for an access in lackey's trace: instruction; load, store, both.
CODE, DATA = b"I  ", (b" L ", b" S ", b" M ")


@dataclass(frozen=True)
class Touched:
    """Medians of some requests; `steady`: lines that all but a few of them touch."""

    instructions: float
    code: float
    data: float
    steady_code: int
    steady_data: int

    def told(self, name):
        return (f"\n{name}: a request touches {self.code:.0f} lines of code ({self.steady_code} are the same each time) and {self.data:.0f} of data "
                f"({self.steady_data}), in {self.instructions:.0f} instructions; a line has {LINE_BYTES} bytes")


class Buckler(callgrind.Buckler):
    """The program under lackey, which writes down each access."""

    def launch(self, config, callers=0):
        self.trace = self.folder / "trace"
        command = ["--tool=lackey", "--trace-mem=yes", f"--log-file={self.trace}", self.program, "run", "-c", str(config)]
        self.run(command)

    def place(self):
        """How far the trace is; up to a few hundred accesses are not written yet."""
        return os.path.getsize(self.trace)

    def read(self, places):
        """What was touched from each of these places to the next."""
        requests = []
        with self.trace.open("rb") as trace:
            for begin, end in zip(places, places[1:]):
                trace.seek(begin)
                requests.append(lines_of(trace.read(end - begin)))
        count, code, data = zip(*requests)
        return Touched(statistics.median(count), statistics.median(map(len, code)), statistics.median(map(len, data)), steady(code), steady(data))


def lines_of(trace):
    """Instructions, lines of code, lines of data. The first and the last access may be cut."""
    count, code, data = 0, set(), set()
    for access in trace.split(b"\n")[1:-1]:
        kind, (place, comma, size) = access[:3], access[3:].partition(b",")
        if not comma or (kind != CODE and kind not in DATA):
            continue
        first = int(place, 16)
        lines = range(first // LINE_BYTES, (first + int(size) - 1) // LINE_BYTES + 1)
        if kind == CODE:
            count += 1
            code.update(lines)
        else:
            data.update(lines)
    return count, code, data


def steady(sets):
    """How many lines are touched by nine of ten requests."""
    times = {}
    for lines in sets:
        for line in lines:
            times[line] = times.get(line, 0) + 1
    return sum(count >= 0.9 * len(sets) for count in times.values())
