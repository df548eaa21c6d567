#: modes = ["terminal", "split", "pipes"]
import sys

for stream in (sys.stdin, sys.stdout, sys.stderr):
    print(stream.name, stream.mode, stream.encoding, stream.errors, stream.line_buffering, stream.write_through, stream.isatty())
    print(type(stream.buffer).__name__, type(stream.buffer.raw).__name__, stream.newlines, stream.fileno())
