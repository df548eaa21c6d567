#: differs = true
import random
import uuid

print(random.random(), random.getrandbits(64), uuid.uuid4())
