"""The client and the workers, played in steps by one thread.

Nothing is sent, on either side, before Buckler has done all that it had to do and sleeps. So it meets the same events in
the same order each time, and its instructions can be compared from run to run. With workers of their own pace it would be
chance whether their answer is there when Buckler first looks, or only after it went to sleep.
"""

import contextlib
import pathlib
import select
import time

import clients
from checks import Failed

ANSWER_WITHIN_S = 60
# So many looks in a row must find all threads asleep: when valgrind goes from one thread to the next, none runs for a moment.
QUIET_LOOKS = 3


class Steps:
    """Both sides of Buckler: one client, and workers that listen on these sockets and always give this answer.

    @n@ in it, or in a request, is the number of the exchange, of as many digits each time; @pad@ is up to seven letters, another
    number of them than before.
    """

    def __init__(self, pid, listeners, answer):
        self.threads = pathlib.Path(f"/proc/{pid}/task")
        self.listeners = listeners
        self.answer = answer
        self.number = 0
        # What has come of a request, by worker connection.
        self.held = {}

    def wait_quiet(self):
        """Returns once all threads of Buckler sleep."""
        end, looks = time.monotonic() + ANSWER_WITHIN_S, 0
        while looks < QUIET_LOOKS:
            looks = looks + 1 if all(map(sleeps, self.threads.iterdir())) else 0
            if time.monotonic() > end:
                raise Failed(f"Buckler did not come to rest within {ANSWER_WITHIN_S} s")

    def exchange(self, client, request):
        """Plays this request until the client has its whole answer; gives the status."""
        self.number += 1
        client.open()
        self.wait_quiet()
        client.send(self.numbered(request))
        end = time.monotonic() + ANSWER_WITHIN_S
        while time.monotonic() < end:
            ready, _, _ = select.select([client.socket, *self.listeners, *self.held], [], [], ANSWER_WITHIN_S)
            for each in ready:
                if each is client.socket:
                    status = client.receive()
                    if status is not None:
                        self.wait_quiet()
                        return status
                elif each in self.listeners:
                    self.held[each.accept()[0]] = b""
                else:
                    self.work(each)
        raise Failed(f"no answer from Buckler within {ANSWER_WITHIN_S} s")

    def numbered(self, message):
        if not isinstance(message, bytes):
            return message
        return message.replace(b"@n@", b"%06d" % self.number).replace(b"@pad@", b"x" * (self.number % 8))

    def work(self, connection):
        """A worker takes what came, and answers when the request is complete."""
        got = connection.recv(clients.RECEIVE_BYTES)
        self.held[connection] += got
        if not got:
            del self.held[connection]
            connection.close()
        elif clients.message_end(self.held[connection]) is not None:
            self.held[connection] = b""
            self.wait_quiet()
            connection.sendall(self.numbered(self.answer))

    def close(self):
        for connection in self.held:
            connection.close()


def sleeps(thread):
    """Whether the kernel says so of this thread; one that has ended sleeps too."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return (thread / "stat").read_text().rpartition(") ")[2].startswith("S")
    return True
