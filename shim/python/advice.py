"""What would do better, where the cause of a refused cell is known: last lines of its report.

`of` looks at the exception's frames before they are emptied. Where a checkpoint was being loaded
the command predicts what would fit (docs/fit.md); else the RULES are asked, each for one line or
None.
Every import here is of what the person's program has imported. `load` comes from boot.py.
"""

import os
import sys
from itertools import islice

surface = load("surface")

TIME_LIMIT_S = 2
ROOM_FOR_THE_COMMAND = 48 << 20
MOST_LINES = 5
MOST_RULES = 2
MOST_ARTISTS = 5000


class Refused:
    """A refused call: its exception, the frames of that, outermost first, and the person's own."""

    def __init__(self, shell, exception):
        chained = sorted(surface.chain(exception), key=lambda one: not surface.ran_out(one))
        self.shell, self.exception = shell, chained[0]
        self.frames = [
            frame
            for one in reversed(chained)
            for frame, _ in surface.entries(one.__traceback__)
            if not surface.is_ours(frame)
        ]
        own = [frame for frame in self.frames if surface.is_users(frame)]
        self.own = own[-1] if own else None

    def find(self, names, *packages):
        """The innermost frame of a function of these packages; with `names` only of those."""
        for frame in reversed(self.frames):
            code = frame.f_code
            if not names or code.co_name in names:
                if any(package in code.co_filename for package in packages):
                    return frame
        return None

    def named_values(self):
        """(name, value) of what the person's function names."""
        if self.own is None:
            return
        code = self.own.f_code
        for name in dict.fromkeys(code.co_varnames + code.co_names):
            for space in (self.own.f_locals, self.own.f_globals):
                if name in space:
                    yield name, space[name]
                    break


def size_shown(size):
    magics = load("magics")
    return magics.shown(size, magics.unit_of(magics.limit_now()))


def file_size(path):
    return os.stat(path).st_size if isinstance(path, (str, os.PathLike)) else 0


def reads_text(refused):
    frame = refused.find(("read_csv", "read_table"), "/pandas/io/")
    size = file_size(frame.f_locals.get("filepath_or_buffer")) if frame is not None else 0
    if size < 1 << 20:
        return None
    return (
        "the file has %s: pandas.%s(..., chunksize=100_000) in a loop, usecols=[...] or smaller "
        "types (dtype={...: 'float32', ...: 'category'}); polars.scan_csv and duckdb read what a "
        "query needs."
    ) % (size_shown(size), frame.f_code.co_name)


def loads_array(refused):
    frame = refused.find(("load",), "/numpy/lib/")
    path = frame.f_locals.get("file") if frame is not None else None
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path).endswith(".npy"):
        return None
    return (
        "numpy.load(..., mmap_mode='r'): the array stays in its file of %s, and what is used is "
        "read."
    ) % size_shown(file_size(path))


