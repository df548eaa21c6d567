"""Values of protocols <-> values of sessions: the two rooms do not know each other."""

from runnerd import protocols
from runnerd.sandbox.spec import Window
from runnerd.session.run import Run
from runnerd.session.viewer import Ended, Event, Output, Resized, Skipped, Started, StateChange


def run_of(start: protocols.Start) -> Run:
    return Run(
        language=start.language,
        files=start.files,
        main=start.main,
        args=start.args,
        argv=start.argv,
        env=start.env,
        mode=start.mode,
        window=Window(start.rows, start.cols),
        stdin=start.stdin,
        limits=start.limits,
    )


def event_of(stream: int, event: Event) -> protocols.Event:
    match event:
        case Output(channel, offset, data):
            return protocols.Output(stream, channel, offset, data)
        case Skipped(size):
            return protocols.Skipped(stream, size)
        case StateChange(state):
            return protocols.StateChanged(stream, state)
        case Resized(window):
            return protocols.visits.Resized(stream, window.rows, window.cols)
        case Started(session, language, mode, timings):
            return protocols.Started(stream, session, language, mode, timings)
        case Ended(outcome, code, signal, message, usage, timings):
            return protocols.Ended(
                stream, outcome.value, code, signal, message, usage.cpu, usage.memory, usage.wall, timings
            )
