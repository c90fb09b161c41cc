"""One scene: its proxies start, show that they do the work, and take turns under load. Here are also the counters that
are read before and after each turn."""

import contextlib
import statistics
import sys
import time

import checks
import goals
import kernel
import loads
import report
import scenes
from checks import Failed
from peers import PEERS, WEIGHTS

WARM_UP_S = 1
LOG_WRITTEN_WITHIN_S = 3
# Of what the slowest proxy bears.
HALF = 0.5


class Play:
    """A scene on a stage."""

    def __init__(self, scene, stage, options):
        self.scene, self.stage, self.options = scene, stage, options
        self.origin, self.workers = stage.origin(scene.drained)
        self.rate = options.rate or 0.0
        self.servers, self.idle, self.logs = {}, {}, {}

    def run(self):
        """All rounds, after the checks and a warm-up. Gives medians, rounds and goals."""
        with contextlib.ExitStack() as stack:
            self.start(stack)
            names = list(self.servers)
            self.warm_up(names)
            rounds = {name: [] for name in names}
            for number in range(self.options.rounds):
                for name in order_of_round(names, number):
                    turn = self.turn(self.scene.load, name, self.options.seconds)
                    say(f"{self.scene.name}, round {number + 1} of {self.options.rounds}: {name} {turn['per_s']:.0f} {self.scene.load.unit}/s")
                    rounds[name].append(turn)
        if isinstance(self.scene.load, loads.Rate):
            add_latencies(rounds)
        return {
            "about": self.scene.about,
            "command": self.options.commands.get(self.scene.name),
            "load": self.scene.load.about(self.target(0, 0)),
            "unit": self.scene.load.unit,
            "peers": {name: report.summary(name, rounds) for name in names},
            # A smoke test shows that it runs; its figures are those of a debug build on a busy machine.
            "goals": [] if self.options.smoke else list(goals.judged(self.scene.goals, rounds, report.titles(self.scene.load.unit))),
            "rounds": rounds,
        }

    def start(self, stack):
        for name, peer, threads in contenders(self.scene, self.options):
            server = self.stage.proxy(peer, name, self.scene, threads, stack)
            say(self.check(peer, server))
            self.servers[name] = server
            self.idle[name] = kernel.memory_of_tree(server.pid)[0]
            self.logs[name] = self.stage.access_log(peer, name)
        if not self.servers:
            raise Failed(f"{self.scene.name}: none of {', '.join(self.options.peers)} can take part")
        if self.scene.direct:
            self.servers = {report.DIRECT: None, **self.servers}

    def check(self, peer, server):
        """What this scene can ask a proxy to show."""
        door = self.stage.door(server, self.scene)
        told = [checks.tells(door, self.scene.path)] if "told" in self.scene.flags else []
        if self.scene.outcome == scenes.REFUSED_BY_RATE:
            return "\n".join([*told, checks.refuses(door)])
        if self.scene.outcome == scenes.REFUSED_BY_RULE:
            return "\n".join([*told, checks.forbids(door, "GET", self.scene.path)])
        said = [checks.speaks_tls(door)] if "tls" in self.scene.flags else []
        if not self.scene.drained:
            weight_of = {str(self.workers[worker]): weight for worker, weight in WEIGHTS.items()}
            said.append(checks.works(door, weight_of) if "proxy" in peer.can else checks.carries(door))
        return "\n".join(said) or f"{server.name}: is asked to prove each upload"

    def warm_up(self, names):
        """A turn that does not count; where the rate is not given, it tells what each proxy bears."""
        if not isinstance(self.scene.load, loads.Rate):
            for name in names:
                self.turn(self.scene.load, name, WARM_UP_S)
        elif not self.rate:
            borne = {name: self.turn(loads.Wrk(), name, WARM_UP_S)["per_s"] for name in names}
            slowest = min((name for name in names if name != report.DIRECT), key=borne.get)
            self.rate = round(HALF * borne[slowest])
            say(f"{self.scene.name}: {slowest} bears {borne[slowest]:.0f} requests a second; all get {self.rate}")

    def target(self, port, seconds):
        return loads.Target(port, self.scene.path, seconds, self.options.connections, self.rate, self.stage.ca or "")

    def turn(self, load, name, seconds):
        """One turn of load on one proxy, or on the origin itself where there is none."""
        server = self.servers[name]
        asked = server or self.origin
        if server:
            kernel.begin_peak(server.pid)
        before = self.cpu_now(server)
        try:
            told = loads.run(load, self.target(asked.port, seconds), self.stage.paths[load.program], self.options.pin_load)
            checks.answers_are_right(f"{self.scene.name}, {name}", told, self.scene.outcome, seconds)
        except Failed as failure:
            raise Failed(f"{self.scene.name}, {name}: {failure}{asked.last_words()}") from None
        spent = {key: value - before[key] for key, value in self.cpu_now(server).items()}
        logged = self.lines_logged(name, told["count"]) if server else None
        if logged is not None:
            # What was still to be written is the proxy's work too.
            spent.update({key: value - before[key] for key, value in zip(("user", "system"), kernel.cpu_of_tree(server.pid))})
        return {**told, "per_s": told["count"] / told["seconds"], **costs(spent, told["count"], server),
                **self.memory(name), "logged_share": logged}

    def lines_logged(self, name, count):
        """Lines of the access log by request, once all are there or the time is over; the log is then emptied."""
        log = self.logs[name]
        if "log" not in self.scene.flags or not log.exists():
            return None
        end, lines = time.monotonic() + LOG_WRITTEN_WITHIN_S, 0
        while (lines := count_lines(log)) < count and time.monotonic() < end:
            time.sleep(0.2)
        log.write_bytes(b"")
        return lines / count

    def memory(self, name):
        server = self.servers[name]
        if not server:
            return dict.fromkeys(("idle_mib", "rss_mib", "pss_mib", "peak_mib", "grown_mib"))
        rss, pss = kernel.memory_of_tree(server.pid)
        peak = kernel.peak_of_tree(server.pid)
        idle = self.idle[name]
        sizes = {"idle_mib": idle, "rss_mib": rss, "pss_mib": pss, "peak_mib": peak, "grown_mib": peak - idle}
        return {key: size / loads.MIB for key, size in sizes.items()}

    def cpu_now(self, server):
        """Seconds of CPU time so far: of the proxy, the origin, the load generator and the whole machine."""
        user, system = kernel.cpu_of_tree(server.pid) if server else (0.0, 0.0)
        return {
            "user": user,
            "system": system,
            "origin": sum(kernel.cpu_of_tree(self.origin.pid)),
            "load": kernel.cpu_of_ended_children(),
            "machine": kernel.machine_cpu(),
        }