def promotes(refused):
    numpy = sys.modules.get("numpy")
    dtype, shape = (getattr(refused.exception, name, None) for name in ("dtype", "shape"))
    if numpy is None or not isinstance(dtype, numpy.dtype) or dtype != "float64":
        return None
    size = dtype.itemsize
    for length in shape:
        size *= length
    for name, value in refused.named_values():
        if type(value) is not numpy.ndarray or value.shape != tuple(shape):
            continue
        if value.dtype.itemsize < dtype.itemsize:
            left = bridge.usage()["headroom"]
            if left is None or size // 2 > left:
                return None
            return (
                "%s is %s, and the result would be float64, %s: %s.astype('float32') first, or "
                "dtype='float32' in the function, takes ~%s."
            ) % (name, value.dtype, size_shown(size), name, size_shown(size // 2))
    return None


def keeps_graphs(refused):
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    for name, value in refused.named_values():
        if type(value) in (list, tuple) and len(value) > 1:
            if all(isinstance(one, torch.Tensor) and one.grad_fn is not None for one in value[:10]):
                return (
                    "%s holds %d tensors with all that they were computed from: keep loss.item() "
                    "or loss.detach() instead."
                ) % (name, len(value))
    return None


def records_gradients(refused):
    torch = sys.modules.get("torch")
    if torch is None or not torch.is_grad_enabled() or not refused.find((), "/torch/nn/"):
        return None
    for name, value in refused.named_values():
        if isinstance(value, torch.nn.Module) and not value.training:
            return (
                "%s is in eval mode, and what it computes is kept for gradients: run it inside "
                "`with torch.inference_mode():`."
            ) % name
    return None


def copies_in_workers(refused):
    frame = refused.find((), "/torch/utils/data/")
    loader = frame.f_locals.get("self") if frame is not None else None
    workers = getattr(loader, "num_workers", None) or getattr(loader, "_num_workers", 0)
    if not workers:
        return None
    return (
        "DataLoader(num_workers=%d): each worker gets its own copy of a dataset's Python objects "
        "as it touches them: keep them in one numpy array or tensor, or use fewer workers."
    ) % workers


def much_held(namespace):
    """The memory of what this refers to, as text; None below a tenth of the limit."""
    found, _ = load("variables").survey(namespace, (), 0.1, 5000)
    held = sum(one.held() for one in found)
    return size_shown(held) if held >= (load("magics").limit_now() or 1 << 62) // 10 else None


def holds_dataset(refused):
    data = sys.modules.get("torch.utils.data")
    if data is None:
        return None
    for frame in reversed(refused.frames):
        code = frame.f_code
        dataset = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount > 0 else None
        if surface.is_users(frame) and issubclass(type(dataset), data.Dataset):
            held = much_held(frame.f_locals)
            return held and (
                "%s holds %s of its data in memory: keep the names of its files and read an item in "
                "__getitem__, or keep one array that stays in its file (mmap_mode='r')."
            ) % (type(dataset).__name__, held)
    return None


def keeps_figures(refused):
    pyplot, numpy = sys.modules.get("matplotlib._pylab_helpers"), sys.modules.get("numpy")
    figures = [one.canvas.figure for one in pyplot.Gcf.figs.values()] if pyplot is not None else []
    if len(figures) < 2 or numpy is None:
        return None
    artists = (artist for one in figures for axes in one.axes for artist in axes.get_children())
    values = (value for artist in islice(artists, MOST_ARTISTS) for value in vars(artist).values())
    # Each artist refers to all of its figure: only arrays are looked at.
    shown = {str(at): one for at, one in enumerate(values) if isinstance(one, numpy.ndarray)}
    held = much_held(shown)
    return held and (
        "%d figures are open, which hold %s of what they show: plt.close(figure) once it is shown "
        "or saved."
    ) % (len(figures), held)


def fills_history(refused):
    out = refused.shell.user_ns.get("Out")
    held = much_held({"Out": out}) if type(out) is dict and out else None
    return held and (
        "Out holds %s of results that cells showed: %%reset -f out lets go of them; a semicolon at "
        "the end of a cell's last line keeps its result out."
    ) % held


RULES = (
    reads_text,
    loads_array,
    promotes,
    keeps_graphs,
    records_gradients,
    copies_in_workers,
    holds_dataset,
    keeps_figures,
    fills_history,
)


def is_model_load(refused):
    progress = load("progress")
    return refused.find(progress.LOADS, *progress.PACKAGES) is not None


def fits():
    """The command's lines; none where it takes too long, or there is no room for it."""
    page = load("page")
    session, tool, usage = bridge.session_path(), page.command(), bridge.usage()
    if not session or tool is None or usage is None:
        return []
    if usage["headroom"] is not None and usage["headroom"] < ROOM_FOR_THE_COMMAND:
        return []
    done = page.report(tool, session, "fits", TIME_LIMIT_S)
    lines = done.stdout.decode(errors="replace").splitlines()
    return lines[:MOST_LINES] if done.returncode == 0 else []


def of(shell, exception):
    """A function that gives the lines as text; call it when memory is back."""
    try:
        refused = Refused(shell, exception)
        model = is_model_load(refused)
        found = [] if model else ask(refused)
    except Exception:
        return lambda: ""

    def text():
        try:
            lines = fits() if model else ["Try:   " + one for one in found]
        except Exception:
            return ""  # advice is nothing to fail for
        return "".join(line + "\n" for line in lines)

    return text


def ask(refused):
    found = []
    for rule in RULES:
        try:
            line = rule(refused)
        except Exception:
            continue
        if line:
            found.append(line)
    return found[:MOST_RULES]
