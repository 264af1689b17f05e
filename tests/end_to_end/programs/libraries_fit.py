"""Libraries with workers, allocators or thread pools of their own, at work with room to spare.

    python libraries_fit.py CASE FOLDER      (FOLDER on a real disk, for files)

Each prints one line that says what it computed: guarded and bare must print the same.
"""
import ctypes
import glob
import hashlib
import multiprocessing
import os
import sys

MIB = 1 << 20


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


class TorchBlocks:
    """A data set of 64 tensors of 256 KiB."""

    def __len__(self):
        return 64

    def __getitem__(self, index):
        import torch
        return torch.full((256, 256), float(index)), index


def double_in_place(inbox, outbox):
    for block in iter(inbox.get, None):
        block.mul_(2)
        outbox.put(block + 1)


def torch_sum(number):
    import torch
    return float(torch.ones(MIB).mul_(number).sum())


def torch_strategy(strategy):
    """Tensors that a child changes in place, and new ones that it sends back."""
    import torch.multiprocessing
    torch.multiprocessing.set_sharing_strategy(strategy)
    context = torch.multiprocessing.get_context("fork")
    inbox, outbox = context.SimpleQueue(), context.SimpleQueue()
    child = context.Process(target=double_in_place, args=(inbox, outbox))
    child.start()
    blocks = [torch.full((MIB,), float(number)) for number in range(1, 6)]
    answers = []
    for block in blocks:
        inbox.put(block)
        answers.append(float(outbox.get().sum()))
    inbox.put(None)
    child.join()
    return [float(block[-1]) for block in blocks], answers, child.exitcode


def torch_loader(method):
    import torch.utils.data
    loader = torch.utils.data.DataLoader(
        TorchBlocks(), batch_size=8, num_workers=2, multiprocessing_context=method,
        persistent_workers=True)
    return [[(tuple(batch.shape), float(batch.sum()), numbers.tolist()[::4])
             for batch, numbers in loader] for _ in range(2)][-1]


def torch_workers(folder):
    import torch
    import torch.multiprocessing
    torch.set_num_threads(1)  # libgomp hangs in a child that was forked after it had threads
    lines = [torch_strategy("file_descriptor"), torch_strategy("file_system"),
             torch_loader("fork"), torch_loader("spawn")]
    with torch.multiprocessing.get_context("fork").Pool(2) as pool:
        lines.append(pool.map(torch_sum, range(8)))
    path = os.path.join(folder, "tensor.pt")
    torch.save({"weight": torch.arange(4 * MIB)}, path)
    for mapped in (False, True):
        lines.append(int(torch.load(path, mmap=mapped)["weight"][-1]))
    thrown = "not thrown"
    try:
        torch.empty(1 << 60)
    except RuntimeError as error:
        thrown = "DefaultCPUAllocator" in str(error)
    lines.append(thrown)
    torch.set_num_threads(2)
    layer = torch.nn.Linear(512, 512)
    with torch.no_grad():
        layer.weight.fill_(0.5)
        layer.bias.fill_(1)
    layer(torch.ones(64, 512)).sum().backward()
    lines.append((float(layer.weight.grad.sum()), float(layer.bias.grad.sum())))
    return digest(repr(lines).encode()), lines


def numpy_row(number):
    import numpy
    return float(numpy.ones(MIB).dot(numpy.full(MIB, float(number))))


def mapped_sum(array, number):
    return type(array).__name__, float(array[:: number + 1].sum())


def joblib_workers(_):
    import joblib
    import numpy
    lines = []
    for backend in ("loky", "multiprocessing", "threading"):
        with joblib.Parallel(n_jobs=2, backend=backend) as parallel:
            for _ in range(2):
                lines.append(parallel(joblib.delayed(numpy_row)(n) for n in range(12)))
    # Above a megabyte, arrays reach the workers as a mapped file in /dev/shm.
    array = numpy.arange(4 * MIB, dtype=float)
    lines.append(joblib.Parallel(n_jobs=2)(joblib.delayed(mapped_sum)(array, n) for n in range(6)))
    return lines


