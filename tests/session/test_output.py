import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runnerd.session.output import Chunk, OutputChannel, OutputLog

CHANNELS: tuple[OutputChannel, ...] = ("stdout", "stderr")
PIECES = st.one_of(
    st.binary(max_size=20),
    st.text("aé€😀", max_size=8).map(str.encode),
    st.sampled_from([b"\xe2\x82", b"\xf0\x9f\x98", b"\xc3", b"\x80", b"\xff", b"\xac" * 5]),
    st.integers(1, 90_000).map(lambda size: b"x" * size),
)


def torn(data: bytes) -> int:
    """The same question as the log's, asked of Python's decoder."""
    for back in range(1, min(3, len(data)) + 1):
        if data[-back] >= 0xC0:
            # Codec checks second bytes more strictly, so only leads are given to it.
            lead = data[-back]
            length = next((n for n in (2, 3, 4) if _is_lead_of(lead, n)), 1)
            return back if length > back else 0
        if data[-back] < 0x80:
            return 0
    return 0


def _is_lead_of(lead: int, length: int) -> bool:
    for second in (0x80, 0x90, 0xA0):
        try:
            bytes([lead, second, *[0x80] * (length - 2)]).decode()
        except UnicodeDecodeError:
            continue
        return True
    return False


class LogAgainstModel(RuleBasedStateMachine):
    """The model keeps one (channel, byte) per byte of output."""

    RETAIN = 100_000

    def __init__(self) -> None:
        super().__init__()
        self.log = OutputLog(self.RETAIN)
        self.cells: list[tuple[str, int]] = []
        self.held: dict[str, bytes] = {}
        self.offsets = [0, 0, 0]

    @rule(channel=st.sampled_from(CHANNELS), data=PIECES)
    def append(self, channel, data):
        self.log.append(channel, data)
        data = self.held.pop(channel, b"") + data
        cut = len(data) - torn(data)
        if data[cut:]:
            self.held[channel] = data[cut:]
        self.cells += [(channel, byte) for byte in data[:cut]]

    @rule(channel=st.sampled_from(CHANNELS))
    def flush(self, channel):
        self.log.flush(channel)
        self.cells += [(channel, byte) for byte in self.held.pop(channel, b"")]

    @rule()
    def finish(self):
        self.log.finish()
        for channel, data in self.held.items():
            self.cells += [(channel, byte) for byte in data]
        self.held.clear()

    @rule(reader=st.integers(0, 2), limit=st.one_of(st.integers(1, 10), st.integers(1, 200_000)))
    def read(self, reader, limit):
        offset = self.offsets[reader]
        chunk = self.log.read(offset, limit)
        oldest = max(offset, len(self.cells) - self.RETAIN)
        if oldest >= len(self.cells):
            assert chunk is None
            return
        assert isinstance(chunk, Chunk)
        assert chunk.offset == oldest
        end = oldest + len(chunk.data)
        assert self.cells[oldest:end] == [(chunk.channel, byte) for byte in chunk.data]
        run = oldest
        while run < len(self.cells) and self.cells[run][0] == chunk.channel:
            run += 1
        if run - oldest <= limit and (run == len(self.cells) or run - oldest < limit):
            assert end == run, "all of the run fits, so all of it is given"
        else:
            assert limit - 3 <= len(chunk.data) <= limit
            if len(chunk.data) < limit:
                assert torn(bytes(byte for _, byte in self.cells[oldest : oldest + limit])) == limit - len(chunk.data)
            elif end < run:
                assert not torn(chunk.data) or torn(chunk.data) == len(chunk.data)
        self.offsets[reader] = end

    @rule(reader=st.integers(0, 2), back=st.integers(0, 300_000))
    def rewind(self, reader, back):
        self.offsets[reader] = max(0, self.offsets[reader] - back)

    @precondition(lambda self: self.cells)
    @invariant()
    def agrees(self):
        assert self.log.end == len(self.cells)
        assert self.log.start == max(0, len(self.cells) - self.RETAIN)
        assert self.log.size == len(self.cells) + sum(map(len, self.held.values()))
        for channel in CHANNELS:
            assert self.log.holds(channel) == (channel in self.held)


LogAgainstModel.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLogAgainstModel = LogAgainstModel.TestCase


def test_adjacent_appends_of_a_channel_are_one_chunk_and_channels_are_not_mixed() -> None:
    log = OutputLog(1000_000)
    log.append("stdout", b"a")
    log.append("stdout", b"b")
    log.append("stderr", b"!")
    log.append("stdout", b"c")
    assert log.read(0, 100) == Chunk("stdout", 0, b"ab")
    assert log.read(2, 100) == Chunk("stderr", 2, b"!")
    assert log.read(3, 100) == Chunk("stdout", 3, b"c")
    assert log.read(4, 100) is None


def test_a_reader_that_is_behind_goes_on_at_the_oldest_byte_kept() -> None:
    log = OutputLog(retain=4)
    log.append("stdout", b"abcdef")
    assert log.read(0, 100) == Chunk("stdout", 2, b"cdef")


def test_a_character_split_over_two_appends_is_not_torn_even_around_the_other_channel() -> None:
    log = OutputLog(1000_000)
    log.append("stdout", "né".encode()[:2])
    log.append("stderr", b"!")
    log.append("stdout", "né".encode()[2:])
    assert [log.read(0, 9), log.read(1, 9), log.read(2, 9)] == [
        Chunk("stdout", 0, b"n"),
        Chunk("stderr", 1, b"!"),
        Chunk("stdout", 2, "é".encode()),
    ]


def test_the_beginning_of_a_character_is_given_out_when_its_rest_does_not_come() -> None:
    log = OutputLog(1000_000)
    log.append("stdout", b"\xe2\x82")
    assert log.read(0, 9) is None
    log.finish()
    assert log.read(0, 9) == Chunk("stdout", 0, b"\xe2\x82")


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_a_cut_at_the_limit_falls_between_characters_or_gets_on_at_least(limit: int) -> None:
    log = OutputLog(1000_000)
    text = "😀" * 5
    log.append("stdout", text.encode())
    offset, parts = 0, list[bytes]()
    while (chunk := log.read(offset, limit)) is not None:
        parts.append(chunk.data)
        offset += len(chunk.data)
    assert b"".join(parts).decode() == text
    if limit >= 4:
        assert all(part.decode() == "😀" for part in parts)


def test_single_bytes_do_not_cost_an_object_each() -> None:
    log = OutputLog(1000_000)
    for _ in range(10_000):
        log.append("stdout", b"x")
    assert len(log._blocks) == 1


def test_what_is_dropped_is_freed() -> None:
    log = OutputLog(retain=100_000)
    for number in range(1000):
        log.append("stdout", bytes([number % 128]) * 20_000)
    assert sum(map(len, log._blocks)) < 200_000
    assert len(log._blocks) < 200


@pytest.mark.parametrize(
    ("text", "offset", "expected"),
    [
        (b"one\ntwo\nthree", 0, 4),
        (b"one\ntwo\nthree", 3, 4),
        (b"one\ntwo\nthree", 4, 8),
        (b"one\ntwo\nthree", 9, 9),
        ("aä".encode(), 2, 3),
        (b"", 0, 0),
    ],
)
def test_where_the_first_line_after_an_offset_begins(text: bytes, offset: int, expected: int) -> None:
    log = OutputLog(1000)
    log.append("stdout", text)
    assert log.line_after(offset, 100) == expected
