"""Reports made up for tests."""

from runnerd.bench.results import Aim, Machine, Report, Series, result

MACHINE = Machine("A Processor", 2, 8_000_000_000, "6.1", "Debian", "3.11.2", 0.25)
AIMS = (
    Aim("first / bare", "ours", "bare", aim=0.5),
    Aim("p95 / bare", "ours", "bare", 0.95),
    Aim("absolute", "ours", at=0.95, aim=0.3),
)
RATES = (Aim("rate / bare", "our rate", "bare rate", aim=0.7, least=True),)


def report(ours: float = 0.2, rate: float = 50.0) -> Report:
    """Times of `ours` seconds and more beside 1 s, and a rate beside 100 per second."""
    times = [Series("ours", "s", tuple(ours + n / 1000 for n in range(20))), Series("bare", "s", (1.0,) * 20)]
    rates = [Series("our rate", "1/s", (rate,) * 3), Series("bare rate", "1/s", (100.0,) * 3)]
    results = (
        result("hello", "Says hello, <b>", times, AIMS, ["docker: not on PATH"]),
        result("rates", "Many", rates, RATES, []),
    )
    return Report("0.1.0", "2030-01-02T03:04:05+00:00", MACHINE, "best-effort", results)
