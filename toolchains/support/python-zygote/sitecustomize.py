"""Makes a Python that was started ahead wait, before it opens its program's file, until there is a program for it.

Descriptor 60 is a socket: one byte out says that it waits; one packet comes, the number of further arguments, the
arguments, and NAME=VALUE of further variables, each with a NUL at its end; another byte says that it was taken. The
socket's end means that there is no program.
Then it forgets itself, as if it had never been here: whoever is the next `sitecustomize` on sys.path was imported.
"""

import os
import sys

_folder = os.path.dirname(__file__)
_rest = os.environ["PYTHONPATH"].removeprefix(_folder).removeprefix(":")
if _rest:
    os.environ["PYTHONPATH"] = _rest
else:
    del os.environ["PYTHONPATH"]
sys.path.remove(_folder)
sys.path_importer_cache.pop(_folder, None)
del sys.modules["sitecustomize"]

try:  # noqa: SIM105  contextlib is a module that a fresh start has not imported
    import sitecustomize  # noqa: F401  the next one
except ImportError:
    pass

os.write(60, b"1")
_words = os.read(60, 1 << 18).split(b"\0")
if len(_words) < 2:
    os._exit(0)
os.write(60, b"1")
os.close(60)
_args = [os.fsdecode(word) for word in _words[1 : 1 + int(_words[0])]]
sys.argv += _args
sys.orig_argv += _args
for _pair in _words[1 + len(_args) : -1]:
    _name, _, _value = _pair.partition(b"=")
    os.environb[_name] = _value

# The only folder that `site` looks for among the program's files; it comes before those of the system.
_site = sys.modules["site"]
if _site.ENABLE_USER_SITE and os.path.isdir(_site.getusersitepackages()):
    _system = _site.getsitepackages()
    _at = next((at for at, path in enumerate(sys.path) if path in _system), len(sys.path))
    _after = sys.path[_at:]
    del sys.path[_at:]
    _site.addsitedir(_site.getusersitepackages())
    sys.path += _after
