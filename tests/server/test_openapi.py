import json
from pathlib import Path
from typing import Any

from starlette.routing import Route
from test_http import site

from runnerd.server import openapi
from runnerd.server.http import routes

FILE = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_file_is_the_description() -> None:
    """Regenerate it: .venv/bin/python -m runnerd.server.openapi > docs/openapi.json"""
    assert json.loads(FILE.read_text()) == openapi.document()


def test_every_route_is_described_and_no_other() -> None:
    served = {route.path for route in routes(site()) if isinstance(route, Route)} - {"/"}
    assert set(openapi.document()["paths"]) == served


def test_every_reference_leads_somewhere() -> None:
    document = openapi.document()
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            found.extend([value["$ref"]] if "$ref" in value else [])
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(document)
    assert found
    assert {name.rpartition("/")[2] for name in found} <= set(document["components"]["schemas"])
