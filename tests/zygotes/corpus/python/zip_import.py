import sys
import zipfile

with zipfile.ZipFile("lib.zip", "w") as archive:
    archive.writestr("zipped.py", "import sys\nprint(__file__, sys.path[0])\nraise ValueError('in a zip')")
sys.path.insert(0, "lib.zip")
import zipped
