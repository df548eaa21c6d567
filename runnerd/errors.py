"""One tree of errors. Each carries what every protocol needs to report it: code, HTTP status, close code, hint."""

import os
from typing import Any


class RunnerdError(Exception):
    """Base of all errors that may be told to a client or an operator.

    `code` is a stable word for programs, `status` the HTTP status, `close` the WebSocket close code used when the
    error ends a connection, `hint` what to do next ("" when there is nothing to say).
    """

    code = "internal"
    status = 500
    close = 1011

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code

    def fields(self) -> dict[str, Any]:
        """What protocols tell of it."""
        return {"message": self.message, "code": self.code, "hint": self.hint}


class BadRequest(RunnerdError):
    """The client sent something that cannot be understood or is not allowed here."""

    code, status, close = "bad_request", 400, 1008


class TooLarge(BadRequest):
    """A message, file or request is beyond its size limit."""

    code, status, close = "too_large", 413, 1009


class UnknownLanguage(BadRequest):
    """No toolchain of that name is known, or it is not installed on this host."""

    code = "unknown_language"


class Unauthorized(RunnerdError):
    """A key is missing or wrong."""

    code, status, close = "unauthorized", 401, 4401


class Forbidden(RunnerdError):
    """The request is understood and refused, for example by its Origin."""

    code, status, close = "forbidden", 403, 4403


class NotFound(RunnerdError):
    """What the request names does not exist."""

    code, status, close = "not_found", 404, 4404


class OutOfCredits(RunnerdError):
    """The key is right, and has no credits left."""

    code, status, close = "no_credits", 402, 4402


class TryLater(RunnerdError):
    """Nothing is wrong with the request but its time. `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: float, hint: str = "") -> None:
        super().__init__(message, hint=hint or f"try again in {retry_after:g} s")
        self.retry_after = retry_after

    def fields(self) -> dict[str, Any]:
        return {**super().fields(), "retry_after": self.retry_after}


class Busy(TryLater):
    """The daemon is full, or draining."""

    code, status, close = "busy", 503, 1013


class OverQuota(TryLater):
    """This key, or this address, has as much as it may have."""

    code, status, close = "quota", 429, 1013


class BoxError(RunnerdError):
    """A box could not be made, or one of its requests failed."""

    code = "box_failed"


class BrokenBox(BoxError):
    """A box's init died or answered something malformed. The box is destroyed and never used again."""

    code = "broken_box"


class KernelDied(RunnerdError):
    """A kernel's process or box has ended, and with it the variables of its runs. The next run gets a fresh one."""

    code, status, close = "kernel_died", 410, 1011


class InitRefused(BoxError):
    """Init did what it was asked and the kernel said no. `errno` is the box's."""

    code = "refused"
    status = 400

    def __init__(self, step: str, errno: int, subject: str = "") -> None:
        what = f"{step} {subject}" if subject else step
        super().__init__(f"{what}: {os.strerror(errno)}")
        self.step = step
        self.errno = errno


class SetupError(RunnerdError):
    """The host lacks something, told with the step, the path and the errno so that an operator can act."""

    code = "setup"


class ConfigError(RunnerdError):
    """The configuration is wrong; the message names the key and the allowed values."""

    code = "config"
