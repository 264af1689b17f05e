"""What the shim's two lists of driver functions say, and what the toolkit's headers declare."""
import os
import pathlib
import re
import shutil
import subprocess
import typing

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Hook(typing.NamedTuple):
    name: str
    symbol: str
    version: int
    per_thread: bool
    account: str


def hooks(folder=ROOT / "shim" / "gpu"):
    """The functions of driver.def."""
    found = re.findall(r"^OOMGUARD_DRIVER\((\w+), (\w+), (\d+), (kLegacy|kPerThread), (\w+)\)",
                       (folder / "driver.def").read_text(), re.MULTILINE)
    return [Hook(name, symbol, int(version), flags == "kPerThread", account)
            for name, symbol, version, flags, account in found]


def ignored(folder=ROOT / "shim" / "gpu"):
    """The symbols of ignored.def."""
    return set(re.findall(r"^OOMGUARD_DRIVER_IGNORED\((\w+)\)",
                          (folder / "ignored.def").read_text(), re.MULTILINE))


def include_folder():
    """The folder with cuda.h that CMake found, or None."""
    build = os.environ.get("OOMGUARD_BUILD")
    cache = pathlib.Path(build) / "CMakeCache.txt" if build else None
    if cache is None or not cache.exists():
        return None
    match = re.search(r"^OOMGUARD_CUDA_TYPEDEFS:PATH=(.+)$", cache.read_text(), re.MULTILINE)
    folder = pathlib.Path(match[1]) if match else None
    return folder if folder and (folder / "cuda.h").exists() else None


def declared(header):
    """{exported symbol: parameters as text} of every form that the header declares."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
    text = subprocess.run([compiler, "-E", "-P", "-D__CUDA_API_VERSION_INTERNAL", str(header)],
                          capture_output=True, text=True, check=True, timeout=60).stdout
    return {symbol: " ".join(parameters.split())
            for symbol, parameters in re.findall(r"\bCUresult\s+(cu[A-Z]\w*)\s*\(([^()]*)\)\s*;",
                                                 text)}


def typedefs(header):
    """{(base name, version, per-thread flavour)} of cudaTypedefs.h."""
    return {(name, int(version), bool(flavour)) for name, version, flavour in re.findall(
        r"\*\s*PFN_(cu[A-Za-z0-9]+)_v(\d+)(_pts[zd])?\)", header.read_text())}


# What may take memory. By its name: it says that it allocates, imports, registers or reserves,
# makes a context, loads code into one, or makes a graph's memory real.
TAKES = re.compile(r"""
      Alloc | MemPool | CtxRetain | ^cu(Ctx|GreenCtx)Create | ^cuCtxSetLimit
    | ^cu(Mem|Array|Array3D|MipmappedArray|Multicast)Create
    | ^cu(Mem)?Import(?!ExternalSemaphore) | ^cuIpcOpenMem | ^cuExternalMemory | HostRegister
    | ^cuMem(Map|AddressReserve) | ^cu(Module|Library)Load
    | ^cuGraph(Instantiate|Upload|Launch|AddNode|AddMem(?!cpy|set))
    """, re.VERBOSE)
# By its parameters: it hands out what stands for memory. Not what only looks up something that
# exists, nor lists of addresses (dptrs, dsts, srcs) that are handed in.
HANDS_OUT = re.compile(r"""(?<!const\ )\b(CUdeviceptr(_v[12])?|CUmemGenericAllocationHandle(_v1)?
    |CUmemoryPool|CUarray|CUmipmappedArray|CUexternalMemory|CUcontext|CUgreenCtx)\s*\*(?!\s*\w+s\b)
    """, re.VERBOSE)
LOOKS_UP = re.compile(r"Get|^cuCtx(Attach|PopCurrent|FromGreenCtx)")
# What ends it, what looks functions up, and what tells how much there is.
ENDS = re.compile(r"""
      ^cu(Mem(?!Address)|Array|MipmappedArray|Ipc|Ctx|DevicePrimaryCtx|DeviceGraphMem)
      \w*(Free(?!Node)|Destroy|Release|Unmap|Unregister|CloseMem|Trim|Reset(?!Persisting))
    | ^cuDestroyExternalMemory | ^cuGetProcAddress | ^cuMemGetInfo | ^cuDeviceTotalMem
    """, re.VERBOSE)


def to_be_listed(declarations):
    """The symbols that the rule above picks: each has to stand in one of the two lists."""
    return {symbol for symbol, parameters in declarations.items()
            if TAKES.search(symbol) or ENDS.search(symbol)
            or (HANDS_OUT.search(parameters) and not LOOKS_UP.search(symbol))}
