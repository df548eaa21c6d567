"""A throwaway machine: stock Debian under QEMU's software emulation, without a network, that runs one script."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

RECIPE = Path(__file__).with_name("image")
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "cpio": "cpio",
    "depmod": "kmod",
    "busybox": "busybox-static",
}
"""What the lane needs of this host, and the Debian package that brings it."""

MEMORY = 2048
"""MiB of the machine."""

CPU = "Nehalem"
"""An old one, as what newer ones have costs the emulation: system calls take two thirds of their time with `max`."""

KEPT = 14 * 86400
"""Seconds after its last use that an image of another recipe is kept."""


@dataclass(frozen=True)
class Result:
    """`status` is the script's own; `files` is the folder of what it left in /job/out, with its output in `log`."""

    status: int
    files: Path


def lacking() -> str:
    """Why no machine can be had here; empty when one can."""
    absent = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if absent:
        return f"these packages are missing: {' '.join(absent)}"
    if os.geteuid() != 0:
        return "making the image needs root"
    return ""


def run(script: str, folders: Mapping[str, Path], out: Path, *, seconds: float) -> Result:
    """Boot, run `script` as root with bash in /job, where `folders` lie under their names; its output is shown as it
    comes. Raises TimeoutError, and RuntimeError when the machine ends without a status."""
    image = _image()
    with tempfile.TemporaryDirectory(prefix="runnerd-vm-", dir="/var/tmp") as name:
        work = Path(name)
        job, answer = work / "job.ext4", work / "answer.tar"
        _pack(script, folders, work / "job", job)
        answer.touch()
        os.truncate(answer, 1 << 30)
        try:
            subprocess.run(_qemu(image, job, answer), stdin=subprocess.DEVNULL, timeout=seconds, check=True, cwd=work)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the machine was still busy after {seconds:g} s") from None
        try:
            out.mkdir(exist_ok=True)
            _quiet("tar", "-x", "--no-same-owner", "-f", answer, "-C", out)
            return Result(int((out / "status").read_text()), out)
        except (subprocess.CalledProcessError, OSError, ValueError) as problem:
            raise RuntimeError(f"the machine ended without a status: {problem}") from problem


def _pack(script: str, folders: Mapping[str, Path], staging: Path, disk: Path) -> None:
    """A file system of the script and the folders, with room to spare."""
    staging.mkdir()
    (staging / "run").write_text(script)
    for name, folder in folders.items():
        shutil.copytree(folder, staging / name, symlinks=True)
    size = sum(path.lstat().st_size + 4096 for path in staging.rglob("*"))
    _quiet(
        "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m0", "-d", staging, disk, f"{size // 1024 * 2 + 65536}k"
    )


def _qemu(image: Path, job: Path, answer: Path) -> list[str]:
    drives: list[str] = []
    for number, drive in enumerate((f"{image}/root.ext4,snapshot=on", str(job), str(answer))):
        drives += ["-drive", f"if=none,id=disk{number},format=raw,cache=unsafe,file={drive}"]
        drives += ["-device", f"virtio-blk-pci,drive=disk{number}"]
    return [
        *("qemu-system-x86_64", "-machine", "pc", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", CPU),
        *("-smp", "2", "-m", str(MEMORY), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-serial", "stdio", "-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initrd"),
        *("-append", "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off audit=0"),
        *drives,
    ]


def _image() -> Path:
    """The folder of the image, made when the recipe is new (minutes) and kept for the next time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "/var/cache")) / "runnerd-vm"
    cache.mkdir(parents=True, exist_ok=True)
    image = cache / hashlib.sha256(RECIPE.read_bytes()).hexdigest()[:16]
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.exists():
            begun = time.monotonic()
            print("making the image of the machine", flush=True)
            with tempfile.TemporaryDirectory(prefix="making-", dir=cache) as name:
                making = Path(name) / "image"
                making.mkdir(mode=0o755)
                Path(name).chmod(0o755)
                subprocess.run([RECIPE, making], check=True)
                making.rename(image)
            print(f"made in {time.monotonic() - begun:.0f} s", flush=True)
        os.utime(image)
        for other in cache.iterdir():
            if other.is_dir() and other.stat().st_mtime < time.time() - KEPT:
                shutil.rmtree(other)
    return image


def _quiet(*command: str | Path) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