def polars_queries(folder):
    import polars
    frame = polars.DataFrame({"key": [n % 97 for n in range(MIB)], "value": range(MIB)})
    path = os.path.join(folder, "frame.parquet")
    frame.write_parquet(path)
    grouped = polars.scan_parquet(path).group_by("key").agg(
        polars.col("value").sum().alias("sum"), polars.len()).sort("key").collect()
    joined = frame.join(grouped, on="key").sort("value", descending=True)
    return grouped["sum"].to_list()[:5], joined.shape, int(joined["sum"].sum())


def arrow_pools(_):
    import pyarrow.compute
    lines = []
    for name in pyarrow.supported_memory_backends():
        pyarrow.set_memory_pool(getattr(pyarrow, f"{name}_memory_pool")())
        array = pyarrow.array(range(MIB))
        for number in range(20):
            array = pyarrow.compute.add(array, number)
        lines.append((name, pyarrow.compute.sum(array).as_py()))
    return lines


def mkl_product(left, right):
    """dgemm of two square matrices by MKL's single library, as numpy's builds on MKL call it."""
    import numpy
    library = ctypes.CDLL(glob.glob(os.path.join(sys.prefix, "lib", "libmkl_rt.so*"))[0])
    product = numpy.zeros_like(left)
    size, one = len(left), ctypes.c_double(1)
    a, b, c = (matrix.ctypes.data_as(ctypes.c_void_p) for matrix in (left, right, product))
    library.cblas_dgemm(101, 111, 111, size, size, size, one, a, size, b, size, one, c, size)
    return product


def mkl_products(_):
    import numpy
    product = numpy.ones((1200, 1200))
    for _ in range(5):
        product = mkl_product(product, numpy.full((1200, 1200), 0.5))
    return float(product.min()), float(product.max())


class BackwardFails:
    """Makes an autograd function whose backward raises on the n-th call: in C++, or in Python."""

    def __new__(cls, in_python):
        import torch

        class Fails(torch.autograd.Function):
            @staticmethod
            def forward(context, value):
                return value * 2

            @staticmethod
            def backward(context, gradient):
                if in_python:
                    raise ArithmeticError("by Python")
                return gradient @ torch.ones(3, 5)  # c10::Error, thrown by a check of shapes

        return Fails


def torch_failures():
    """An error in C++ goes out of a function that Python runs, that the engine in C++ runs, that Python runs."""
    import torch
    wide = torch.ones(64, 64, requires_grad=True)
    for number in range(300):
        for fails in (BackwardFails(False), BackwardFails(True)):
            try:
                (fails.apply(wide) * torch.ones(64, 64)).sum().backward()
            except (RuntimeError, ArithmeticError) as error:
                yield type(error).__name__, str(error)[:40]
        try:
            torch.cat([torch.ones(number + 1, 2), torch.ones(3, 4)])
        except RuntimeError as error:
            yield type(error).__name__, "Sizes of tensors" in str(error)


class Unordered:
    """Comparisons fail after some: in the middle of a sort in numpy's C++."""
    left = 0

    def __lt__(self, other):
        Unordered.left -= 1
        if Unordered.left < 0:
            raise ZeroDivisionError("by a comparison")
        return id(self) < id(other)


def numpy_failures():
    import numpy
    objects = numpy.array([Unordered() for _ in range(200)], dtype=object)

    def fails(value):
        return [value] * 100 if value < 180 else 1 // 0

    for number in range(300):
        Unordered.left = number % 150
        for call in (lambda: numpy.sort(objects), lambda: numpy.frompyfunc(fails, 1, 1)(numpy.arange(200)),
                     lambda: numpy.fromiter(map(fails, range(200)), dtype=object),
                     lambda: numpy.apply_along_axis(lambda row: 1 // 0, 0, numpy.ones((64, 64)))):
            try:
                call()
            except ZeroDivisionError as error:
                yield str(error)


def exceptions(_):
    """Thrown through numpy's and torch's C++; the test reads call stacks all the time meanwhile."""
    import collections
    return [sorted(collections.Counter(failures()).items(), key=repr)
            for failures in (numpy_failures, torch_failures)]


CASES = {value.__name__: value for value in (torch_workers, joblib_workers, polars_queries,
                                             arrow_pools, mkl_products, exceptions)}


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    print(sys.argv[1], CASES[sys.argv[1]](sys.argv[2]))
    if "oomguard" in sys.modules:  # a file, because the output has to be the bare program's
        with open(os.path.join(sys.argv[2], "last_refusal"), "w") as answer:
            answer.write(repr(sys.modules["oomguard"].last_refusal()))
