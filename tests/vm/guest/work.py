"""A fixed piece of what a daemon does as it starts, to compare machines: Python starts, imports and computes."""

import subprocess
import sys
import time

MODULES = "asyncio, dataclasses, email.message, http.client, json, logging, sqlite3, tomllib"
WORK = f"import {MODULES}\nfor _ in range(10**6): pass"


def seconds() -> float:
    """How long it takes here: the best of five."""
    taken: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-c", WORK], check=True)
        taken.append(time.perf_counter() - began)
    return min(taken)


if __name__ == "__main__":
    print(seconds())
