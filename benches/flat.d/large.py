"""Start and reload with very many services and agreements: how long they take, and the longest pause that a client sees."""

import contextlib
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import threading
import time

import configurations
import kernel
import programs
from checks import Failed

READY_WITHIN_S = 120
# Connections that are watched: with so many on two shards, the chance that one shard has none is 2 to the power of -15.
WATCHED = 16
QUIET_S = 3
RELOADS = 5
# What a reload replaced is gone by then, and the allocator has given it back.
SETTLED_S = 3
# As deploy/ sets them.
ALLOCATOR = {"MIMALLOC_PURGE_DELAY": "0", "MIMALLOC_ALLOW_THP": "0"}
REQUEST = b"DELETE / HTTP/1.1\r\nHost: flat\r\n\r\n"


class Process:
    """A Buckler that tells when it is ready, by sd_notify."""

    def __init__(self, program, config, log, environment=None):
        self.command, self.log = [program, "run", "-c", str(config)], pathlib.Path(log)
        self.environment = {**(environment or {}), **os.environ}
        self.path = self.log.with_suffix(".notify")
        self.notes = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notes.bind(str(self.path))
        self.process = None

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        """Starts it and waits until it is ready; gives the seconds that this took."""
        begun = time.monotonic()
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env={**self.environment, "NOTIFY_SOCKET": str(self.path)})
        self.wait()
        return time.monotonic() - begun

    def reload(self):
        """Has it reload and waits until that is done; gives the seconds that this took."""
        begun = time.monotonic()
        os.kill(self.pid, signal.SIGHUP)
        self.wait()
        return time.monotonic() - begun

    def wait(self):
        end = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < end:
            self.notes.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                if b"READY=1" in self.notes.recv(4096):
                    return
            if self.process.poll() is not None:
                raise Failed(f"Buckler ended with {self.process.returncode}: {self.said()}")
        raise Failed(f"Buckler was not ready within {READY_WITHIN_S} s: {self.said()}")

    def said(self):
        return self.log.read_bytes()[-2000:].decode(errors="replace")

    def stop(self):
        if self.process:
            programs.stop(self.process)
        self.notes.close()


class Watch(threading.Thread):
    """Asks on kept connections, one after the other and without a pause, and keeps the longest waits for an answer."""

    def __init__(self, addresses):
        super().__init__(daemon=True)
        self.sockets = [socket.create_connection(address) for address in addresses]
        self.ended, self.waits = threading.Event(), []

    def run(self):
        for at in range(10**12):
            if self.ended.is_set():
                break
            asked = self.sockets[at % len(self.sockets)]
            begun = time.monotonic()
            asked.sendall(REQUEST)
            if not asked.recv(4096).startswith(b"HTTP/1.1 403"):
                break
            self.waits.append(time.monotonic() - begun)

    def end(self):
        """Milliseconds: the longest, and the median."""
        self.ended.set()
        self.join(10)
        for each in self.sockets:
            each.close()
        if not self.waits:
            raise Failed("a watched connection was not answered with 403")
        return 1e3 * max(self.waits), 1e3 * statistics.median(self.waits)


def shard_cpu(pid):
    """Milliseconds of CPU time so far of each shard's thread, by its name."""
    found = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        if name.startswith("shard-"):
            found[name] = int((task / "schedstat").read_text().split()[0]) / 1e6
    return found


class Large:
    """The scene."""

    def __init__(self, flat):
        self.flat, self.options = flat, flat.options
        self.port, self.admin = programs.free_ports(2)

    def run(self):
        with contextlib.ExitStack() as stack:
            config = self.write("one")
            size = sum(path.stat().st_size for path in self.flat.folder.glob("large*.yaml"))
            process = Process(self.flat.buckler, config, self.flat.folder / "large.log", ALLOCATOR)
            stack.callback(process.stop)
            started = process.start()
            start_cpu = sum(kernel.cpu_of_tree(process.pid))
            memory = kernel.memory_of_tree(process.pid)[0]
            quiet = self.watched(lambda: time.sleep(QUIET_S))[1]
            # What the same reading costs a client when another process does it: that much is the machine, not the shards.
            beside = self.watched(lambda: subprocess.run(
                [self.flat.buckler, "check", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))[1]
            reloads = []
            for number in range(RELOADS):
                self.write(f"reload {number}", agreed=self.options.agreed - number % 2)
                reloads.append(self.watched(process.reload))
            # Whether what was replaced is gone already is not known: no peak.
            ready = kernel.memory_of_tree(process.pid)[0]
            time.sleep(SETTLED_S)
            after = kernel.memory_of_tree(process.pid)[0]
            # Once more with nobody asking: what the process and each shard have to do by themselves.
            self.write("alone")
            before, shards = sum(kernel.cpu_of_tree(process.pid)), shard_cpu(process.pid)
            process.reload()
            reload_cpu = sum(kernel.cpu_of_tree(process.pid)) - before
            busiest = max(now - shards[name] for name, now in shard_cpu(process.pid).items())
        times = [took for took, _ in reloads]
        pauses = [longest for _, (longest, _) in reloads]
        lines = [
            f"  {self.options.services} services, {self.options.agreed} agreements, {size / 2**20:.1f} MiB of YAML",
            f"  start to ready: {started:.2f} s ({start_cpu:.2f} s of CPU);  resident {memory / 2**20:.0f} MiB",
            f"  resident right after the last of {RELOADS} reloads said ready {ready / 2**20:.0f} MiB, {SETTLED_S} s later {after / 2**20:.0f} MiB",
            f"  reload: {statistics.median(times):.2f} s (median of {RELOADS}; {min(times):.2f} to {max(times):.2f}; {reload_cpu:.2f} s of CPU)",
            f"  CPU of the busiest shard in a reload, all its slices together: {busiest:.1f} ms",
            f"  longest wait of a client, ms: in reloads {statistics.median(pauses):.1f} (median; worst {max(pauses):.1f}), "
            f"beside `buckler check` {beside[0]:.1f}, quiet {quiet[0]:.1f} (median wait {quiet[1]:.2f})",
        ]
        return {"lines": lines, "start_s": started, "start_cpu_s": start_cpu, "reload_cpu_s": reload_cpu, "shard_ms": busiest, "reload_s": times, "pause_ms": pauses, "beside_ms": beside[0],
                "quiet_ms": quiet[0], "rss_mib": memory / 2**20, "rss_reloaded_mib": ready / 2**20, "rss_after_mib": after / 2**20}

    def write(self, mark, agreed=None):
        return configurations.large(
            self.flat.folder, "large", self.admin, self.port, f"127.0.0.1:{self.flat.origin.port}",
            self.options.services, agreed or self.options.agreed, 2, mark)

    def watched(self, action):
        """What `action` gives, and the waits of clients meanwhile."""
        watch = Watch([(configurations.address(0), self.port)] * WATCHED)
        watch.start()
        try:
            result = action()
        finally:
            waits = watch.end()
        return result, waits
