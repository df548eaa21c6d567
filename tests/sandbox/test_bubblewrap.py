import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runnerd.sandbox.bubblewrap import arguments
from runnerd.sandbox.recipe import DEVPTS
from runnerd.sandbox.spec import Bind, BoxSpec, Limits

WIDGET = BoxSpec(work="/tmp/work")


def test_same_spec_same_arguments() -> None:
    assert arguments(BoxSpec(), "/e", "/t") == arguments(BoxSpec(), "/e", "/t")


@given(st.integers(1, 2**40), st.integers(1, 2**40), st.integers(1, 2**40), st.sampled_from(["/work", "/tmp/work"]))
def test_every_writable_mount_has_its_size(work: int, tmp: int, shm: int, tree: str) -> None:
    words = arguments(BoxSpec(limits=Limits(work=work, tmp=tmp, shm=shm), work=tree), "/e", "/t")
    sizes = {"/work": work, "/tmp": tmp, "/dev/shm": shm}
    for at in (i for i, word in enumerate(words) if word == "--tmpfs"):
        assert words[at - 2 : at] == ["--size", str(sizes[words[at + 1]])]
    assert not {"--bind", "--dev-bind", "--bind-try", "--dir"} & set(words)


def test_read_only_comes_last() -> None:
    """A remount before a later mount on the same folder would leave bubblewrap unable to make its mount point."""
    words = arguments(BoxSpec(), "/e", "/t")
    last_mount = max(i for i, word in enumerate(words) if word in ("--tmpfs", "--ro-bind", "--proc", "--dev"))
    remounts = [i for i, word in enumerate(words) if word == "--remount-ro"]
    assert min(remounts) > last_mount
    assert [words[i + 1] for i in remounts] == ["/dev", "/"]


def test_widget_writes_only_in_tmp() -> None:
    words = arguments(WIDGET, "/e", "/t")
    assert [words[i + 1] for i, word in enumerate(words) if word == "--tmpfs"] == ["/tmp"]
    assert words[-4:] == ["/opt/runnerd/init", DEVPTS, "1000", "/tmp/work"]


def test_binds_are_read_only() -> None:
    spec = replace(BoxSpec(), binds=(Bind("/host/node", "/opt/node"),))
    words = arguments(spec, "/e", "/t")
    at = words.index("/host/node")
    assert words[at - 1 : at + 2] == ["--ro-bind", "/host/node", "/opt/node"]


@pytest.mark.parametrize("namespace", ["user", "pid", "net", "ipc", "uts", "cgroup"])
def test_every_namespace_is_private(namespace: str) -> None:
    assert f"--unshare-{namespace}" in arguments(BoxSpec(), "/e", "/t")


def test_masks_lie_on_proc() -> None:
    words = arguments(BoxSpec(masked=("/proc/cmdline",)), "/e", "/t")
    at = words.index("/proc/cmdline")
    assert words[at - 2 : at] == ["--ro-bind", "/dev/null"]
    assert words.index("--proc") < at
