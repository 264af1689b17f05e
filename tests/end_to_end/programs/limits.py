"""Memory under `oomguard.limit`, in a group that has more. Prints one JSON line."""
import json
import time

import oomguard

MIB = 1 << 20


def grow():
    """MiB that could be had before the refusal, in pieces."""
    time.sleep(0.5)  # the refusal before is over, and the share of the reserve that it opened closed again
    held = []
    try:
        while True:
            held.append(bytearray(b"x") * (4 * MIB))
    except MemoryError as error:
        return 4 * len(held), oomguard.is_refusal(error)


before = oomguard.usage()
with oomguard.limit(250 * MIB):
    inside = oomguard.usage()
    inner = grow()
    with oomguard.limit(200 * MIB):
        least = grow()
    again = grow()
outer = grow()
print(json.dumps({
    "inner": inner, "least": least, "again": again, "outer": outer,
    "limit": inside.limit // MIB, "name": inside.limit_name,
    "after": oomguard.usage().limit == before.limit, "room": len(bytearray(400 * MIB)) // MIB}))
