"""The join key of a space: what lets people in, until it is renewed or expires."""

import math
import secrets

import trio


class JoinKey:
    """`text` is as good as unguessable (128 bits), and begins with the `node` that has the space. `secret` signs
    addresses of the space's previews, which are good for as long as the key. `valid` is in seconds, 0 for ever."""

    def __init__(self, node: str, valid: float) -> None:
        self._node, self._valid = node, valid or math.inf
        self.renew()

    def renew(self) -> str:
        """Let nobody in any more by the key there was; the new one."""
        self.text = f"{self._node}-{secrets.token_hex(16)}"
        self.secret = secrets.token_bytes(32)
        self._until = trio.current_time() + self._valid
        return self.text

    def opens(self, key: str) -> bool:
        """Whether this is it, and still good."""
        same = secrets.compare_digest(self.text.encode(), key.encode())
        return same and trio.current_time() < self._until
