"""The largest variables of a namespace: what they are, and the memory that they hold.

No code of the program's own runs. A class is told by its module and its name or by what it derives
from, sizes come from functions of the interpreter, of numpy and of torch, and what any other object
refers to is what it tells the garbage collector. Time and the number of objects are bounded: of a
large container some elements stand for all.
"""

import bisect
import gc
import sys
import time
from _collections import deque
from types import BuiltinFunctionType as BuiltinType
from types import CodeType, FrameType, FunctionType, ModuleType

QUOTA = 16_000  # objects looked at for one variable; each part of a container gets its share
WORTH_SHARING = 4096  # smaller things (interned texts, small numbers) everybody shares
LEAST = 8  # of the elements of a container
SKIPPED = (type, bool, type(None), ModuleType, FunctionType, BuiltinType, CodeType, FrameType)
# Objects that refer to the whole program: what a person's variables hold is not theirs.
FRAMEWORKS = ("IPython", "ipykernel", "traitlets", "zmq", "tornado", "asyncio", "threading")
FRAMEWORKS += ("logging",)
PLAIN = (bytes, bytearray, str, int, float, complex)
CONTAINERS = (dict, list, tuple, set, frozenset, deque)
# Libraries whose own sizes are cheap: attribute of the classes in this module.
OWN_SIZE = {
    "pyarrow.lib": "nbytes",
    "polars.dataframe.frame": "estimated_size",
    "polars.series.series": "estimated_size",
}


class Variable:
    """What a name stands for: bytes of memory, of GPUs' memory, and of files that are mapped.

    `shared`: what of it is counted with another one, whose name is `shared_with`. `estimated`: some
    elements of a container stand for all.
    """

    def __init__(self, name, value):
        self.name, self.value = name, value
        self.type = named(type(value), "__name__")
        self.bytes = self.device_bytes = self.file_bytes = self.shared = 0
        self.shared_with = ""
        self.met = set()  # what is shared
        self.estimated = False

    def held(self):
        return self.bytes + self.shared


def mapped_files():
    """(starts, ends) of this process's mappings of files, shared memory left out, by address."""
    found = []
    try:
        with open("/proc/self/maps", "rb") as maps:
            for line in maps:
                parts = line.split(None, 5)
                if len(parts) < 6 or not parts[5].startswith(b"/") or parts[4] == b"0":
                    continue
                if parts[5].startswith((b"/dev/", b"/memfd:", b"/SYSV")):
                    continue
                start, end = parts[0].split(b"-")
                found.append((int(start, 16), int(end, 16)))
    except (OSError, ValueError):
        pass
    return [start for start, _ in found], [end for _, end in found]


