"""`oomguard.limit`: a memory budget for a block of code; and for one cell, `%%oomguard`. `oomguard.host`.

`bridge`, `guard` and `load` come from boot.py.
"""

LEAST_ROOM = 16 << 20  # to ask for in the block: with less, not even a MemoryError could be handled

active = []  # bytes of every limit that some thread is in


def apply():
    """The least one counts. Without a lock, which a fork might leave taken: two at once agree."""
    while True:
        least = min(active, default=0)
        bridge.set_budget(least)
        if min(active, default=0) == least:
            return


def bytes_of(size):
    """4294967296, "4GiB", "80%" of the limit that binds now."""
    if isinstance(size, str):
        text, found = size.strip(), None
        if text.endswith("%"):
            limit = (bridge.usage() or {}).get("limit")
            if limit is None:
                raise ValueError("nothing limits this process: %r is a share of nothing" % size)
            found = int(limit * float(text[:-1]) / 100)
        else:
            found = bridge.parse_bytes(text)
        if found is None or found <= 0:
            raise ValueError("%r is not a size (4GiB, 512MiB, 80%%)" % size)
        return found
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError("a size is an int or a str, not %s" % type(size).__name__)
    if size <= 0:
        raise ValueError("%d is not a size" % size)
    return size


class Limit:
    """A context manager; may be entered more than once, and in several threads."""

    def __init__(self, size):
        self.bytes = bytes_of(size)

    def __repr__(self):
        return "oomguard.limit(%d)" % self.bytes

    def __enter__(self):
        held = load("release").anonymous_bytes()
        reserve = (bridge.usage() or {}).get("reserve", 0)
        if held + reserve + LEAST_ROOM > self.bytes:
            raise ValueError(
                "a limit of %d MiB leaves no room: this process holds %d MiB, and %d MiB are kept "
                "for exceptions" % (self.bytes >> 20, held >> 20, reserve >> 20)
            )
        guard.busy += 1  # the signal's exception would leave a limit behind
        try:
            active.append(self.bytes)
            apply()
        finally:
            guard.busy -= 1
        return self

    def __exit__(self, *exception):
        guard.busy += 1
        try:
            active.remove(self.bytes)
            apply()
        finally:
            guard.busy -= 1


class Host:
    """A context manager; may be entered more than once, by the thread that leaves it."""

    def __enter__(self):
        self.change(1)

    def __exit__(self, *exception):
        self.change(-1)

    @staticmethod
    def change(by):
        guard.busy += 1
        try:
            bridge.see_host(by)
        finally:
            guard.busy -= 1


class Cell:
    """One cell under `%%oomguard`: its limit, and what it held at the most."""

    running = None

    def __init__(self, limit):
        self.limit = limit
        if limit is not None:
            limit.__enter__()
        bridge.take_peak()
        self.before = load("release").anonymous_bytes()

    def end(self):
        """Gives the limit back. Returns (most, growth) in bytes."""
        if self.limit is not None:
            self.limit.__exit__()
        after = load("release").anonymous_bytes()
        return max(bridge.take_peak(), self.before, after), after - self.before


def begin_cell(limit):
    end_cell()
    Cell.running = Cell(limit)


def end_cell():
    cell, Cell.running = Cell.running, None
    return cell.end() if cell is not None else None