def costs(spent, count, server):
    """Microseconds of CPU time by unit, and what the machine did besides."""
    each = 1e6 / count
    proxy = spent["user"] + spent["system"]
    ours = proxy + spent["origin"] + spent["load"]
    return {
        "cpu_us": proxy * each if server else None,
        "user_us": spent["user"] * each if server else None,
        "system_us": spent["system"] * each if server else None,
        "per_cpu_s": count / proxy if server and proxy else None,
        "origin_us": spent["origin"] * each,
        "load_us": spent["load"] * each,
        "all_us": ours * each,
        "others_percent": 100 * max(0.0, spent["machine"] - ours) / spent["machine"],
    }


def contenders(scene, options):
    """Who takes part, as name, peer and threads. With several numbers of threads the name tells the number."""
    for name in options.peers:
        peer = PEERS[name]
        if scene.needs <= peer.can and (not scene.only or name in scene.only):
            for threads in scene.shards or (options.threads,):
                yield (f"{name}-{threads}" if scene.shards else name), peer, threads


def add_latencies(rounds):
    """What each proxy adds to a latency: over `direct`, in the same round."""
    for name, turns in rounds.items():
        for turn, base in zip(turns, rounds.get(report.DIRECT, [])):
            for key in [key for key in turn if key.startswith("p") and key.endswith("_us")]:
                turn[f"added_{key}"] = turn[key] - base[key] if name != report.DIRECT else None


def count_lines(path):
    with path.open("rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(loads.MIB), b""))


def order_of_round(names, number):
    """Who goes first and who follows whom change from round to round: a drift or a neighbour must favour nobody."""
    first = number // 2 % len(names)
    order = names[first:] + names[:first]
    return order[::-1] if number % 2 else order


def say(text):
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)
