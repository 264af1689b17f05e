"""The report of this process as a page in a notebook: made by the command, shown in a frame.

The command is the one of the same installation as the library. It reads the session's file while
this process writes it.
"""

import os

TIME_LIMIT_S = 60
DATA = '<script type="application/json" id="report-data">'


def command():
    """The path of bin/oomguard beside the library's folder; None where it is not there."""
    with open("/proc/self/maps", "rb") as maps:
        for line in maps:
            path = line.rstrip(b"\n").split(None, 5)[-1]
            if path.endswith(b"/liboomguard.so"):
                break
        else:
            return None
    folder = os.path.dirname(path)
    for _ in range(3):  # lib, or lib/x86_64-linux-gnu
        folder = os.path.dirname(folder)
        tool = os.path.join(folder, b"bin/oomguard")
        if os.access(tool, os.X_OK):
            return os.fsdecode(tool)
    return None


def report(tool, session, form, limit_s):
    """The command's report of this process in that format: a CompletedProcess. Raises as subprocess does."""
    import subprocess

    return subprocess.run(
        [tool, "report", session, "--format", form],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=limit_s,
    )


def make(cells=None):
    """(the page's HTML, "") or (None, why there is none). `cells`: file names to cell numbers."""
    import subprocess

    session, tool = bridge.session_path(), command()
    if not session:
        return None, "nothing is recorded of this process (see OOMGUARD_DIR)"
    if tool is None:
        return None, "the command 'oomguard' is not beside the library"
    try:
        done = report(tool, session, "html", TIME_LIMIT_S)
    except (OSError, subprocess.SubprocessError) as error:
        return None, str(error)
    if done.returncode != 0:
        return None, done.stderr.decode(errors="replace").strip()
    return with_cells(done.stdout.decode(errors="replace"), cells or {}), ""


def with_cells(page, cells):
    """The page with what only this process knows: the numbers of the cells, and their lines."""
    import json
    import linecache

    known = {}
    for file, number in cells.items():
        lines = [line.strip()[:200] for line in linecache.getlines(file)]
        known[file] = {"number": number, "lines": lines}
    text = json.dumps(known).replace("<", "\\u003c")
    data = '<script type="application/json" id="report-cells">%s</script>\n%s' % (text, DATA)
    return page.replace(DATA, data, 1)


def frame(page):
    """HTML that shows the page in a notebook, apart from the notebook's own scripts and styles."""
    import html

    return (
        '<iframe srcdoc="%s" sandbox="allow-scripts" title="oomguard report" style="width: 100%%; '
        'height: 760px; border: 1px solid #8884; border-radius: 6px"></iframe>'
    ) % html.escape(page, quote=True)


def cells_of_shell():
    """File names of the notebook's cells to their numbers."""
    shell = load("alarm").live_shell()
    return {} if shell is None else dict(load("ipython").cell_numbers(shell))


class Report(str):
    """The text of a report, which a notebook shows as a page."""

    def _repr_html_(self):
        guard.busy += 1
        try:
            return frame(make(cells_of_shell())[0])
        except Exception:
            return None  # the text is shown
        finally:
            guard.busy -= 1


def show():
    """%oomguard report: the report of this process, here."""
    from IPython.display import display

    page, why = make(cells_of_shell())
    if page is not None:
        # What has no browser shows the text.
        bundle = {"text/html": frame(page), "text/plain": text() or "Nothing was refused so far."}
        display(bundle, raw=True)
        return
    print("oomguard: there is no page: %s" % why)
    print(text() or "Nothing was refused so far.")


def text():
    return bridge.render(0, load("surface").CELL)
