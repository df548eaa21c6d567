#: differs = true
import secrets
import tempfile

print(tempfile.mktemp(), secrets.token_hex(8))
