"""Cases of a client: named functions, run one after another, their results printed as one JSON object.

A case returns what it saw, or fails by an exception. The caller compares what was seen directly at the server with
what was seen through Buckler, so a case returns nothing that differs from one run to the next.
"""

import asyncio
import json
import sys
import time
import traceback

LONGEST = 60  # seconds for one case: far longer than any needs


class Cases:
    """A list of cases; `@cases` adds one, under the name of its function."""

    def __init__(self):
        self.functions = {}

    def __call__(self, function):
        self.functions[function.__name__] = function
        return function

    async def run(self, context, only=""):
        """Runs the cases whose names contain `only`, prints the results, and returns whether all passed."""
        results = {}
        for name, function in self.functions.items():
            if only not in name:
                continue
            begin = time.monotonic()
            try:
                saw = await asyncio.wait_for(function(context), LONGEST)
                results[name] = {"passed": True, "saw": saw}
            except Exception as error:  # a failed case must not keep the others from running
                said = f"{type(error).__name__}: {error}" if not isinstance(error, AssertionError) else str(error)
                results[name] = {"passed": False, "saw": said, "where": traceback.format_exc(limit=-3)}
            print(f"{name}: {time.monotonic() - begin:.2f} s", file=sys.stderr)
        print(json.dumps(results))
        return all(result["passed"] for result in results.values())


def expect(what, saw, wanted):
    """Fails, with both, if what was seen is not what was wanted."""
    assert saw == wanted, f"{what}: saw {saw!r:.500}, wanted {wanted!r:.500}"


async def eventually(what, look, patience=10):
    """Waits until `await look()` gives something true, and returns it."""
    end = time.monotonic() + patience
    while True:
        found = await look()
        if found:
            return found
        assert time.monotonic() < end, f"waited {patience} s in vain: {what}"
        await asyncio.sleep(0.02)
