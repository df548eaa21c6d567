"""An interpreter of the classic BPF that seccomp programs use, to ask them about any call without making it."""

import struct
from dataclasses import dataclass

ALLOW, KILL = 0x7FFF0000, 0x80000000


@dataclass(frozen=True)
class Call:
    number: int
    arch: int
    arguments: tuple[int, ...]

    def data(self) -> bytes:
        """struct seccomp_data."""
        return struct.pack("=IIQ6Q", self.number, self.arch, 0, *self.arguments)


def decide(program: bytes, call: Call) -> int:
    """The action that the program returns."""
    data = call.data()
    instructions = list(struct.iter_unpack("=HBBI", program))
    a = at = 0
    while True:
        code, jump_true, jump_false, k = instructions[at]
        at += 1
        match code:
            case 0x20:  # ld [k]
                (a,) = struct.unpack_from("=I", data, k)
            case 0x54:  # and #k
                a &= k
            case 0x05:  # ja
                at += k
            case 0x15:
                at += jump_true if a == k else jump_false
            case 0x25:
                at += jump_true if a > k else jump_false
            case 0x35:
                at += jump_true if a >= k else jump_false
            case 0x45:
                at += jump_true if a & k else jump_false
            case 0x06:  # ret #k
                return k
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")
