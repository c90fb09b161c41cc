"""Rows for docs/performance.md: what the goals come to, and the figures behind them, with the command beside each."""

import report
from peers import PEERS

# Options that change a figure, and so belong beside it.
TOLD = ("rounds", "seconds", "threads", "connections", "rate", "peers", "pin_proxy", "pin_load")


def command(scene, options, default):
    """The command that takes this scene's figures again."""
    words = ["benches/compare", "--scene", scene]
    for name in TOLD:
        value = getattr(options, name)
        if value != default(name):
            words += [f"--{name.replace('_', '-')}", ",".join(value) if isinstance(value, list) else str(value)]
    return " ".join(words)


def lines(result):
    """Both tables, for all scenes of a run."""
    yield "| Goal | Command | Figure | |"
    yield "| --- | --- | --- | --- |"
    for name, scene in result["scenes"].items():
        for goal in scene["goals"]:
            if goal["figure"] is not None:
                yield f"| `{name}`: {goal['goal']} | `{scene['command']}` | {goal['figure']:.2f} | {goal['verdict']} |"
    yield ""
    yield f"| Figure | Command | {' | '.join(PEERS)} |"
    yield f"| --- | --- |{' --- |' * len(PEERS)}"
    for name, scene in result["scenes"].items():
        for key in dict.fromkeys(goal["measure"] for goal in scene["goals"]):
            title, digits = report.titles(scene["unit"])[key], report.digits_of(key)
            cells = (cell(scene["peers"], peer, key, digits) for peer in PEERS)
            yield f"| `{name}`: {title} | `{scene['command']}` | {' | '.join(cells)} |"


def cell(values, peer, key, digits):
    """A peer's figure; two of them where it ran with one thread and with two."""
    own = (values[name] for name in values if name == peer or name.startswith(f"{peer}-"))
    return " / ".join(f"{one[key]:.{digits}f}" for one in own if one.get(key) is not None) or "-"
