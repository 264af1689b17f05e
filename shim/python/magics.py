"""What `%oomguard` and `%%oomguard` say in a notebook, and the lines that a report gets from here.

`bridge`, `guard` and `load` come from boot.py.
"""

import time

MOST_SHOWN = 20
IN_REPORT = 5
REPORT_SECONDS, REPORT_OBJECTS = 0.2, 10_000  # memory is short then


def unit_of(limit):
    """(name, bytes) of one unit for everything beside this limit."""
    small = limit is not None and limit < 1 << 30
    return ("MiB", 1 << 20) if small else ("GiB", 1 << 30)


def shown(size, unit):
    """ "5.4 GiB", or in MiB what would be nothing."""
    name, one = unit
    if one > 1 << 20 and size < one // 10:
        name, one = "MiB", 1 << 20
    return "%.*f %s" % (one > 1 << 20, size / one, name)


def limit_now():
    usage = bridge.usage()
    return usage["limit"] if usage is not None else None


def largest(shell, seconds, most_objects):
    """(variables of the notebook, how many were not looked at to their end)."""
    guard.busy += 1
    try:
        hidden = getattr(shell, "user_ns_hidden", ())
        return load("variables").survey(shell.user_ns, hidden, seconds, most_objects)
    finally:
        guard.busy -= 1


def memory_of(variable, unit):
    """How a variable holds its memory."""
    parts = []
    if variable.shared:
        whole = variable.shared * 20 > 19 * variable.held()
        much = "" if whole else shown(variable.shared, unit) + " "
        parts.append("%sshared with %s" % (much, variable.shared_with or "the notebook"))
    elif variable.bytes:
        parts.append("owned")
    if variable.file_bytes:
        parts.append("%s mapped from a file" % shown(variable.file_bytes, unit))
    if variable.device_bytes:
        parts.append("%s on a GPU" % shown(variable.device_bytes, unit))
    return ", ".join(parts)


def variables_text():
    """%oomguard vars: the largest variables, then other kernels."""
    siblings = load("kernels")
    found_at, kernels = time.monotonic(), siblings.others()
    shell = load("alarm").live_shell()
    variables, unfinished = largest(shell, seconds=0.2, most_objects=50_000)
    siblings.look_idle(kernels, found_at)
    unit = unit_of(limit_now())
    rows = [("Variable", "Type", "Size", "Memory")]
    for one in variables[:MOST_SHOWN]:
        about = "~" if one.estimated else ""
        size = about + shown(one.held(), unit)
        if one.held() + one.file_bytes + one.device_bytes >= 1 << 16:
            rows.append((one.name[:30], one.type[:30], size, memory_of(one, unit)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for name, kind, size, memory in rows:
        row = "%-*s  %-*s  %*s  %s" % (widths[0], name, widths[1], kind, widths[2], size, memory)
        lines.append(row.rstrip())
    rest = len(variables) - len(rows) + 1
    if rest:
        lines.append("and %d smaller ones" % rest)
    if unfinished:
        lines.append("%d could not be looked at to their end in 0.2 s" % unfinished)
    lines += ["Other kernels of yours:"] if kernels else []
    lines += ["  " + kernel_text(one, unit) for one in kernels]
    return "\n".join(lines)


def kernel_text(kernel, unit):
    return "%s %s, %s%s" % (
        kernel.name,
        shown(kernel.bytes, unit),
        "idle" if kernel.idle else "busy",
        " (on the same limit)" if kernel.same_limit else "",
    )


def variables_line(shell):
    """What a refusal's record gets: "\\nvariables: df 2.0 GiB, x 0.1 GiB", or ""."""
    try:
        variables, _ = largest(shell, REPORT_SECONDS, REPORT_OBJECTS)
    except Exception:
        return ""  # memory is short, and the report is worth more
    unit = unit_of(limit_now())
    named = [one for one in variables[:IN_REPORT] if one.bytes >= 1 << 20]
    texts = ["%s %s" % (one.name[:30], shown(one.bytes, unit)) for one in named]
    return "\nvariables: " + ", ".join(texts) if texts else ""


def name_kernels(text):
    """A report's text, in which other kernels on the same limit have their notebook's name."""
    try:
        siblings = load("kernels")
        found_at, kernels = time.monotonic(), siblings.others()
        kernels = [one for one in kernels if " %d " % one.pid in text]
        siblings.look_idle(kernels, found_at)
        for one in kernels:
            idle = " (idle)" if one.idle else ""
            process = "%s %d " % (one.process_name(), one.pid)
            text = text.replace(process, "%s%s " % (one.name, idle))
    except Exception:
        pass
    return text


def status_text():
    """%oomguard: two lines."""
    usage = bridge.usage()
    held = load("release").anonymous_bytes()
    if usage is None or usage["limit"] is None:
        first = "oomguard: nothing limits this kernel's memory."
    else:
        unit = unit_of(usage["limit"])
        first = "oomguard: %s of %s in use (%s); %s left before a request is refused." % (
            shown(usage["used"], unit),
            shown(usage["limit"], unit),
            usage["limit_name"],
            shown(usage["headroom"], unit),
        )
    unit = unit_of(limit_now())
    count = bridge.refusal_count()
    times = "nothing" if not count else "once" if count == 1 else "%d times" % count
    second = "This kernel holds %s; refused so far: %s. " % (shown(held, unit), times)
    return first + "\n" + second + "More: %oomguard vars, %oomguard report"


def magic(line):
    """%oomguard [vars|report]"""
    words = line.split()
    if not words:
        print(status_text())
    elif words == ["vars"]:
        print(variables_text())
    elif words == ["report"]:
        load("page").show()
    elif words[0] == "cell":  # see ipython.cell_magic
        begin_cell(words[1:])
    else:
        print("%%oomguard: %r is not known; accepted: vars, report, or nothing" % line)


def begin_cell(words):
    """The cell's options: --budget SIZE, --budget=SIZE, or none."""
    words = " ".join(words).replace("=", " ", 1).split()
    from IPython.core.error import UsageError

    if words and (words[0] != "--budget" or len(words) != 2):
        unknown = " ".join(words)
        raise UsageError("%%oomguard: " + unknown + " is not known; accepted: --budget SIZE")
    limits = load("limits")
    try:
        limits.begin_cell(limits.Limit(words[1]) if words else None)
    except ValueError as error:
        raise UsageError(str(error)) from None


def end_cell():
    """After a cell: prints what it took, where it began with %%oomguard."""
    limits = load("limits")
    cell = limits.Cell.running
    if cell is None:
        return
    most, growth = limits.end_cell()
    limit = cell.limit.bytes if cell.limit is not None else limit_now()
    unit = unit_of(limit)
    print(
        "oomguard: this kernel held at most %s; after the cell %s %s than before%s."
        % (
            shown(most, unit),
            shown(abs(growth), unit),
            "less" if growth < 0 else "more",
            "" if limit is None else " (limit %s)" % shown(limit, unit),
        )
    )


def show_notice():
    """One line in the running cell: memory gets scarce."""
    guard.busy += 1
    try:
        usage = bridge.usage()
        if usage is None or usage["limit"] is None:
            return
        unit = unit_of(usage["limit"])
        load("surface").write(
            "oomguard: %s of %s in use, %s left before this cell is stopped (see %%oomguard vars)\n"
            % tuple(shown(usage[one], unit) for one in ("used", "limit", "headroom"))
        )
    finally:
        guard.busy -= 1
