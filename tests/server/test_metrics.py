from runnerd.server.metrics import Metric, render


def test_metrics_of_one_name_share_their_description() -> None:
    text = render(
        [
            Metric("boxes", "gauge", "Live boxes.", 2),
            Metric("ended_total", "counter", "Ended.", 12345678, {"outcome": "exited"}),
            Metric("ended_total", "counter", "Ended.", 0, {"outcome": "wall"}),
        ]
    )
    assert text.splitlines() == [
        "# HELP runnerd_boxes Live boxes.",
        "# TYPE runnerd_boxes gauge",
        "runnerd_boxes 2",
        "# HELP runnerd_ended_total Ended.",
        "# TYPE runnerd_ended_total counter",
        'runnerd_ended_total{outcome="exited"} 12345678',
        'runnerd_ended_total{outcome="wall"} 0',
    ]
