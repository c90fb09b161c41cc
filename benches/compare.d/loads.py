"""The loads: the program that makes each, what it is told to do, and what it says when it is done.

Each gives what was done as `count` of its `unit`, the seconds it took, and what went wrong.
"""

import json
import pathlib
import re
import shlex
from dataclasses import dataclass

import programs
from checks import Failed

KEY = "bench-key-0123456789abcdef"
HERE = pathlib.Path(__file__).resolve().parent
MIB = 2**20


@dataclass(frozen=True)
class Target:
    """Who is loaded, for how long, over how many connections where the load leaves it open, and at what rate."""

    port: int
    path: str
    seconds: int
    connections: int
    rate: float
    ca: str


@dataclass(frozen=True)
class Wrk:
    """A closed loop over kept connections of HTTP/1.1, in clear or over TLS. With `callers` above 1 they take turns."""

    tls: bool = False
    callers: int = 1
    program, unit = "wrk", "req"

    def about(self, target):
        return f"wrk -t1 -c{target.connections}{', https' if self.tls else ''}{f', {self.callers} callers by turns' if self.callers > 1 else ''}"

    def command(self, path, target):
        url = f"{'https' if self.tls else 'http'}://127.0.0.1:{target.port}{target.path}"
        return [path, "-t1", f"-c{target.connections}", f"-d{target.seconds}s", "--timeout", "5s", "-s", str(HERE / "report.lua"),
                "-H", f"x-api-key: {KEY}", url, *([str(self.callers), KEY] if self.callers > 1 else [])]

    def read(self, output):
        told = json_after("REPORT ", output)
        return {
            "count": told["requests"],
            "seconds": told["microseconds"] / 1e6,
            "refused": told["refused"],
            "broken": told["socket_errors"],
            "p50_us": told["p50_us"],
            "p99_us": told["p99_us"],
        }


@dataclass(frozen=True)
class H2load:
    """A closed loop over HTTP/2 and TLS: streams at once on kept connections."""

    connections: int = 8
    streams: int = 32
    program, unit = "h2load", "req"

    def about(self, _target):
        return f"h2load -t1 -c{self.connections} -m{self.streams}"

    def command(self, path, target):
        return [path, "-t1", f"-c{self.connections}", f"-m{self.streams}", f"-D{target.seconds}", "--npn-list=h2",
                "-H", f"x-api-key: {KEY}", f"https://127.0.0.1:{target.port}{target.path}"]

    def read(self, output):
        requests = re.search(r"^requests: .*, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", output, re.MULTILINE)
        took = re.search(r"^finished in ([\d.]+)(us|ms|s),", output, re.MULTILINE)
        statuses = re.search(r"^status codes: (\d+) 2xx", output, re.MULTILINE)
        if not (requests and took and statuses) or "Application protocol: h2\n" not in output:
            raise Failed(f"h2load gave no report over h2:\n{output}")
        done, _, failed, errored = map(int, requests.groups())
        return {
            "count": done,
            "seconds": float(took[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1}[took[2]],
            "refused": max(0, done - int(statuses[1])),
            "broken": max(failed, errored),
        }


@dataclass(frozen=True)
class Rate:
    """An open loop: requests at a fixed rate, latency from the time when each was due (benches/load.d/rate.rs)."""

    program, unit = "load", "req"

    def about(self, target):
        return f"load rate --rate {target.rate:.0f} --connections {target.connections}"

    def command(self, path, target):
        return [*own(path, "rate", target, target.connections), "--rate", f"{target.rate:.0f}"]

    def read(self, output):
        told = json_after("", output)
        latencies = {key: value for key, value in told.items() if key.endswith("_us")}
        return {"count": told["requests"], "seconds": told["seconds"], "refused": 0, "broken": 0, **latencies}


@dataclass(frozen=True)
class Bodies:
    """Large bodies in one direction (benches/load.d/bodies.rs). Counted by the MiB."""

    mib: int
    up: bool
    connections: int
    program, unit = "load", "MiB"

    def about(self, _target):
        return f"load bodies{' --up' if self.up else ''} --bytes {self.mib * MIB} --connections {self.connections}"

    def command(self, path, target):
        return [*own(path, "bodies", target, self.connections), "--bytes", str(self.mib * MIB), *(["--up"] if self.up else [])]

    def read(self, output):
        told = json_after("", output)
        return {"count": told["bytes"] / MIB, "seconds": told["seconds"], "refused": 0, "broken": 0}


@dataclass(frozen=True)
class Handshakes:
    """Full TLS 1.3 handshakes (benches/load.d/handshakes.rs)."""

    connections: int = 8
    program, unit = "load", "handshake"

    def about(self, _target):
        return f"load handshakes --connections {self.connections}"

    def command(self, path, target):
        return [*own(path, "handshakes", target, self.connections), "--ca", target.ca]

    def read(self, output):
        told = json_after("", output)
        return {"count": told["handshakes"], "seconds": told["seconds"], "refused": 0, "broken": 0}


def own(path, what, target, connections):
    """The first words for our own load."""
    return [path, what, "--address", f"127.0.0.1:{target.port}", "--path", target.path, "--key", KEY,
            "--seconds", str(target.seconds), "--connections", str(connections)]


def run(load, target, path, cpus):
    """One run of a load; what it says it did."""
    command = programs.pinned(cpus, load.command(path, target))
    output = programs.run_load(command, target.seconds)
    try:
        return load.read(output)
    except (KeyError, ValueError) as error:
        raise Failed(f"{load.program} gave no report ({error!r}): {shlex.join(command)}\n{output}") from None


def json_after(mark, output):
    """The line of JSON that begins after this mark."""
    found = re.search(rf"^{mark}(\{{.*\}})$", output, re.MULTILINE)
    if not found:
        raise ValueError("no line of JSON")
    return json.loads(found[1])
