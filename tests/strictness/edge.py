"""The proxies under test: their configurations filled in, started, and cut into lanes.

A lane is one service of the proxy with a worker of its own, so that cases run side by side and what a worker got
belongs to one case. Some lanes have timeouts of a second, for the cases about slowness. Not here: toys (toys.py).
"""

import pathlib
import re
import sys
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "benches" / "compare.d"))

import origin_http2
import programs
from origin import Origin

PATIENT_S, QUICK_S, TOTAL_S = 30, 2, {"quick": 6, "patient": 120, "limited": 120, "worker2": 120}


@dataclass
class Lane:
    """One service of a proxy: where to ask it, and its worker."""

    name: str
    timing: str
    port: int
    port_h2: int
    origin: Origin


@dataclass(frozen=True)
class Peer:
    """One proxy: the package it comes in, how it is started, whether one port speaks both versions, and
    whether it can speak HTTP/2 to workers."""

    name: str
    package: str
    template: str
    arguments: str
    ask_version: str
    one_port: bool = True
    asks_in_http2: bool = True


PEERS = {
    peer.name: peer
    for peer in (
        Peer("buckler", "", "buckler.yaml", "run -c {config}", "--version"),
        Peer("nginx", "nginx-light", "nginx.conf", "-e stderr -c {config}", "-v", one_port=False, asks_in_http2=False),
        Peer("haproxy", "haproxy", "haproxy.cfg", "-db -f {config}", "-v"),
    )
}


class Edge:
    """One running proxy and its lanes."""

    def __init__(self, peer, path, folder, counts):
        self.peer, self.path, self.folder = peer, path, folder
        self.lanes, self.stopped = [], False
        # The workers first: otherwise one of them may get a port that is meant for the proxy.
        timings = [timing for timing, count in counts.items() for _ in range(count) if peer.asks_in_http2
            or timing != "worker2"]
        origins = [origin_http2.Origin() if timing == "worker2" else Origin() for timing in timings]
        ports = iter(programs.free_ports(2 * len(timings) + 1))
        self.admin = next(ports)
        for number, timing in enumerate(timings):
            port, other = next(ports), next(ports)
            port_h2 = port if peer.one_port else other
            self.lanes.append(Lane(f"{timing}{number}", timing, port, port_h2, origins[number]))
        self.server = programs.Server(peer.name, self.lanes[-1].port, folder)

    def start(self):
        template = (HERE / "peers" / self.peer.template).read_text()
        config = self.folder / self.peer.template
        config.write_text(self.fill(template))
        self.server.start([self.path, *(word.format(config=config) for word in self.peer.arguments.split())])

    def fill(self, template):
        """The template with its part between @each@ and @end@ once for each lane."""
        before, each, after = re.split(r"^@(?:each|end)@\n", template, flags=re.MULTILINE)
        parts = [replace(before, admin=self.admin, folder=self.folder)]
        for lane in self.lanes:
            seconds = QUICK_S if lane.timing == "quick" else PATIENT_S
            burst = 3 if lane.timing == "limited" else 1_000_000
            rates = ("6/min", "6r/m") if burst == 3 else ("1000000/s", "1000000r/s")
            parts.append(replace(each, name=lane.name, port=lane.port, port_h2=lane.port_h2,
                                 worker=lane.origin.port, quick=seconds, total=TOTAL_S[lane.timing],
                                 protocol="http2" if lane.timing == "worker2" else "http1",
                                 proto="proto h2" if lane.timing == "worker2" else "", burst=burst, more=burst - 1,
                                 rate=rates[0], rate_nginx=rates[1]))
        return "".join([*parts, after])

    def died(self):
        """What it said last if it has ended, else None."""
        if self.stopped:
            return "the run is over"
        code = self.server.process.poll()
        return None if code is None else f"the proxy ended with {code}{self.server.last_words()}"

    def stop(self):
        self.stopped = True
        self.server.stop()
        for lane in self.lanes:
            lane.origin.stop()

    def version(self):
        return programs.version_of([self.path, self.peer.ask_version])


def replace(text, **values):
    return re.sub(r"@(\w+)@", lambda found: str(values[found[1]]), text)
