"""The OpenAPI description against a live daemon: schemathesis sends what it allows and what it does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.serving import serve

pytestmark = pytest.mark.fuzz

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
"""Not those that tell what is valid from the schema alone: which languages there are is the host's to say, and
addresses of WebSockets refuse every ordinary request."""

HOOKS = """\
import schemathesis

@schemathesis.serializer("application/x-tar", "application/gzip")
def archive(context, value):
    return value if isinstance(value, bytes) else repr(value).encode()
"""
"""How it sends what an archive may be: anything."""


def test_every_answer_is_one_that_was_promised(tmp_path: Path) -> None:
    with serve(tmp_path) as daemon:
        document = f"{daemon.url}/api/v1/openapi.json"
        argv = [SCHEMATHESIS, "run", document, "--checks", CHECKS, "--max-examples", "50", "--request-timeout", "60"]
        (tmp_path / "hooks.py").write_text(HOOKS)
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            [*argv, "--no-color"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
        assert "Traceback" not in daemon.log.read_text()
