"""A worker behind a network that is cut off and mended, in network namespaces of its own.

    unshare -n cut_off.py BUCKLER FOLDER

Runs in a fresh network namespace, with the right to change it: makes a second one for the worker `far`, joined by a
veth pair, starts the worker `near` and BUCKLER here, and asks. To cut, the far end of the pair goes down while the near
end knows its neighbour for good: packets leave and vanish without an error. Prints {"passed", "saw", "where"}; FOLDER
gets all files. Every process it starts ends with it.
"""

import asyncio
import collections
import ctypes
import json
import pathlib
import signal
import subprocess
import sys
import time
import traceback

FAR, NEAR = "10.99.0.2", "10.99.0.1"
FAR_MAC, NEAR_MAC = "02:00:00:00:00:02", "02:00:00:00:00:01"
FAR_WORKER, NEAR_WORKER, DOOR, ADMIN = f"{FAR}:9001", "127.0.0.1:9002", 9003, 9004

CONNECT, RESPONSE = 0.5, 1.0  # seconds: timeouts of the service
SLACK = 10  # seconds more that anything may take on a busy machine
PATIENCE = 30  # seconds for what has to happen in the end
ATTEMPTS = 2  # `retries.attempts`
CLIENTS = 6

CONFIG = f"""
services:
  api:
    listen: 127.0.0.1:{DOOR}
    workers: {{ addresses: ["{FAR_WORKER}", "{NEAR_WORKER}"], slow_start: 1s }}
    timeouts: {{ connect: {int(CONNECT * 1000)}ms, response: {int(RESPONSE * 1000)}ms }}
    retries: {{ attempts: {ATTEMPTS}, budget: 100% }}
admin: {{ listen: "127.0.0.1:{ADMIN}" }}
threads: 2
"""

libc = ctypes.CDLL(None)


def ends_with_us():
    PR_SET_PDEATHSIG = 1
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr, preexec_fn=ends_with_us)


class Net:
    """Two network namespaces and the pair that joins them."""

    def __init__(self, started):
        run("ip", "link", "set", "lo", "up")
        self.holder = started("unshare", "-n", "sleep", "600")
        own = pathlib.Path("/proc/self/ns/net").readlink()
        theirs = pathlib.Path(f"/proc/{self.holder.pid}/ns/net")
        within(lambda: theirs.readlink() != own, "a namespace of its own")
        run("ip", "link", "add", "near", "address", NEAR_MAC, "type", "veth", "peer", "name", "far", "address", FAR_MAC,
            "netns", str(self.holder.pid))
        run("ip", "addr", "add", f"{NEAR}/24", "dev", "near")
        run("ip", "link", "set", "near", "up")
        run("ip", "neigh", "replace", FAR, "lladdr", FAR_MAC, "dev", "near", "nud", "permanent")
        run(*self.there(), "ip", "addr", "add", f"{FAR}/24", "dev", "far")
        self.mend()

    def there(self):
        """What a command begins with that runs on the far side."""
        return ["nsenter", "-t", str(self.holder.pid), "-n"]

    def cut(self):
        run(*self.there(), "ip", "link", "set", "far", "down")

    def mend(self):
        run(*self.there(), "ip", "link", "set", "far", "up")
        run(*self.there(), "ip", "neigh", "replace", NEAR, "lladdr", NEAR_MAC, "dev", "far", "nud", "permanent")


def within(look, what):
    """Waits, without the loop, for what happens at once."""
    end = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.01)


class Fate(collections.namedtuple("Fate", "method target status worker reason took")):
    """What became of a request."""


class Play:
    def __init__(self, buckler, folder):
        self.buckler, self.folder = buckler, pathlib.Path(folder)
        self.children, self.numbers = [], 0

    def started(self, *command, **more):
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=ends_with_us, **more)
        self.children.append(child)
        return child

    def worker(self, name, address, *more, place=()):
        host, port = address.split(":")
        script = pathlib.Path(__file__).with_name("counting_worker.py")
        command = [*place, sys.executable, script, "--name", name, "--host", host, "--port", port, "--log",
                   self.folder / name, *more]
        child = self.started(*command, stdout=subprocess.PIPE)
        assert child.stdout.readline(), f"{name} does not start"

    def seen(self, name):
        """The requests that this worker has read, as `GET /x`."""
        return (self.folder / name).read_text().splitlines()

    def set_up(self):
        self.net = Net(self.started)
        self.worker("far", FAR_WORKER, "--silent", "/held/", place=self.net.there())
        self.worker("near", NEAR_WORKER)
        config = self.folder / "cut_off.yaml"
        config.write_text(CONFIG + f"access_log: {{ path: \"{self.folder}/access.log\" }}\n")
        self.started(self.buckler, "run", "-c", config, stdout=sys.stderr)

    async def ask(self, method, kind="plain"):
        """A request on a connection of its own."""
        self.numbers += 1
        target = f"/{kind}/{self.numbers}"
        begun = time.monotonic()
        # Without a body, nothing but the rule keeps it from being sent twice.
        body = "content-length: 0\r\n\r\n" if method == "POST" else "\r\n"
        status, fields, answer = await asyncio.wait_for(
            exchange(DOOR, f"{method} {target} HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n{body}"), 60)
        took = time.monotonic() - begun
        reason = json.loads(answer)["reason"] if status >= 500 else None
        return Fate(method, target, status, fields.get("x-worker"), reason, took)

    async def round(self, kind="plain"):
        """As many requests of each method as there are clients, all at once."""
        methods = ["GET", "POST"] * CLIENTS
        return await asyncio.gather(*[self.ask(method, kind) for method in methods])

    async def told(self):
        """The far worker, as the status page tells it."""
        head = f"GET /api/v1/status HTTP/1.1\r\nhost: 127.0.0.1:{ADMIN}\r\nconnection: close\r\n\r\n"
        status, _, page = await exchange(ADMIN, head)
        assert status == 200, page
        workers = json.loads(page)["services"][0]["workers"]
        return next(worker for worker in workers if worker["address"] == FAR_WORKER)

    async def until(self, what, look):
        end = time.monotonic() + PATIENCE
        while True:
            found = await look()
            if found:
                return found
            assert time.monotonic() < end, f"waited {PATIENCE} s in vain: {what}; {await self.told()}"
            await asyncio.sleep(0.02)


