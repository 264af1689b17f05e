"""The driver by ctypes: just enough to take memory and give it back."""
import ctypes

OUT_OF_MEMORY = 2


class OutOfMemory(Exception):
    pass


class Driver:
    def __init__(self):
        self._cuda = ctypes.CDLL("libcuda.so.1")
        context = ctypes.c_void_p()
        self.call("cuInit", 0)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self.call("cuCtxSetCurrent", context)

    def call(self, name, *arguments):
        status = getattr(self._cuda, name)(*arguments)
        if status == OUT_OF_MEMORY:
            raise OutOfMemory(name)
        if status != 0:
            raise RuntimeError(f"{name} says {status}")

    def allocate(self, size):
        address = ctypes.c_ulonglong()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value

    def free(self, address):
        self.call("cuMemFree_v2", ctypes.c_ulonglong(address))

    def free_bytes(self):
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value
