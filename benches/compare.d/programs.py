"""Programs: found, started, waited for and stopped. Only what was started here is ever stopped."""

import contextlib
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time

from checks import Failed

READY_WITHIN_S = 10
STOP_WITHIN_S = 3
LOAD_ENDS_WITHIN_S = 60
LOG_TAIL_BYTES = 2000


def find(packages):
    """The path of each program, by name; `packages` says which Debian package has it."""
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    paths = {name: shutil.which(name, path=search) for name in packages}
    missing = " ".join(packages[name] for name, path in paths.items() if not path)
    if missing:
        raise Failed(f"needed and not installed; on Debian: apt-get install -y --no-install-recommends {missing}")
    return paths


def build_buckler(repository):
    """Builds the release program and gives its path, wherever cargo puts it."""
    return build(repository, [("bin", "buckler")])["buckler"]


def build(repository, targets, profile="release"):
    """Builds these targets, as (kind, name), with this profile of Cargo.toml and gives their paths by name."""
    wanted = {name for _, name in targets}
    if not wanted:
        return {}
    chosen = [word for kind, name in targets for word in (f"--{kind}", name)]
    command = ["cargo", "build", "--profile", profile, "--locked", *chosen, "--message-format=json-render-diagnostics"]
    try:
        built = subprocess.run(command, cwd=repository, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise Failed("cargo is not installed; see https://rustup.rs, or name a binary with --buckler PATH") from None
    if built.returncode:
        raise Failed(f"cargo build --profile {profile} failed; its messages stand above")
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    paths = {message["target"]["name"]: pathlib.Path(message["executable"]) for message in messages if message.get("executable")}
    if missing := wanted - paths.keys():
        raise Failed(f"cargo build made no program named {' or '.join(sorted(missing))}")
    # With a bench cargo builds all programs: of these, a Buckler that was not asked for must not be taken for the one that is given.
    return {name: paths[name] for name in wanted}


def free_ports(count):
    """Ports that are free now: all are held open together, so that no two are the same."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [held.getsockname()[1] for held in sockets]


def pinned(cpus, command):
    """The command on these CPUs only; None leaves the choice to the kernel."""
    return ["taskset", "-c", cpus, *command] if cpus else command


class Server:
    """A server that was started here: its process, its port and the log of what it says."""

    def __init__(self, name, port, folder):
        self.name, self.port = name, port
        self.log = folder / f"{name}.log"
        self.process = None

    @property
    def pid(self):
        return self.process.pid

    def start(self, command):
        """Starts the program and returns once its port answers."""
        self.log.unlink(missing_ok=True)
        # Appended, so that a log may be emptied while it is written.
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.log.parent, start_new_session=True)
        end = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended at start with {self.process.returncode}{self.last_words()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise Failed(f"{self.name} did not listen on 127.0.0.1:{self.port} within {READY_WITHIN_S} s{self.last_words()}")

    def stop(self):
        """Ends the program, if it was ever started."""
        if self.process:
            stop(self.process)

    def last_words(self):
        """What it said last, to be put after an error message."""
        text = self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return f"; it said:\n{text}" if text else "; it said nothing"


def stop(process):
    """TERM, TERM again for those who drain on the first, then KILL: to the session that this process leads."""
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_WITHIN_S)


def run_load(command, seconds):
    """One run of a load generator; gives what it prints. Large bodies are finished, which may take a while."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=seconds + LOAD_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        raise Failed(f"the load did not end in time: {shlex.join(command)}") from None
    finally:
        stop(process)
    if process.returncode:
        raise Failed(f"the load failed: {shlex.join(command)}\n{output.strip()}")
    return output


def version_of(command):
    """The version that a program says it has."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # Some say their own path first.
    found = re.search(r"\d+\.\d+[^\s/]*", done.stdout.replace(command[0], ""))
    return found[0] if found else "of unknown version"
