"""The slices of processor time that the kernel keeps for the daemon and for boxes."""

import ctypes
import os
import struct
import threading

import pytest

from runnerd.sandbox import slices
from runnerd.sandbox.host import Host

from .running import run
from .test_spawn import plain, told

SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}[os.uname().machine]

PRINT = f"""
import ctypes, struct
data = ctypes.create_string_buffer(48)
assert ctypes.CDLL(None).syscall({SCHED_GETATTR}, 0, data, 48, 0) == 0
print(*struct.unpack("IIQiIQ", data.raw[:32]))
"""
"""Size, policy, flags, niceness, priority and slice in nanoseconds of who runs it."""

since_6_12 = pytest.mark.skipif(
    tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 12),
    reason="one slice for all",
)


def attributes() -> tuple[int, ...]:
    """Of the calling thread, as above."""
    data = ctypes.create_string_buffer(48)
    assert ctypes.CDLL(None).syscall(SCHED_GETATTR, 0, data, 48, 0) == 0
    return struct.unpack("IIQiIQ", data.raw[:32])


@since_6_12
def test_a_daemon_and_its_threads_have_the_shortest() -> None:
    seen: list[int] = []

    def daemon() -> None:
        slices.take_short()
        thread = threading.Thread(target=lambda: seen.append(attributes()[5]))
        thread.start()
        thread.join()
        seen.append(attributes()[5])

    thread = threading.Thread(target=daemon)  # not ours: the tests' own should stay as they are
    thread.start()
    thread.join()
    assert seen == [slices.DAEMON, slices.DAEMON]
    assert attributes()[5] > slices.DAEMON


@since_6_12
async def test_a_program_has_longer_ones_than_the_kernels_own(host: Host) -> None:
    ended = await run(host, "/usr/bin/python3", "-c", PRINT)
    assert int(ended.stdout.split()[5]) == slices.BOX > attributes()[5]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may take realtime priority")
async def test_what_a_daemon_with_realtime_priority_spawns_has_none() -> None:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        said = await told(["/usr/bin/python3", "-c", PRINT], plain)
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    assert said.split()[1] == str(os.SCHED_OTHER)


async def test_niceness_and_batch_stay() -> None:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        said = await told(["/usr/bin/nice", "-n", "3", "/usr/bin/python3", "-c", PRINT], plain)
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    niceness = min(os.getpriority(os.PRIO_PROCESS, 0) + 3, 19)  # who runs the tests may be nice already
    assert said.split()[1:4] == [str(os.SCHED_BATCH), "0", str(niceness)]
