"""Makes a Python that was started ahead wait, before it opens its program's file, until there is a program for it.

Descriptor 60 is a socket: one byte out says that it waits; one packet comes, the number of further arguments, the
arguments, and NAME=VALUE of further variables, each with a NUL at its end; another byte says that it was taken. Where
the number has a size behind it ("2:17"), the path and the content of a file of that size follow. The socket's end means
that there is no program.
Then it forgets itself, as if it had never been here: whoever is the next `sitecustomize` on sys.path was imported.
"""

import gc
import os
import sys

del sys.modules["gc"]
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

# The end of an interpreter looks through all that there is, three times: it need not look at what was there before the
# program. Nothing but the module gc can tell. The names of __main__ are the program's, though, and left out: what is
# empty while all is looked through is forgotten, and found again with its first name.
_names = sys.modules["__main__"].__dict__
_kept = _names.copy()
_names.clear()
gc.collect()
gc.freeze()
_names.update(_kept)
os.write(60, b"w")
_head, _, _packet = os.read(60, 1 << 18).partition(b"\0")
if not _head:
    os._exit(0)
os.write(60, b"1")
os.close(60)
_count, _, _size = _head.partition(b":")
_end = len(_packet) - int(_size or 0)
_words = _packet[:_end].split(b"\0")[:-1]
if not _size or b"gc" in _packet[_end:]:
    gc.unfreeze()
if _size:
    _file = os.open(_words.pop(), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    os.write(_file, _packet[_end:])
    os.close(_file)
_args = [os.fsdecode(word) for word in _words[: int(_count)]]
sys.argv += _args
sys.orig_argv += _args
for _pair in _words[len(_args) :]:
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
