"""The OpenAPI description of the REST routes. `python -m runnerd.server.openapi` prints docs/openapi.json."""

import json
from typing import Any

from runnerd import __version__
from runnerd.sandbox.spec import Outcome

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
            "/api/v1/terminal": _websocket("Run programs on terminals, with the subprotocol runnerd.v1."),
            "/ws": _websocket("Run programs by the protocols execute and widget."),
            "/ws/spaces/{name}/": _websocket(
                "A shared workspace; the name is a label.",
                parameters=[{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
            ),
            "/ws/session/{id}": _websocket(
                "Watch a session, and type into it.",
                parameters=[
                    _SESSION,
                    {
                        "name": "offset",
                        "in": "query",
                        "description": "Bytes of output, of both streams together, that were read before.",
                        "schema": {"type": "integer", "minimum": 0, "maximum": 10**15 - 1},
                    },
                ],
            ),
            "/api/v1/execute": {
                "post": {
                    "summary": "Run a program to its end; or, with Accept: text/event-stream, as it goes.",
                    "security": _SECURITY,
                    "requestBody": _body("Execute"),
                    "responses": {
                        "200": {
                            "description": "How it went: a program that failed or met a limit is no error.",
                            "content": {
                                "application/json": {"schema": _ref("Executed")},
                                "text/event-stream": {"schema": {"type": "string"}},
                            },
                        },
                        **_refused(402, 408, 413),
                    },
                }
            },
            "/api/v1/spaces/files": {
                "get": {
                    "summary": "A folder of a space as a tar archive.",
                    "security": _JOIN,
                    "parameters": [_FOLDER],
                    "responses": {
                        "200": {
                            "description": "The archive; by gzip with Accept: application/gzip.",
                            "content": {"application/x-tar": {}, "application/gzip": {}},
                        },
                        **_ARCHIVE_REFUSED,
                    },
                },
                "put": {
                    "summary": "Unpack a tar archive over what is in a folder of a space.",
                    "security": _JOIN,
                    "parameters": [_FOLDER],
                    "requestBody": {
                        "required": True,
                        "content": {"application/x-tar": {}, "application/gzip": {}},
                    },
                    "responses": {"204": {"description": "All of it is there."}, **_ARCHIVE_REFUSED},
                },
            },
            "/session": {
                "post": {
                    "summary": "Make a session, to be watched at /ws/session/{id}.",
                    "security": _SECURITY,
                    "requestBody": _body("NewSession"),
                    "responses": {
                        "200": _answer("It is made.", _object({"sessionId": {"type": "string"}})),
                        **_refused(402, 408, 413),
                    },
                }
            },
            "/session/{id}": {
                "delete": {
                    "summary": "End a session. Its id is all that is asked for.",
                    "parameters": [_SESSION],
                    "responses": {
                        "204": {"description": "It ends, or has ended."},
                        "403": _answer("The page's origin may not ask.", ERROR),
                        "404": _answer("There is no such session, or no more.", ERROR),
                    },
                }
            },
        },
        "components": {
            "schemas": {
                **_schemas(),
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


_SECURITY: list[dict[str, list[str]]] = [{}, {"bearer": []}, {"apiKey": []}]
_SESSION = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_ID = {"type": ["string", "integer"]}
_CONTENT = {"oneOf": [_TEXT, {"type": "object", "required": ["base64"], "properties": {"base64": _TEXT}}]}
_PROGRAM = {
    "code": {"type": "string", "description": "The program; `files` may stand in its place."},
    "files": {"type": "object", "additionalProperties": _CONTENT, "description": "Contents by path."},
    "main": {"type": "string", "description": "The file to run, when there are several."},
    "args": {"type": "array", "items": _TEXT},
    "env": {"type": "object", "additionalProperties": _TEXT},
    "tty": {"type": "boolean", "description": "On a terminal, with echo."},
    "rows": {"type": "integer", "minimum": 1, "maximum": 1000},
    "cols": {"type": "integer", "minimum": 1, "maximum": 1000},
}


def _schemas() -> dict[str, Any]:
    """What is sent and answered about runs."""
    return {
        "Execute": _object(
            {"language": _TEXT},
            **_PROGRAM,
            stdin=_CONTENT,
            timeout={"type": "number", "exclusiveMinimum": 0, "description": "Seconds; lowers the profile's."},
            limits={"type": "object", "additionalProperties": _NUMBER, "description": "Lowers the profile's."},
            session={"type": "boolean", "description": "In a kernel, which lasts as long as the request."},
            id={**_ID, "description": "Given back in the answer."},
            api_key={"type": "string", "description": "Where the headers carry none."},
        ),
        "NewSession": _object({"language": _TEXT}, **_PROGRAM),
        "Executed": _object(
            {
                "stdout": _TEXT,
                "stderr": _TEXT,
                "exit_code": {"type": ["integer", "null"]},
                "execution_time": {"type": "string", "examples": ["87ms"]},
                "outcome": {"enum": [outcome.value for outcome in Outcome]},
                "usage": _object({"cpu": _NUMBER, "memory": {"type": "integer"}, "wall": _NUMBER}),
            },
            id={**_ID, "description": "The client's own, or the run's, if it began."},
            signal=_TEXT,
            message=_TEXT,
        ),
    }


def _websocket(summary: str, **more: Any) -> dict[str, Any]:
    return _get(
        f"{summary} By WebSocket.",
        {
            "101": {"description": "The connection speaks WebSocket from here on."},
            "400": _answer("No whole handshake, or no known subprotocol.", ERROR),
            "401": _answer("Authorization is not a bearer key.", ERROR),
            "403": _answer("The page's origin may not connect.", ERROR),
            "404": _answer("There is no such session, or no more.", ERROR),
            "426": _answer("Not a WebSocket handshake, or not of version 13.", ERROR),
            "503": _answer("Too many connections.", ERROR),
        },
        security=_SECURITY,
        **more,
    )


def _refused(*more: int) -> dict[str, Any]:
    reasons = {
        400: "The request cannot be understood, or names a language that is not there.",
        401: "A key is needed, or is not known.",
        402: "The key has no credits left.",
        403: "The key, or the page's origin, may not do this.",
        408: "The request's body was not whole in time.",
        413: "The request is larger than it may be.",
        429: "The key or address has as many runs as it may have.",
        500: "Something went wrong in the daemon.",
        503: "Every box is taken, or the daemon stops.",
    }
    wanted = sorted({400, 401, 403, 429, 500, 503, *more})
    return {str(status): _answer(reasons[status], ERROR) for status in wanted}


def _body(name: str) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": _ref(name)}}}


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


_JOIN: list[dict[str, list[str]]] = [{"bearer": []}]
"""The space's join key."""
_FOLDER = {"name": "path", "in": "query", "description": "Within the work tree.", "schema": {"type": "string"}}
_ARCHIVE_REFUSED = {
    "400": _answer("A path that cannot be, or tar's words about the archive.", ERROR),
    "401": _answer("No join key was given.", ERROR),
    "403": _answer("The page's origin may not ask.", ERROR),
    "404": _answer("The key opens no space.", ERROR),
    "410": _answer("The space has ended.", ERROR),
    "422": _answer("The box refuses the path.", ERROR),
    "503": _answer("Other archives are under way in the space.", ERROR),
}


if __name__ == "__main__":
    print(json.dumps(document(), indent=2))
