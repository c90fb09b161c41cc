"""Buckler under callgrind: started, told to begin and end a count, and what callgrind wrote, read."""

import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field

import programs
from checks import Failed

COMMAND_WITHIN_S = 60
# Valgrind reads the program's debug information first.
READY_WITHIN_S = 120

# What gives memory: mimalloc's functions for the Rust part, the C library's for the rest.
ALLOCATING = re.compile(r"(mi_(heap_)?(m|z|c|re|rez)alloc\w*|mi_new\w*|malloc|calloc|realloc|posix_memalign|aligned_alloc)")
ALLOCATOR = re.compile(r"_?mi_|malloc|calloc|realloc|posix_memalign|aligned_alloc")


@dataclass
class Count:
    """What ran between the begin and the end of one count."""

    instructions: int = 0
    by_function: Counter = field(default_factory=Counter)
    by_file: Counter = field(default_factory=Counter)
    by_line: Counter = field(default_factory=Counter)
    allocations: Counter = field(default_factory=Counter)
    calls: Counter = field(default_factory=Counter)
    called: Counter = field(default_factory=Counter)

    def __add__(self, other):
        return Count(self.instructions + other.instructions, self.by_function + other.by_function, self.by_file + other.by_file,
                     self.by_line + other.by_line, self.allocations + other.allocations,
                     self.calls + other.calls, self.called + other.called)


class Buckler(programs.Server):
    """The program under callgrind. Counts only what runs between `begin` and `end`."""

    def __init__(self, paths, port, folder):
        super().__init__("buckler", port, folder)
        self.paths, self.folder, self.parts = paths, folder, 0

    def launch(self, config, callers_of_allocations):
        options = [f"--callgrind-out-file={self.folder}/callgrind.out", f"--vgdb-prefix={self.folder}/vgdb", "--compress-pos=no"]
        if callers_of_allocations:
            options += [f"--separate-callers{callers_of_allocations}={name}" for name in ("mi_*", "malloc", "calloc", "realloc")]
        programs.READY_WITHIN_S = READY_WITHIN_S
        self.start([self.paths["valgrind"], "--tool=callgrind", *options, self.paths["buckler"], "run", "-c", str(config)])

    def begin(self):
        self.tell("zero")

    def end(self):
        """What ran since `begin`, or since the last `end`."""
        self.parts += 1
        self.tell("dump")
        return read(self.folder / f"callgrind.out.{self.parts}")

    def tell(self, order):
        command = [self.paths["vgdb"], f"--vgdb-prefix={self.folder}/vgdb", f"--pid={self.pid}", *order.split()]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"callgrind did not answer {order!r} within {COMMAND_WITHIN_S} s{self.last_words()}") from None
        if done.returncode:
            raise Failed(f"callgrind did not take {order!r}: {done.stderr.strip()}{self.last_words()}")


def read(path):
    """One file of callgrind. Its form: valgrind's manual, "Callgrind Format Specification"."""
    names, count = {}, Count()
    file = function = callee = ""
    after_call = False

    def name_of(kind, text):
        found = re.match(r"\((\d+)\)(?: (.*))?", text)
        if not found:
            return text
        if found[2] is not None:
            names[kind, found[1]] = found[2]
        return names.get((kind, found[1]), "?")

    with path.open(errors="replace") as lines:
        for line in lines:
            first = line[:1]
            if first.isdigit() or first in "+-*":
                if after_call:
                    after_call = False
                    count.called[callee, function] += int(line.split()[1])
                    continue
                where, cost = line.split()[:2]
                cost = int(cost)
                count.instructions += cost
                count.by_function[function] += cost
                count.by_file[file] += cost
                count.by_line[file, where] += cost
                continue
            key, _, value = line.rstrip("\n").partition("=")
            if key in ("fl", "fi", "fe"):
                file = name_of("file", value)
            elif key == "fn":
                function = name_of("function", value)
            elif key == "cfn":
                callee = name_of("function", value)
            elif key in ("cfi", "cfl"):
                name_of("file", value)
            elif key in ("ob", "cob"):
                name_of("object", value)
            elif key == "calls":
                after_call = True
                count.calls[callee, function] += int(value.split()[0])
                if ALLOCATING.fullmatch(callee.split("'")[0]) and not ALLOCATOR.match(function.split("'")[0]):
                    count.allocations[callee, function] += int(value.split()[0])
    if not count.instructions:
        raise Failed(f"callgrind counted nothing: {path}")
    return count
