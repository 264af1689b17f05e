"""Shows a refusal in IPython: library frames let go, full traceback, then the report in the cell.

IPython is never imported from here. When the program imports its shell, the class is wrapped at the
two points that every cell's exception passes: `showtraceback`, before it is rendered, and
`run_cell_async`, for handlers that replaced the former on an instance; `run_code` tells the person's
own code from the rest of the shell.
"""

import functools
import os
import sys

surface = load("surface")

SOURCE_CHARACTERS = 1024  # of a cell, for who asks later what ran when the kernel died


def find(own, name, path, target):
    """The real spec of IPython's shell, whose class is wrapped once the module has run."""
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        spec = find_spec(name, path, target) if finder is not own and find_spec else None
        if spec is not None:
            break
    else:
        return None
    loader = spec.loader
    # A loader that is a class, or has no such method, is no file's: leave it alone.
    if loader is None or isinstance(loader, type) or not hasattr(loader, "exec_module"):
        return spec
    run = loader.exec_module

    def exec_module(module):
        run(module)
        if module.__name__ == name:
            del loader.exec_module  # the loader may be shared (a zip file's is)
            try:
                wrap(module.InteractiveShell)
                tell_kernel()
            except Exception:
                pass

    loader.exec_module = exec_module
    return spec


def tell_kernel():
    """A kernel's session is keyed by its connection file, which a restarted kernel reuses."""
    if not any(name.split(".")[0] == "ipykernel" for name in sys.modules):
        return
    arguments = list(getattr(sys, "argv", ()))
    for index, argument in enumerate(arguments):
        if argument == "-f" and index + 1 < len(arguments):
            connection = arguments[index + 1]
        elif argument.startswith(("-f=", "--f=", "--IPKernelApp.connection_file=")):
            connection = argument.split("=", 1)[1]
        else:
            continue
        guard.connection = os.path.abspath(connection)
        notebook = os.environ.get("JPY_SESSION_NAME", "")
        bridge.is_kernel(os.fsencode(guard.connection), os.fsencode(notebook))
        return


def wrap(shell_class):
    guard.shell = True
    show, run = shell_class.showtraceback, shell_class.run_cell_async
    execute, init_magics = shell_class.run_code, shell_class.init_magics

    @functools.wraps(init_magics)
    def with_magic(self):
        init_magics(self)
        try:
            self.register_magic_function(magic, "line", "oomguard")
            self.input_transformers_cleanup.append(cell_magic)
            bridge.on_notice(show_notice)
            watch(getattr(self, "kernel", None))
        except Exception:
            pass

    @functools.wraps(show)
    def showtraceback(self, exc_tuple=None, *args, **kwargs):
        value = exc_tuple[1] if exc_tuple else sys.exc_info()[1]
        bridge.privilege()
        report = prepare(self, value)
        try:
            with plain(self, value):
                if report is nothing:
                    return show(self, exc_tuple, *args, **kwargs)
                with rendering(self):
                    return show(self, exc_tuple, *args, **kwargs)
        finally:
            report()
            bridge.end_privilege()

    @functools.wraps(execute)
    async def run_code(self, code, *args, **kwargs):
        name_cell(self, code.co_filename)
        # Only the person's own code is held to the small line: once a cell has run, what the shell
        # and the kernel do between cells may use the last bytes.
        if guard.cells:
            bridge.end_privilege()
        else:
            bridge.shell_started()
        guard.cells = guard.running = True
        try:
            return await execute(self, code, *args, **kwargs)
        finally:
            guard.running = False
            bridge.privilege()

    @functools.wraps(run)
    async def run_cell_async(self, *args, **kwargs):
        if guard.connection and kwargs.get("store_history") and not kwargs.get("silent"):
            begin_cell(self, args[0] if args else kwargs.get("raw_cell"))
        try:
            result = await run(self, *args, **kwargs)
        finally:
            bridge.cell(0, b"")
            end_parts()
        prepare(self, getattr(result, "error_in_exec", None))()
        return result

    shell_class.showtraceback, shell_class.run_cell_async = showtraceback, run_cell_async
    shell_class.run_code, shell_class.init_magics = run_code, with_magic


