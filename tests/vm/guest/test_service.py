"""What the service does for its clients, and how it starts, fails and stops under systemd."""

import service


def test_all_languages_run_their_samples(running: None) -> None:
    languages = service.get("/api/v1/languages")
    assert languages["limits"] == service.LIMITS
    found: dict[str, str] = {}
    for language in languages["languages"]:
        assert language["available"], language
        sample = language["sample"]
        end, output = service.run(language["id"], sample["code"], sample["input"])
        assert end["outcome"] == "exited", (end, output)
        assert end["code"] == 0
        found[language["id"]] = output.splitlines()[-1]
    assert found == {
        "python": "What is your name? How old are you? Hello Ada, in 10 years you will be 46.",
        "javascript": "What is your name? Hello Ada!",
        "c": "Give me a number: 12 squared is 144",
        "cpp": "What is your name? Hello Ada!",
        "java": "What is your name? Hello Ada!",
        "bash": "What is your name? Hello Ada!",
    }
