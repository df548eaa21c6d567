"""One module for each scenario: ABOUT, AIMS and `measure` (`runnerd.bench.scenario.Scenario`)."""