async def exchange(port, request):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request.encode())
        text = await reader.read()
    finally:
        writer.close()
    head, _, body = text.decode().partition("\r\n\r\n")
    line, *lines = head.split("\r\n")
    assert line.startswith("HTTP/1.1 "), f"{text!r:.300} to {request!r:.60}"
    fields = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
    return int(line.split()[1]), fields, body


def judge(fates, sent=False):
    """A GET is always answered, by a second worker if need be. A POST may be lost where it was sent, and that takes as
    long as an answer may take; where no connection was made, it goes to the other worker. Returns those lost."""
    for fate in fates:
        longest = CONNECT + RESPONSE + SLACK
        assert fate.took < longest, fate
        if fate.status != 200:
            assert fate.method == "POST" and (fate.status, fate.reason) == (504, "worker_timeout"), fate
            assert fate.took >= RESPONSE, fate
        elif sent:
            assert fate.worker == "near", fate
    return [fate for fate in fates if fate.status != 200]


async def calm(play):
    async def both():
        try:
            fates = await play.round()
        except OSError:  # Buckler does not listen yet
            return False
        assert all(fate.status == 200 for fate in fates), fates
        return {fate.worker for fate in fates} == {"far", "near"}

    await play.until("both workers at work", both)
    # So that more than one connection to the far worker is idle when it is cut off.
    for _ in range(3):
        judge(await play.round())


async def cut_under_way(play):
    """Requests are at the far worker when it is cut off."""
    under_way = []

    async def held():
        under_way.append(asyncio.create_task(play.round("held")))
        await asyncio.sleep(0.1)
        seen = [line for line in play.seen("far") if "/held/" in line]
        return {line.split()[0] for line in seen} == {"GET", "POST"}

    await play.until("a GET and a POST at the far worker", held)
    play.net.cut()
    fates = [fate for round in await asyncio.gather(*under_way) for fate in round]
    lost = judge(fates, sent=True)
    assert lost, "a POST that was at the far worker has no answer"
    return len(lost)


async def while_cut(play):
    """Established connections that are dead without a word, and new ones that are never made."""
    lost = 0

    async def not_connected():
        nonlocal lost
        lost += len(judge(await play.round()))
        worker = await play.told()
        known = worker["state"] in ("ejected", "returning") and "connection" in worker.get("why", "")
        return worker if known and worker["connect_failures"] > 0 else None

    worker = await play.until("a connection that was not made, and what follows", not_connected)
    # Most go to the near worker at once; so many rounds would take a minute if each were held by the far one.
    before = worker["attempts"]
    fates = [fate for _ in range(20) for fate in await play.round()]
    lost += len(judge(fates))
    tried = (await play.told())["attempts"] - before
    assert tried <= len(fates) / 10, f"{tried} of {len(fates)} requests were sent to the worker that is cut off"
    return lost, worker["state"], worker["why"]


async def mended(play):
    play.net.mend()
    cut_off = len(play.seen("far"))

    async def back():
        judge(await play.round())
        return len(play.seen("far")) > cut_off and (await play.told())["state"] == "healthy"

    await play.until("the far worker in use again, and healthy", back)
    fates = await play.round()
    assert {fate.worker for fate in fates} == {"far", "near"}, fates


def nothing_was_sent_twice(play):
    """What vanished may have been read late: that is why it must not have gone to the other worker as well."""
    counts = collections.Counter(play.seen("far") + play.seen("near"))
    for request, count in counts.items():
        most = 1 if request.startswith("POST ") else ATTEMPTS
        assert count <= most, f"{request} came {count} times"


async def perform(play):
    play.set_up()
    await calm(play)
    under_way = await cut_under_way(play)
    lost, state, why = await while_cut(play)
    await mended(play)
    nothing_was_sent_twice(play)
    return f"POSTs lost under way {under_way}, later {lost}; the worker was {state}: {why}"


def main():
    _, buckler, folder = sys.argv
    play = Play(buckler, folder)
    try:
        result = {"passed": True, "saw": asyncio.run(perform(play))}
    except Exception as error:
        result = {"passed": False, "saw": f"{type(error).__name__}: {error}", "where": traceback.format_exc(limit=-4)}
    finally:
        for child in play.children:
            child.kill()
            child.wait()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
