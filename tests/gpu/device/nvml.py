"""What the cards hold, read past every guard: through NVML, in the process that watches."""
import ctypes
import threading


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong),
                ("used", ctypes.c_ulonglong)]


class Card:
    """One card; raises OSError where there is no NVML or no such card."""

    def __init__(self, index=0):
        self._nvml = ctypes.CDLL("libnvidia-ml.so.1")
        self._device = ctypes.c_void_p()
        self._call("nvmlInit_v2")
        self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index),
                   ctypes.byref(self._device))

    def _call(self, name, *arguments):
        status = getattr(self._nvml, name)(*arguments)
        if status != 0:
            raise OSError(f"{name} says {status}")

    def name(self):
        text = ctypes.create_string_buffer(96)
        self._call("nvmlDeviceGetName", self._device, text, ctypes.c_uint(len(text)))
        return text.value.decode()

    def driver(self):
        text = ctypes.create_string_buffer(80)
        self._call("nvmlSystemGetDriverVersion", text, ctypes.c_uint(len(text)))
        return text.value.decode()

    def memory(self):
        """(total, free, used) in bytes."""
        memory = _Memory()
        self._call("nvmlDeviceGetMemoryInfo", self._device, ctypes.byref(memory))
        return memory.total, memory.free, memory.used


class Peak:
    """The most that a card holds, and the least that is free, while the block runs."""

    def __init__(self, card, every_s=0.005):
        self._card, self._every_s = card, every_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self):
        while True:
            _, free, used = self._card.memory()
            self.most_used = max(self.most_used, used)
            self.least_free = min(self.least_free, free)
            if self._end.wait(self._every_s):
                return

    def __enter__(self):
        _, self.least_free, self.most_used = self._card.memory()
        self.before = self.most_used
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()