def watch(kernel):
    """Before it serves its first request: an end that its user or its server asks for is nothing
    to explain."""
    shut_down = getattr(kernel, "do_shutdown", None)
    if shut_down is None:  # no kernel
        return

    def do_shutdown(restart):
        bridge.asked()
        return shut_down(restart)

    kernel.do_shutdown = do_shutdown


def end_parts():
    """Of a cell in which a model was loaded, or that began with %%oomguard."""
    for part, module, end in ("progress", "progress", "end"), ("limits", "magics", "end_cell"):
        if part in guard.parts:
            try:
                getattr(load(module), end)()
            except Exception:
                pass  # nowhere to print to


def name_cell(shell, file):
    """The code of a cell is about to run; the interpreter knows it by the name of a file."""
    try:
        known = cell_numbers(shell)
        # IPython 7 counts when the cell has run, later ones before it does.
        number = shell.execution_count if known is guard.cell_numbers else known.get(file)
        if number is not None and guard.cell_numbers.get(file) != number:
            guard.cell_numbers[file] = number
            bridge.name_cell(number, os.fsencode(file))
    except Exception:
        pass  # reports call it "notebook cell"


def begin_cell(shell, source):
    """A cell of the person's begins; with the first one it is told what this kernel replaces."""
    try:
        bridge.cell(shell.execution_count, source[:SOURCE_CHARACTERS].encode(errors="replace"))
        if not guard.told:
            guard.told = True
            load("successor").tell(shell, guard.connection)
    except Exception:
        pass  # what is told of another kernel keeps no cell from running


def magic(line):
    """%oomguard: how much memory is left. %oomguard vars: the largest variables, and other kernels.
    %oomguard report: who holds the memory of this process, as a page."""
    return load("magics").magic(line)


def cell_magic(lines):
    """`%%oomguard --budget 4GiB`, as the first line of a cell, becomes a line that begins it.

    So the cell runs as any other does: it may await, and its lines keep their numbers.
    """
    if not lines or not lines[0].startswith("%%oomguard"):
        return lines
    words = lines[0][len("%%oomguard") :]
    if words.strip() and not words[0].isspace():
        return lines  # another magic
    first = "get_ipython().run_line_magic('oomguard', %r)\n" % ("cell " + words.strip())
    return [first] + lines[1:]


def show_notice(scarce):
    """Memory gets scarce, or half is in use; called between two bytecodes of the main thread."""
    if guard.busy or not guard.running:
        return
    if scarce:
        load("magics").show_notice()
    elif guard.connection:  # a terminal shows no line twice
        guard.busy += 1
        try:
            load("progress").look()
        finally:
            guard.busy -= 1


class plain:
    """A traceback without colours and context where there is no room for those.

    IPython parses every source file of a traceback for them, and a CPython that runs out inside
    `ast.parse` may end with a fatal error.
    """

    NEEDED = 24 << 20
    PER_BYTE = 96  # of source: what its syntax tree and tokens take

    def __init__(self, shell, exception):
        self.formatter = self.mode = None
        usage = bridge.usage() if bridge.refusal_count() else None
        if usage is None or usage["limit"] is None:
            return
        needed = self.NEEDED + self.PER_BYTE * source_bytes(exception)
        if usage["limit"] - usage["used"] < needed:
            self.formatter = getattr(shell, "InteractiveTB", None)

    def __enter__(self):
        self.mode = getattr(self.formatter, "mode", None)
        if self.mode is not None:
            self.formatter.set_mode("Plain")

    def __exit__(self, *exception):
        if self.mode is not None:
            self.formatter.set_mode(self.mode)


def source_bytes(exception):
    """Size of the source files that a traceback shows lines of."""
    size, seen = 0, set()
    for one in surface.chain(exception):
        for frame, _ in surface.entries(one.__traceback__):
            name = frame.f_code.co_filename
            if name not in seen:
                seen.add(name)
                try:
                    size += os.stat(name).st_size
                except OSError:
                    pass  # a cell
    return size


