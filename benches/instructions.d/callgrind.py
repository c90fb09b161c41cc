"""Buckler under callgrind: started, told to begin and to end a count, and what callgrind wrote, read."""

import re
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field

import programs
from checks import Failed

ORDER_WITHIN_S = 60
# Valgrind reads all debug information first.
READY_WITHIN_S = 120

# Functions that give memory: mimalloc's for what is written in Rust, the C library's for the rest.
GIVES_MEMORY = re.compile(r"mi_(heap_)?(m|z|c|re|rez|rec)alloc\w*|malloc|calloc|realloc|posix_memalign|aligned_alloc")
ALLOCATOR = re.compile(r"_?mi_|malloc|calloc|realloc|posix_memalign|aligned_alloc")
# Functions that read a clock. Without valgrind that is no system call.
CLOCK = re.compile(r"(clock_gettime|gettimeofday|time)(@.*)?")
# What a function's name is followed by where callgrind keeps it apart by its callers, or by its depth in a recursion.
CALLER = "'"


@dataclass
class Count:
    """What ran during one count, or several together."""

    requests: int = 0
    # Without those in which callgrind wrote it.
    seconds: float = 0.0
    instructions: int = 0
    # Instructions of a function itself, and of a source file wherever it was inlined.
    by_function: Counter = field(default_factory=Counter)
    by_file: Counter = field(default_factory=Counter)
    # By function that makes them, which is the C library's.
    system_calls: Counter = field(default_factory=Counter)
    # By (function, caller): how often, and the instructions of the function and all it calls.
    calls: Counter = field(default_factory=Counter)
    inside: Counter = field(default_factory=Counter)

    def add(self, other):
        self.requests += other.requests
        self.seconds += other.seconds
        self.instructions += other.instructions
        for name in ("by_function", "by_file", "system_calls", "calls", "inside"):
            getattr(self, name).update(getattr(other, name))

    def allocations(self):
        """Calls for memory, by (function, caller). A call inside the allocator is none."""
        return {(called, caller): calls for (called, caller), calls in self.calls.items()
                if GIVES_MEMORY.fullmatch(called.split(CALLER)[0]) and not ALLOCATOR.match(caller.split(CALLER)[0])}


class Buckler(programs.Server):
    """The program under callgrind."""

    def __init__(self, paths, program, port, folder):
        super().__init__("buckler", port, folder)
        self.paths, self.program, self.folder, self.parts, self.began = paths, program, folder, 0, 0.0

    def launch(self, config, callers=0):
        """Starts it; functions that give memory are kept apart by so many of their callers."""
        apart = [f"--separate-callers{callers}={name}" for name in ("mi_*", "malloc", "calloc", "realloc")] if callers else []
        self.run([
            "--tool=callgrind", f"--callgrind-out-file={self.folder}/callgrind.out", self.pipes(),
            # vgdb wakes a sleeping program by ptrace; where that is forbidden, an order is seen after so many blocks of code.
            "--collect-systime=yes", "--compress-pos=no", "--vgdb-poll=100", *apart, self.program, "run", "-c", str(config),
        ])

    def run(self, command):
        programs.READY_WITHIN_S = READY_WITHIN_S
        self.start([self.paths["valgrind"], *command])

    def pipes(self):
        return f"--vgdb-prefix={self.folder}/vgdb"

    def begin(self):
        """Counts from now on."""
        # Not "zero": with valgrind 3.19 system calls go on from where they were.
        self.write_out()

    def end(self, requests):
        """What ran since `begin` or the last `end`, which was so many requests. Counts anew from now on."""
        took_s = time.monotonic() - self.began
        count = read(self.write_out())
        count.requests, count.seconds = requests, took_s
        return count

    def write_out(self):
        """Has all written that was counted so far; gives the file."""
        self.order("dump")
        self.began = time.monotonic()
        self.parts += 1
        return self.folder / f"callgrind.out.{self.parts}"

    def order(self, word):
        command = [self.paths["vgdb"], self.pipes(), f"--pid={self.pid}", word]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ORDER_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"callgrind did not answer {word!r} within {ORDER_WITHIN_S} s{self.last_words()}") from None
        if done.returncode:
            raise Failed(f"callgrind refused {word!r}: {done.stderr.strip()}{self.last_words()}")


def read(path):
    """One file of callgrind, in the form that valgrind's manual calls "Callgrind Format"."""
    count, names = Count(), {}
    file = function = called = ""
    events, after_calls = [], False
    with path.open(errors="replace") as lines:
        for line in lines:
            if line[:1].isdigit() or line[:1] in ("+", "-", "*"):
                costs = dict(zip(events, map(int, line.split()[1:])))
                instructions, system_calls = costs.get("Ir", 0), costs.get("sysCount", 0)
                if after_calls:
                    # The cost of the calls that the line before tells of.
                    count.inside[called, function] += instructions
                    after_calls = False
                    continue
                count.instructions += instructions
                count.by_function[function] += instructions
                count.by_file[file] += instructions
                if system_calls and not CLOCK.fullmatch(function.split(CALLER)[0]):
                    count.system_calls[function] += system_calls
                continue
            key, _, value = line.rstrip("\n").partition("=")
            if key in ("fl", "fi", "fe"):
                file = full_name(names, "file", value)
            elif key == "fn":
                function = full_name(names, "function", value)
            elif key == "cfn":
                called = full_name(names, "function", value)
            elif key in ("cfi", "cfl"):
                full_name(names, "file", value)
            elif key == "calls":
                after_calls = True
                count.calls[called, function] += int(value.split()[0])
            elif line.startswith("events:"):
                events = line.split()[1:]
    if not count.instructions:
        raise Failed(f"callgrind counted nothing; {path} has no costs")
    return count


def full_name(names, kind, value):
    """A name is written once, behind a number in parentheses; later there is the number alone."""
    found = re.match(r"\((\d+)\)(?: (.+))?", value)
    if not found:
        return value
    if found[2]:
        names[kind, found[1]] = found[2]
    return names.get((kind, found[1]), "?")
