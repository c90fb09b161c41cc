"""The kept figures: read, compared, written. They only mean something beside figures made in the same way."""

import json
import mmap
import pathlib
import platform
import re

import programs
from checks import Failed
from figures import change

PATH = pathlib.Path(__file__).resolve().parent.parent / "instructions.json"
MARGIN_PERCENT = 3
# Of allocations and system calls for one request: one more is more than this, a rare one is less.
MARGIN_CALLS = 0.5
PROFILE = "release"

LOOK = """Look where: benches/instructions --scene {scenes} --against THE_PROGRAM_BEFORE --top 40
A bug if nobody meant it. If it is meant and worth it: benches/instructions --update, and say why in the commit."""


def made_with(program, valgrind):
    """All that changes the figures without a change of Buckler's source."""
    flags = re.search(r"^flags\s*:(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "profile": program.parent.name,
        "rustc": compiler_of(program),
        "valgrind": programs.version_of([valgrind, "--version"]),
        "libc": " ".join(platform.libc_ver()),
        "cpu": platform.machine() + (" with avx2" if flags and "avx2" in flags[1].split() else ""),
    }


def compiler_of(program):
    """The compiler writes its name into each program (section .comment)."""
    with program.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        found = re.search(rb"rustc version ([^\0\n]{1,60}?\))", held)
        return found[1].decode() if found else "unknown"


def read():
    """What is kept, or nothing."""
    try:
        return json.loads(PATH.read_text())
    except FileNotFoundError:
        return {"made_with": {}, "scenes": {}}
    except ValueError as error:
        raise Failed(f"{PATH}: {error}; take it from the repository again, or remove it and run benches/instructions --update") from None


def differing(kept, now):
    """What was not the same when the figures were kept, as text."""
    return [f"{name} {kept.get(name)!r}, now {value!r}" for name, value in now.items() if kept.get(name) != value]


def write(kept, now, results, all_scenes):
    """Keeps these figures; those of other scenes stay, if they were made in the same way."""
    if now["profile"] != PROFILE:
        raise Failed(f"--update keeps figures of the {PROFILE} profile, and this program lies in {now['profile']}/: "
                     f"leave --buckler out, or name target/{PROFILE}/buckler")
    missing = [name for name in all_scenes if name not in results]
    if missing and differing(kept["made_with"], now):
        raise Failed(f"--update must take all scenes, since the others were kept with {'; '.join(differing(kept['made_with'], now))}")
    scenes = {name: results[name].kept() if name in results else kept["scenes"].get(name) for name in all_scenes}
    text = json.dumps({"made_with": now, "scenes": {name: figures for name, figures in scenes.items() if figures}}, indent=2)
    # A scene on a line: a change shows as one.
    text = re.sub(r"\{\n\s+(\"instructions\"[^}]*?)\n\s+\}", lambda found: "{ " + re.sub(r"\n\s+", " ", found[1]) + " }", text)
    PATH.write_text(text + "\n")


def verdict(kept, now, results):
    """(0, 1 or 3; what to say): 1 where a figure is above what is kept, 3 where nothing can be judged."""
    if not kept["scenes"]:
        return 3, f"not judged: {PATH.name} has no figures; benches/instructions --update"
    if now["profile"] != PROFILE:
        return 0, f"not judged: this program is of the profile {now['profile']}, and what is kept is of {PROFILE}"
    if differing(kept["made_with"], now):
        return 3, ("not judged: the figures were kept under other conditions: "
                   f"{'; '.join(differing(kept['made_with'], now))}.\nIf these are there to stay: benches/instructions --update")
    above, below, unknown = [], [], []
    for name, figures in results.items():
        old = kept["scenes"].get(name)
        if old is None:
            unknown.append(name)
            continue
        if change(figures, old) > MARGIN_PERCENT:
            above.append((name, f"{name}: {figures.instructions:.0f} instructions a request, {old['instructions']} are kept: "
                                f"{change(figures, old):+.1f} %, more than {MARGIN_PERCENT} %"))
        if change(figures, old) < -MARGIN_PERCENT:
            below.append(name)
        above += [(name, f"{name}: {getattr(figures, kind):.1f} {kind.replace('_', ' ')} a request, {old[kind]} are kept")
                  for kind in ("allocations", "system_calls") if getattr(figures, kind) > old[kind] + MARGIN_CALLS]
    if above:
        scenes = ",".join(dict.fromkeys(name for name, _ in above))
        return 1, "\n".join([*(text for _, text in above), LOOK.format(scenes=scenes)])
    said = "all within what is kept"
    if below:
        said = f"less than is kept, by more than {MARGIN_PERCENT} %: {', '.join(below)}. Keep it: benches/instructions --update"
    if unknown:
        said += f"\nnot kept yet: {', '.join(unknown)}: benches/instructions --update"
    return 0, said