class Freed:
    """Stands for the value of an argument whose frame was cleared."""

    def __repr__(self):
        return "<freed>"


class Arguments(dict):
    def __missing__(self, name):
        return Freed()


class rendering:
    """While a refusal is rendered: header lines like "load(path)" although the frame was cleared.

    IPython asks `inspect` for them, which looks every argument up in the frame's variables. The
    signal's exception stays out of the traceback's making, but not out of a debugger.
    """

    def __init__(self, shell):
        self.busy = not getattr(shell, "call_pdb", False)

    def __enter__(self):
        import inspect

        guard.busy += self.busy
        self.original = original = inspect.formatargvalues

        @functools.wraps(original)
        def formatargvalues(args, varargs, varkw, locals, *rest, **options):
            return original(args, varargs, varkw, Arguments(locals), *rest, **options)

        inspect.formatargvalues = formatargvalues

    def __exit__(self, *exception):
        import inspect

        inspect.formatargvalues = self.original
        guard.busy -= self.busy


def nothing():
    pass


def prepare(shell, exception):
    """Before a cell's exception is shown: returns what prints the report after it."""
    if exception is None or not (bridge.refusal_count() or guard.from_child(exception)):
        return nothing
    guard.busy += 1
    try:
        return prepare_refusal(shell, exception)
    except Exception:
        return nothing
    finally:
        guard.busy -= 1


def prepare_refusal(shell, exception):
    number = surface.refusal_of(exception)
    if not number or getattr(exception, "_oomguard_shown", False):
        return nothing
    exception._oomguard_shown = True  # `%tb` shows it again; the report is for the first time
    surface.drop_own_frames(exception)
    place = place_of(shell, exception)
    advice = load("advice").of(shell, exception)
    freed = 0
    if not bridge.keep_frames():
        freed = load("release").release(exception, lambda frame: is_persons(shell, frame))
    line = surface.add_note(exception, number)

    def report():
        guard.busy += 1
        try:
            magics = load("magics")
            surface.surfaced(number, place + magics.variables_line(shell))
            name_cells(shell, number)
            surface.print_report(
                number, line, surface.CELL, freed_line(freed) + advice(), magics.name_kernels
            )
        except Exception:
            pass
        finally:
            guard.busy -= 1

    return report


def place_of(shell, exception):
    """The cell's line, and the line of the person's own module that it led to."""
    deepest = surface.where(exception)
    found = None
    for one in surface.chain(exception):
        for entry in surface.entries(one.__traceback__):
            if cell_of(shell, entry[0]) is not None:
                found = entry
        if found is not None:
            break
    if found is None:
        return deepest
    cell = surface.line_of(found, cell_of(shell, found[0]))
    # The deepest line is the cell's own where no module of the person's lies in between.
    return cell if deepest == surface.line_of(found) else "%s\n%s" % (cell, deepest)


def freed_line(freed):
    if freed < 1 << 20:
        return ""
    unit, size = ("GiB", 1 << 30) if freed >= 1 << 30 else ("MiB", 1 << 20)
    return "Freed: %.1f %s that the failed call still held.\n" % (freed / size, unit)


def cell_numbers(shell):
    """The file names that stand for cells, with the cells' numbers."""
    known = getattr(shell.compile, "_filename_map", None)
    return guard.cell_numbers if known is None else known  # IPython 7 has none


def cell_of(shell, frame):
    """ "cell [4]" where the frame runs a cell's code; None elsewhere."""
    number = cell_numbers(shell).get(frame.f_code.co_filename)
    if number is None:
        return None
    return "cell [%s]" % number


def name_cells(shell, number):
    """The report's lines of code name a cell by its number and not by the file that stands for it."""
    for path, cell in cell_numbers(shell).items():
        bridge.name_file(number, os.fsencode(path), b"cell [%s]" % str(cell).encode())


def is_persons(shell, frame):
    """Frames of cells, and of what else runs in the notebook's namespace, keep their variables."""
    return frame.f_globals is shell.user_ns or cell_of(shell, frame) is not None
