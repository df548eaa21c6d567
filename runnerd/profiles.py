"""The profiles that are there without a configuration, as what each has other than `Profile`'s own defaults."""

from typing import Any

WIDGET: dict[str, Any] = {
    "memory": 128 * 1024**2,
    "processes": 32,
    "cpus": 0.2,
    "cpu": 10.0,
    "wall": 60.0,
    "tmp": 10 * 1024**2,
    "idle": 60.0,
    "runs": 1,
    "widget": True,
}
EXECUTE: dict[str, Any] = {
    "memory": 256 * 1024**2,
    "processes": 64,
    "cpu": 10.0,
    "wall": 60.0,
    "idle": 30.0,
    "output": 1024**2,
    "work": 32 * 1024**2,
    "tmp": 32 * 1024**2,
    "runs": 1,
}
SESSION: dict[str, Any] = {
    "memory": 200_000_000,
    "processes": 32,
    "cpus": 0.5,
    "wall": 120.0,
    "idle": 30.0,
    "output": 1_000_000,
    "work": 32 * 1024**2,
}
SPACE: dict[str, Any] = {
    "memory": 1024**3,
    "processes": 256,
    "cpu": 3600.0,
    "wall": 28_800.0,
    "idle": 1800.0,
    "output": 64 * 1024**2,
    "work": 256 * 1024**2,
    "tmp": 384 * 1024**2,
}
"""Lives for a working day and is shared: several programs, a server among them, and the packages they installed. No
toolchain needs more, since nobody knows what will run."""
LOCAL: dict[str, Any] = {
    "memory": 2 * 1024**3,
    "processes": 512,
    "cpus": 64.0,
    "cpu": 0.0,
    "wall": 0.0,
    "idle": 0.0,
    "output": 0,
    "work": 256 * 1024**2,
    "tmp": 256 * 1024**2,
}
"""Of `runnerd run` and `shell`: who started it sits before it and can end it."""

BUILTIN_PROFILES: dict[str, dict[str, Any]] = {
    "default": {},
    "widget": WIDGET,
    "session": SESSION,
    "execute": EXECUTE,
    "space": SPACE,
    "local": LOCAL,
}
