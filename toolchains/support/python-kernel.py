"""Keeps Python's variables between pieces of code: the driver of a kernel. `python-kernel.py SOCKET`.

The daemon connects once, before any code is known, and the socket's name is gone then. Messages are JSON lines: a `run`
comes in; `begun` and `done`, or `refused`, go out (docs/kernels.md). Code runs in the main thread, as a script does.
"""

import base64
import contextlib
import fcntl
import json
import linecache
import os
import signal
import socket
import sys
import types

_HIGH = 10
"""The driver's own descriptors stand from here on, so that code that opens files finds the numbers it expects."""


class Control:
    """The daemon's end of the line. Children that are forked do not keep it."""

    def __init__(self, path):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(1)
            near, _ = listener.accept()
            os.unlink(path)
        self._socket = socket.socket(fileno=fcntl.fcntl(near, fcntl.F_DUPFD_CLOEXEC, _HIGH))
        near.close()
        self._lines = self._socket.makefile("rb")
        os.register_at_fork(after_in_child=lambda: os.close(self._socket.fileno()))

    def receive(self):
        """The next request, None when the daemon has gone."""
        line = self._lines.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def send(self, **message):
        self._socket.sendall(json.dumps(message).encode() + b"\n")


class Interrupts:
    """SIGINT raises KeyboardInterrupt in the code that runs, whatever it has called, and nowhere else.

    A handler that the code sets stays until it sets another one, but does not see what comes between runs.
    """

    def __init__(self):
        self._code = None
        self._pending = False
        self._handler = self._raise
        signal.signal(signal.SIGINT, self._raise)

    def arm(self):
        self._pending = False

    def enter(self, code):
        """Just before `code` is executed; raises when the interrupt has come already."""
        signal.signal(signal.SIGINT, self._handler)
        self._code = code
        if self._pending:
            raise KeyboardInterrupt

    def leave(self):
        self._code = None
        handler = signal.getsignal(signal.SIGINT)
        self._handler = self._raise if handler is None else handler
        signal.signal(signal.SIGINT, self._raise)

    def _raise(self, signum, frame):
        while frame is not None:
            if frame.f_code is self._code:
                raise KeyboardInterrupt
            frame = frame.f_back
        self._pending = True

    def hide(self, error):
        """Take the handler's own frame off the end of a traceback."""
        step = error.__traceback__
        while step is not None and step.tb_next is not None:
            if step.tb_next.tb_frame.f_code is Interrupts._raise.__code__:
                step.tb_next = None
            step = step.tb_next


class Streams:
    """Descriptors 0, 1 and 2, as they were when the kernel began: each run finds them so again."""

    def __init__(self):
        self._saved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH) for fd in range(3)]
        self._out, self._err = sys.stdout, sys.stderr

    def restore(self, stdin):
        """`stdin`: what the run reads in place of the terminal, or None."""
        for fd, saved in enumerate(self._saved):
            os.dup2(saved, fd)
        if stdin is not None:
            given = os.open("/tmp", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC)
            with open(given, "wb") as file:
                file.write(stdin)
                file.flush()
                os.lseek(given, 0, os.SEEK_SET)
                os.dup2(given, 0)
        # A new one each time: the last run's may hold input that nobody has read, or have come to its end.
        sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115
        if self._out.closed:
            self._out = sys.__stdout__ = self._writer(1, "strict")
        if self._err.closed:
            self._err = sys.__stderr__ = self._writer(2, "backslashreplace")
        sys.stdout, sys.stderr = self._out, self._err

    def _writer(self, fd, errors):
        return open(fd, "w", buffering=1, closefd=False, errors=errors)

    def flush(self):
        for stream in (sys.stdout, sys.stderr, self._out, self._err):
            with contextlib.suppress(BaseException):  # closed, or the code's own
                stream.flush()


class Kernel:
    def __init__(self, control):
        self._control = control
        self._streams = Streams()
        self._interrupts = Interrupts()
        self._pid = os.getpid()
        self._main = types.ModuleType("__main__")
        self._main.__builtins__ = __builtins__
        sys.modules["__main__"] = self._main
        sys.path[0] = os.getcwd()

    def serve(self):
        while (request := self._control.receive()) is not None:
            self._run(request)

    def _run(self, request):
        number = request["run"]
        self._interrupts.arm()
        try:
            source = base64.b64decode(request["code"])
            stdin = request["stdin"]
            os.environ.update(request["env"])
            self._streams.restore(None if stdin is None else base64.b64decode(stdin))
            sys.argv = [request["main"], *request["args"]]
            sys.path_importer_cache.clear()  # files may have come since
        except Exception as problem:
            self._control.send(type="refused", run=number, message=f"{type(problem).__name__}: {problem}"[:500])
            return
        self._control.send(type="begun", run=number)
        code = self._execute(source, f"<run {number}>")
        self._streams.flush()
        if os.getpid() != self._pid:  # a child that the code forked and that has come to the end of it
            os._exit(130 if code is None else code)
        self._control.send(type="done", run=number, code=code)

    def _execute(self, source, name):
        """The exit code; None when it was interrupted."""
        try:
            try:
                text = source.decode("utf-8", "replace") + "\n"  # traceback counts on an end of every line
                linecache.cache[name] = (len(text), None, text.splitlines(True), name)
                code = compile(source, name, "exec", dont_inherit=True)
                self._interrupts.enter(code)
                exec(code, self._main.__dict__)
                return 0
            finally:
                self._interrupts.leave()
        except SystemExit as problem:
            return _exit_code(problem.code)
        except BaseException as problem:
            self._report(problem)
            return None if isinstance(problem, KeyboardInterrupt) else 1

    def _report(self, error):
        """As python3 prints it, from the code's own frames on."""
        try:
            self._interrupts.hide(error)
            step = error.__traceback__.tb_next
            if sys.excepthook is sys.__excepthook__:  # which would look for the code in a file
                import traceback

                traceback.print_exception(type(error), error, step)
            else:
                sys.excepthook(type(error), error, step)
        except BaseException as problem:
            os.write(2, f"{type(error).__name__}, which could not be printed: {type(problem).__name__}\n".encode())


def _exit_code(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    with contextlib.suppress(BaseException):
        print(code, file=sys.stderr)
    return 1


Kernel(Control(sys.argv[1])).serve()
os._exit(0)
