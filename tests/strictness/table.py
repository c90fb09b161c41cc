"""All cases of the table, from the files in cases/."""

import importlib
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent / "cases"


def cases():
    """Every case; no two with one id."""
    found = []
    for path in sorted(FOLDER.glob("*.py")):
        found += importlib.import_module(f"cases.{path.stem}").CASES
    ids = [case.id for case in found]
    twice = {each for each in ids if ids.count(each) > 1}
    assert not twice, f"cases of the same name: {sorted(twice)}"
    return found
