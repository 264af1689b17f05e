"""Grows through a library with an allocator or habits of its own, and says how that ended.

    python foreign.py CASE [MIB]

MIB is asked for again once everything was let go. Prints one JSON line.
"""
import json
import sys

MIB = 1 << 20
held = []
ROWS = [{"id": n, "name": "row %d" % n, "values": [n, n / 3, None]} for n in range(20000)]


def bytearrays():
    while True:
        held.append(bytearray(b"x") * MIB)


def texts():
    while True:
        held.append("a line of text, number %d" % len(held))


def numpy_ones():
    import numpy
    while True:
        held.append(numpy.ones(MIB))


def tokenizers():
    from tokenizers import Tokenizer, models, pre_tokenizers
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    text = "a b c d " * 5000
    while True:
        held.append(tokenizer.encode(text))


def safetensors():
    import numpy
    import safetensors.numpy
    array = numpy.ones(20 * MIB // 8)
    while True:
        held.append(safetensors.numpy.save({"a": array}))


def orjson_dumps():
    import orjson
    while True:
        held.append(orjson.dumps(ROWS))


def orjson_loads():
    import orjson
    text = orjson.dumps(ROWS)
    while True:
        held.append(orjson.loads(text))


def pyarrow():
    import numpy
    import pyarrow.compute
    array = pyarrow.array(numpy.ones(MIB))
    while True:
        held.append(pyarrow.compute.add(array, 1))


def openblas():
    """Products beside a full heap: OpenBLAS must get its work buffers."""
    import numpy
    numbers = numpy.ones((1000, 1000))
    while True:
        held.append(numbers @ numbers)


def mkl():
    """The same with MKL, called by its own interface."""
    import numpy
    import libraries_fit
    numbers = numpy.ones((1000, 1000))
    while True:
        held.append(libraries_fit.mkl_product(numbers, numbers))


def numba():
    import numba
    numbered = "lambda x: x + %d"
    while True:
        compiled = numba.njit(eval(numbered % len(held)))
        compiled(1)
        held.append(compiled)
        held.append(bytearray(b"x") * (4 * MIB))


def polars():
    import polars
    frame = polars.DataFrame({"a": range(MIB)})
    while True:
        held.append(frame.with_columns((polars.col("a") * len(held)).alias("b")))


def grow_in_a_worker(number):
    blocks = [number]
    while True:
        blocks.append(b"x" * MIB)


def joblib_workers():
    """The exception is pickled in one worker and raised here, while the other one works on."""
    import joblib
    joblib.Parallel(n_jobs=2)(joblib.delayed(grow_in_a_worker)(n) for n in range(2))


def joblib_results():
    import joblib
    import numpy
    with joblib.Parallel(n_jobs=2) as parallel:
        while True:
            held.append(parallel(joblib.delayed(numpy.ones)(2 * MIB) for _ in range(4)))


class Growing:
    """A data set whose samples need ever more memory."""

    def __len__(self):
        return 1 << 20

    def __getitem__(self, index):
        import torch
        held.append(torch.ones(MIB))
        return index


def torch_loader():
    import torch.utils.data
    for _ in torch.utils.data.DataLoader(Growing(), num_workers=2):
        pass


def torch_shared():
    """Batches that workers hand over in shared memory pile up here."""
    import torch.multiprocessing
    import torch.utils.data
    loader = torch.utils.data.DataLoader([torch.ones(MIB)] * 100000, batch_size=4, num_workers=2)
    for batch in loader:
        held.append(batch)


def main():
    again = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    try:
        globals()[sys.argv[1]]()
    except BaseException as error:
        held.clear()
        error.__traceback__ = None
        name = type(error).__name__
    block = bytearray(b"z") * (again * MIB)
    print(json.dumps({"exception": name, "again": len(block) // MIB}))


if __name__ == "__main__":
    main()
