"""Puts input()'s prompt on stdout in split mode, where stdin and stdout are one terminal and stderr another.

CPython hands the prompt to PyOS_Readline when both are terminals, which writes it to stderr. Then forgets itself: the
folder leaves sys.path, and the host's own sitecustomize, if any, runs as it would have.
"""

import contextlib
import ctypes
import os
import sys

sys.path[:] = [folder for folder in sys.path if folder != os.path.dirname(__file__)]
os.environ.pop("PYTHONPATH", None)
del sys.modules["sitecustomize"]

if os.isatty(0) and os.isatty(1):
    # The interpreter lets go of its lock around the call, so the callback must take it: CFUNCTYPE, not PYFUNCTYPE.
    _Reader = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
    _malloc = ctypes.pythonapi.PyMem_RawMalloc
    _malloc.restype, _malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]

    def _read_line(stdin: int, stdout: int, prompt: "bytes | None") -> "int | None":
        """A line in memory that the interpreter frees; None means interrupted."""
        line = bytearray()
        try:
            sys.stdout.flush()
            os.write(1, prompt or b"")
            while not line.endswith(b"\n") and (data := os.read(0, 4096)):
                line += data
        except KeyboardInterrupt:
            return None
        buffer = _malloc(len(line) + 1)
        ctypes.memmove(buffer, bytes(line) + b"\0", len(line) + 1)
        return buffer

    _reader = _Reader(_read_line)
    # The pointer below does not count, and once this module is forgotten only a cycle would hold it.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_reader))
    _pointer = ctypes.c_void_p.in_dll(ctypes.pythonapi, "PyOS_ReadlineFunctionPointer")
    _pointer.value = ctypes.cast(_reader, ctypes.c_void_p).value

with contextlib.suppress(ImportError):
    import sitecustomize  # noqa: F401  the host's
