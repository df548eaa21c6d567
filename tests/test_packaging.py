"""The wheel holds all that an installation needs."""

import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_is_whole_and_works(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path, f"-Cbuild-dir={tmp_path}/b"]
    done = subprocess.run([*build, ROOT], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert archive.getinfo("runnerd/sandbox/init").external_attr >> 16 & 0o111
    assert {
        "runnerd/data/seccomp/allow.toml",
        "runnerd/data/filters/rules.toml",
        "runnerd/data/toolchains/python.toml",
        "runnerd/data/toolchains/support/python/sitecustomize.py",
        "runnerd/data/toolchains/support/javac-zygote.java",
        "runnerd/data/web/index.html",
        "runnerd/bench/scenarios/keystroke.py",
        "runnerd/sandbox/java-zygote.so",
        f"runnerd-{version('runnerd')}.dist-info/licenses/LICENSE",
        f"runnerd-{version('runnerd')}.dist-info/licenses/NOTICE",
    } <= names
    assert not [name for name in names if name.endswith((".c", ".h"))]

    site = tmp_path / "site"
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run([sys.executable, *install], check=True)
    script = "import runnerd, runnerd.cli; print(runnerd.__file__); runnerd.cli.main(['toolchains', 'check', 'python'])"
    # -S leaves out the editable install's import hook; the dependencies come by path.
    packages = next(folder for folder in sys.path if folder.endswith("site-packages"))
    env = {**os.environ, "PYTHONPATH": f"{site}:{packages}", "XDG_STATE_HOME": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert str(site) in ran.stdout, ran.stderr
    assert "ok" in ran.stdout.split(), ran.stdout + ran.stderr


def test_setting_up_again_changes_nothing_and_says_nothing() -> None:
    stamps = ROOT / ".venv/stamps"
    before = {path.name: path.stat().st_mtime_ns for path in stamps.iterdir()}
    done = subprocess.run([ROOT / "scripts/setup", "--tests"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name: path.stat().st_mtime_ns for path in stamps.iterdir()} == before