class Survey:
    """Looks at variables one after the other; what two of them hold is counted with the first."""

    def __init__(self, seconds, most_objects):
        self.deadline = time.monotonic() + seconds
        self.objects_left = most_objects
        self.owner = {}  # id of an object, or (kind of memory, address), to its variable
        self.files = None
        self.torch = sys.modules.get("torch")
        self.array = getattr(sys.modules.get("numpy"), "ndarray", None)
        self.tensor = getattr(self.torch, "Tensor", None)

    def is_array(self, kind):
        return self.array is not None and issubclass(kind, self.array)

    def is_tensor(self, kind):
        return self.tensor is not None and issubclass(kind, self.tensor)

    def is_leaf(self, value):
        kind = type(value)
        return kind in PLAIN or self.is_array(kind) or self.is_tensor(kind)

    def measure(self, variable):
        """Follows what the variable holds. False where time or objects ran out before its end."""
        waiting = [(variable.value, 1.0, QUOTA)]
        while waiting:
            if self.objects_left <= 0 or time.monotonic() > self.deadline:
                variable.estimated = True
                return False
            value, weight, quota = waiting.pop()
            self.objects_left -= 1
            try:
                parts, count = self.look(variable, value, weight, quota)
            except Exception:
                continue  # changed by another thread meanwhile, or an array without memory
            if parts:
                # What is met again and again is one object, for however many it stands.
                distinct = {id(part): part for part in parts}
                rest = max(1.0, count * len(distinct) / len(parts) ** 2)
                variable.estimated |= rest > 1
                waiting += [(one, weight * rest, quota // len(parts)) for one in distinct.values()]
        return True

    def look(self, variable, value, weight, quota):
        """Counts one object. Returns what it refers to, or some of it, and how much that is."""
        kind = type(value)
        if issubclass(kind, SKIPPED):
            return (), 0
        if self.is_array(kind):
            return self.look_at_array(variable, value, weight, quota)
        if self.is_tensor(kind):
            return self.look_at_tensor(variable, value, weight)
        if not self.claim(variable, id(value), own_size(value, kind), weight) or kind in PLAIN:
            return (), 0
        for base in CONTAINERS:
            if issubclass(kind, base):
                return some_of(base, value, quota)
        if named(kind, "__module__").split(".")[0] in FRAMEWORKS:
            return (), 0
        parts = gc.get_referents(value)
        return parts, len(parts)

    def claim(self, variable, key, size, weight, what="bytes"):
        """Counts memory, once. False where it was counted before, for this variable or another."""
        owner = self.owner.setdefault(key, variable)
        if owner is not variable:
            if what == "bytes" and size >= WORTH_SHARING and key not in variable.met:
                variable.met.add(key)
                variable.shared += size
                variable.shared_with = variable.shared_with or owner.name
            return False
        if key in variable.met:
            return False
        variable.met.add(key)
        setattr(variable, what, getattr(variable, what) + int(size * weight))
        return True

    def count_memory(self, variable, address, size, viewed, weight):
        """Counts what lies at an address, of which the variable sees `viewed` bytes."""
        viewed = min(viewed, size)
        if self.files is None:
            self.files = mapped_files()
        at = bisect.bisect_right(self.files[0], address) - 1
        if at >= 0 and address < self.files[1][at]:
            self.claim(variable, ("file", address), viewed, weight, "file_bytes")
            return
        is_own = self.owner.get(("cpu", address), variable) is variable
        self.claim(variable, ("cpu", address), size if is_own else viewed, weight)

    def look_at_array(self, variable, value, weight, quota):
        array = self.array
        base, inner = value, array.base.__get__(value)
        while inner is not None and self.is_array(type(inner)):
            base, inner = inner, array.base.__get__(inner)
        if inner is not None and self.is_leaf(inner):
            return (inner,), 1
        address = array.__array_interface__.__get__(base)["data"][0]
        sizes = array.nbytes.__get__(base), array.nbytes.__get__(value)
        self.count_memory(variable, address, *sizes, weight)
        if not array.dtype.__get__(value).hasobject:
            return (), 0
        count, flat = array.size.__get__(value), array.flat.__get__(value)
        return [flat[index] for index in range(0, count, step(count, quota))], count

    def look_at_tensor(self, variable, value, weight):
        tensor = self.tensor
        with self.torch._C.DisableTorchFunctionSubclass():
            device = tensor.device.__get__(value).type
            is_parameter = tensor.requires_grad.__get__(value) and tensor.is_leaf.__get__(value)
            further = (tensor.grad.__get__(value),) if is_parameter else ()
            storage = tensor.untyped_storage(value)
            size, address = storage.nbytes(), 0 if device == "meta" else storage.data_ptr()
            viewed = tensor.numel(value) * tensor.element_size(value)
        if device == "cpu":
            self.count_memory(variable, address, size, viewed, weight)
        elif device != "meta":
            self.claim(variable, (device, address), size, weight, "device_bytes")
        return further, len(further)


def named(kind, attribute):
    text = type.__getattribute__(kind, attribute)
    return text if isinstance(text, str) else ""


def own_size(value, kind):
    """Bytes of the object itself, by the interpreter's or a known library's own code."""
    attribute = OWN_SIZE.get(named(kind, "__module__"))
    if attribute is not None:
        size = getattr(value, attribute, 0)
        return int(size() if callable(size) else size)
    for base in PLAIN + CONTAINERS:
        if issubclass(kind, base):
            return base.__sizeof__(value)
    return object.__sizeof__(value)


def step(count, quota):
    """Every so manieth of `count` elements is looked at."""
    return max(1, -(-count // max(LEAST, quota // 8)))


def some_of(base, value, quota):
    """Elements of a container, spread over it where an index reaches them, and their number."""
    count = base.__len__(value)
    if base in (list, tuple):
        return [base.__getitem__(value, at) for at in range(0, count, step(count, quota))], count
    most, found = -(-count // step(count, quota)), []
    for one in base.__iter__(value):
        if len(found) >= most:
            break
        found.append(one)
    if base is not dict:
        return found, count
    return found + [dict.__getitem__(value, key) for key in found], 2 * count


def survey(namespace, hidden=(), seconds=0.2, most_objects=50_000):
    """(variables, the largest first; how many were not looked at to their end)."""
    variables = []
    for name, value in list(namespace.items()):
        if isinstance(name, str) and not name.startswith("_") and name not in hidden:
            if not issubclass(type(value), SKIPPED):
                variables.append(Variable(name, value))
    looks = Survey(seconds, most_objects)
    looks.owner[id(namespace)] = Variable("", None)  # who refers to it does not hold all of it
    # Arrays and texts take no time, and a list or an object that holds them is the one that shares.
    variables.sort(key=lambda one: not looks.is_leaf(one.value))
    unfinished = sum(not looks.measure(one) for one in variables)
    for one in variables:
        one.value = one.met = None
    # Before what only shares it.
    variables.sort(key=lambda one: one.bytes + 0.999 * one.shared, reverse=True)
    return variables, unfinished
