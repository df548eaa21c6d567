"""The OpenAPI description of the REST routes. `python -m runnerd.server.openapi` prints docs/openapi.json."""

import json
from typing import Any

from runnerd import __version__

ERROR = {"$ref": "#/components/schemas/Error"}


def document() -> dict[str, Any]:
    """The description, as JSON values."""
    busy = _answer("The daemon drains or is full.", ERROR)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "runnerd",
            "version": __version__,
            "description": "Runs untrusted programs in boxes and joins their terminals to WebSockets. "
            "The WebSocket protocol is described in docs/protocol.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/healthz": _get("Is the daemon alive?", {"200": _answer("It is.", _ref("Status"))}),
            "/readyz": _get("Can a run start now?", {"200": _answer("It can.", _ref("Status")), "503": busy}),
            "/metrics": _get("Counts for Prometheus.", {"200": _text("Text format 0.0.4.", "text/plain")}),
            "/api/v1/languages": _get(
                "The languages and whether this host has them.", {"200": _answer("All of them.", _ref("Catalogue"))}
            ),
            "/api/v1/openapi.json": _get("This description.", {"200": _answer("OpenAPI 3.1.", {"type": "object"})}),
            "/api/v1/terminal": _get(
                "Run programs on terminals, by WebSocket with the subprotocol runnerd.v1.",
                {
                    "101": {"description": "The connection speaks WebSocket from here on."},
                    "400": _answer("No whole handshake, or no known subprotocol.", ERROR),
                    "401": _answer("Authorization is not a bearer key.", ERROR),
                    "403": _answer("The page's origin may not connect.", ERROR),
                    "426": _answer("Not a WebSocket handshake, or not of version 13.", ERROR),
                    "503": _answer("Too many connections.", ERROR),
                },
                security=[{}, {"bearer": []}, {"apiKey": []}],
            ),
        },
        "components": {
            "schemas": {
                "Status": _object({"status": {"const": "ok"}}),
                "Error": _object(
                    {
                        "type": {"const": "about:blank"},
                        "title": {"type": "string", "description": "The status in words."},
                        "status": {"type": "integer"},
                        "detail": {"type": "string", "description": "What is wrong, for people."},
                        "error": {"type": "string", "description": "The same as `detail`."},
                        "code": {"type": "string", "description": "What is wrong, for programs."},
                        "hint": {"type": "string", "description": "What to do next; may be empty."},
                    },
                    retry_after={"type": "number", "description": "Seconds to wait, with `busy` and `quota`."},
                ),
                "Catalogue": _object(
                    {
                        "languages": {"type": "array", "items": _ref("Language")},
                        "auth": {"enum": ["keys", "open"], "description": "Whether a run needs a key."},
                        "limits": {"enum": ["cgroup", "best-effort"], "description": "How limits are enforced."},
                    }
                ),
                "Language": _object(
                    {
                        "id": {"type": "string"},
                        "name": {"type": "string"},
                        "aliases": {"type": "array", "items": {"type": "string"}},
                        "source": {"type": "string", "description": "Name of the main file."},
                        "sample": _object({"code": {"type": "string"}, "input": {"type": "string"}}),
                        "available": {"type": "boolean"},
                        "missing": {
                            "type": "array",
                            "items": _object({"program": {"type": "string"}, "package": {"type": "string"}}),
                        },
                    }
                ),
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _get(summary: str, responses: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": responses, **more}}


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    media_type = "application/problem+json" if schema == ERROR else "application/json"
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _text(description: str, media_type: str) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}


def _object(properties: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": {**properties, **optional}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


if __name__ == "__main__":
    print(json.dumps(document(), indent=2))
