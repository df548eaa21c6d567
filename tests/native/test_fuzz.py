"""Generated messages: to the parser in-process, under the address sanitizer, and to a live init."""

import itertools
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from driver import (
    DELETE,
    DIAL,
    DIAL_UNIX,
    FILTER,
    LANDLOCK,
    LIST,
    MKDIR,
    OPEN,
    PIPES,
    RELEASE,
    RENAME,
    REQUEST,
    SIGNAL,
    START,
    START_HEAD,
    WRITE,
    Init,
    alive,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECONDS = 20

EXAMPLES = [
    (FILTER, b"\6\0\0\0\0\0\xff\x7f", []),
    (LANDLOCK, b"/work\0/tmp\0", []),
    (WRITE, b"a/b\0content", [0o644]),
    (MKDIR, b"a/b/\0", [0o755]),
    (RENAME, b"a\0../b\0", []),
    (DELETE, b"a\0", []),
    (LIST, b".\0", []),
    (OPEN, b"/a//b/../c\0", []),
    (START, START_HEAD.pack(PIPES, 24, 80, 5, 2, 1, *[2**64 - 1] * 16) + b"/work\0sh\0-c\0PATH=/bin\0", []),
    (SIGNAL, b"", [1, 15, 1]),
    (RELEASE, b"", [1]),
    (DIAL, b"localhost\0", [80]),
    (DIAL_UNIX, b"/work/socket\0", []),
]
STAT = b"12 (a) R 1 (b) S 1 2 3 34816 -1 4194304 0"


@pytest.mark.fuzz
def test_the_parser_stays_within_its_message(clang: str, sources: Path, tmp_path: Path) -> None:
    harness = tmp_path / "fuzz_parse"
    own = Path(__file__).with_name("fuzz_parse.c")
    flags = ["-g", "-O1", "-D_GNU_SOURCE", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run([clang, *flags, "-I", sources, "-o", harness, own, sources / "parse.c"], check=True)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, (op, payload, args) in enumerate(EXAMPLES):
        message = REQUEST.pack(op, 1, *[*args, 0, 0, 0, 0][:4]) + payload
        (corpus / str(number)).write_bytes(message)
    (corpus / "stat").write_bytes(STAT)
    run = subprocess.run(
        [harness, f"-max_total_time={SECONDS}", "-max_len=4096", "-print_final_stats=1", corpus],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    executed = next(line for line in run.stderr.splitlines() if "number_of_executed_units" in line)
    assert int(executed.split()[-1]) > 1000


OPS = [WRITE, MKDIR, RENAME, DELETE, LIST, OPEN, START, SIGNAL, RELEASE, DIAL, DIAL_UNIX]
"""A generated FILTER or LANDLOCK that happens to be valid would end the box, as it should: see `torn`."""

words = st.sampled_from(
    [b"a", b"..", b".", b"/", b"/work", b"\0", b"sh", b"localhost", b"x" * 300, b"\xff"]
) | st.binary(max_size=40)
payloads = st.lists(words, max_size=12).map(b"".join) | st.lists(words, max_size=6).map(
    lambda parts: b"".join(part + b"\0" for part in parts)
)
small = st.integers(0, 70) | st.integers(0, 2**32 - 1)
heads = st.builds(
    lambda mode, argc, envc, limits: START_HEAD.pack(mode, 24, 80, 0, argc, envc, *limits),
    st.integers(0, 3),
    small,
    small,
    st.lists(st.integers(0, 2**64 - 1), min_size=16, max_size=16) | st.just([2**64 - 1] * 16),
)
requests = st.builds(
    lambda op, args, payload: REQUEST.pack(op, 0, *args) + payload,
    st.sampled_from(OPS) | st.integers(16, 2**32 - 1),
    st.lists(small, min_size=4, max_size=4),
    payloads,
)
starts = st.builds(lambda head, payload: REQUEST.pack(START, 0, 0, 0, 0, 0) + head + payload, heads, payloads)
torn = st.builds(
    lambda op, size, args: REQUEST.pack(op, 0, *args) + b"x" * size,
    st.sampled_from([FILTER, LANDLOCK]),
    st.integers(1, 30).filter(lambda size: size % 8),
    st.lists(small, min_size=4, max_size=4),
)
garbage = st.binary(min_size=1, max_size=REQUEST.size - 1)
messages = requests | starts | torn | garbage


@pytest.fixture(scope="module")
def live(binary: Path) -> Iterator[Init]:
    with Init(binary) as init:
        yield init


serial = itertools.count(1)


@settings(deadline=None, max_examples=300, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(messages, min_size=1, max_size=8))
def test_a_live_init_answers_whatever_it_is_sent(live: Init, batch: list[bytes]) -> None:
    for message in batch:
        if len(message) >= REQUEST.size:
            message = message[:4] + struct.pack("=I", 10**6 + next(serial)) + message[8:]
        live.raw(message)
        for reply in live.settle():
            for fd in reply.fds:
                os.close(fd)
    assert alive(live)
