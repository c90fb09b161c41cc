"""What the kernel counts: CPU time and memory of processes and of the machine, read from /proc."""

import contextlib
import os
import pathlib
import platform
import re
import resource

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def tree(root):
    """The stat fields, from the state on, of a process and all below it."""
    stats, below = {}, {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            pid = int(path.parent.name)
            stats[pid] = fields
            below.setdefault(int(fields[1]), []).append(pid)
    found, queue = {}, [root]
    while queue:
        pid = queue.pop()
        if pid in stats:
            found[pid] = stats[pid]
            queue += below.get(pid, [])
    return found


def cpu_of_tree(root):
    """Seconds in user and system mode, of the living processes and of the children they waited for."""
    fields = tree(root).values()
    return tuple(sum(int(one[11 + i]) + int(one[13 + i]) for one in fields) / TICKS_PER_S for i in (0, 1))


def memory_of_tree(root):
    """Resident bytes: RSS counts shared pages once a process, PSS once in all."""
    rss = pss = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            rollup = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB", text, re.MULTILINE))
            rss, pss = rss + int(rollup["Rss"]) * 1024, pss + int(rollup["Pss"]) * 1024
    return rss, pss


def cpu_of_ended_children():
    """Seconds of the children of this program that it has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def machine_cpu():
    """Seconds that all CPUs together were busy: user, nice, system, irq, softirq, steal."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return sum(int(fields[i]) for i in (1, 2, 3, 6, 7, 8)) / TICKS_PER_S


def cpu_model():
    """What the first CPU calls itself."""
    found = re.search(r"^model name\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def begin_peak(root):
    """Lets the peaks of resident memory begin anew, at what it is now."""
    for pid in tree(root):
        with contextlib.suppress(OSError):
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_of_tree(root):
    """Resident bytes at their most, each process by itself."""
    peak = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            text = pathlib.Path(f"/proc/{pid}/status").read_text()
            peak += int(re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024
    return peak
