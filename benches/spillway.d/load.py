"""The load program, spillway.rs: started, told the proxy's ports, listened to, and stopped."""

import json
import select
import subprocess
import time

import programs
from checks import Failed

SLACK_S = 20


class Load:
    """Clients and workers, in one process."""

    def __init__(self, folder):
        self.log = folder / "load.log"
        self.process = None
        self.unread = b""

    @property
    def pid(self):
        return self.process.pid

    def start(self, command):
        """Starts it and gives the workers' ports, by service."""
        with self.log.open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0, start_new_session=True)
        return self.line(SLACK_S)["workers"]

    def go(self, a, b):
        """Begins the experiment through the proxy's ports of A and B."""
        self.process.stdin.write(f"{a} {b}\n".encode())

    def wait_for(self, phase, seconds):
        """Returns as this phase begins; the one before it lasts `seconds`."""
        told = self.line(seconds + SLACK_S)
        if told.get("phase") != phase:
            raise Failed(f"the load program should begin with the phase {phase}, and says {told}")

    def report(self):
        return self.line(SLACK_S)

    def line(self, within):
        """Its next line, as JSON."""
        end = time.monotonic() + within
        while b"\n" not in self.unread:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))
            more = ready and self.process.stdout.read(65536)
            if not more:
                words = self.log.read_bytes().decode(errors="replace").strip()
                raise Failed(f"the load program {'ended' if ready else 'said nothing'} within {within} s; it said: {words or 'nothing'}")
            self.unread += more
        line, _, self.unread = self.unread.partition(b"\n")
        return json.loads(line)

    def stop(self):
        """Ends it, if it was ever started."""
        if self.process:
            programs.stop(self.process)
