"""`oomguard.limit`, `%%oomguard` and `oomguard.host`: what the engine is told, and when."""


def budgets(run):
    return [int(line.split()[1]) >> 20 for line in run.told if line.startswith("budget ")]


def test_limits_nest_and_the_least_counts(script):
    run = script(
        "import oomguard\n"
        "with oomguard.limit('4GiB'):\n"
        "    with oomguard.limit(2 << 30), oomguard.limit('50%'): pass\n"
        "    try:\n"
        "        with oomguard.limit('1GiB'): 1 / 0\n"
        "    except ZeroDivisionError: print('out')\n"
        "print(oomguard.limit('1536MiB'))\n"
    )
    assert run.out == "out\noomguard.limit(1610612736)\n", run
    assert budgets(run) == [4096, 2048, 2048, 2048, 4096, 1024, 4096, 0], run


def test_threads_share_one_budget(script):
    run = script(
        "import oomguard, threading\n"
        "limit, both = oomguard.limit('3GiB'), threading.Barrier(2)\n"
        "def work():\n"
        "    with limit:\n"
        "        both.wait(30)\n"
        "        both.wait(30)\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start()\n"
        "both.wait(30)\n"
        "with limit, oomguard.limit('2GiB'): pass\n"
        "both.wait(30)\n"
        "thread.join()\n"
    )
    assert run.status == 0, run
    assert budgets(run) == [3072, 3072, 2048, 3072, 3072, 0], run


def test_many_threads_leave_no_limit_behind(script):
    run = script(
        "import oomguard, sys, threading\n"
        "sys.setswitchinterval(1e-5)\n"
        "def work(size):\n"
        "    for _ in range(50):\n"
        "        with oomguard.limit(size): pass\n"
        "threads = [threading.Thread(target=work, args=((i + 1) << 30,)) for i in range(4)]\n"
        "for one in threads: one.start()\n"
        "for one in threads: one.join()\n"
        "print(oomguard._load('limits').active)\n"
    )
    assert run.out == "[]\n" and budgets(run)[-1] == 0, run


def test_what_is_no_size_or_leaves_no_room_is_said(script):
    run = script(
        "import oomguard\n"
        "for size in ('4 apples', '', 0, -1, 'auto', '0%', True, 1.5, None):\n"
        "    try: oomguard.limit(size)\n"
        "    except (TypeError, ValueError) as e: print(type(e).__name__)\n"
        "try:\n"
        "    with oomguard.limit('64MiB'): print('entered')\n"
        "except ValueError as e: print(e)\n"
        "print(oomguard._load('limits').active)\n"
    )
    lines = run.out.splitlines()
    assert lines[:9] == ["ValueError"] * 6 + ["TypeError"] * 3, run
    assert lines[9].startswith("a limit of 64 MiB leaves no room: this process holds"), run
    assert lines[10:] == ["[]"] and budgets(run) == [], run


def test_the_host_is_seen_until_the_last_block_ends(script):
    run = script(
        "import oomguard\n"
        "with oomguard.host():\n"
        "    try:\n"
        "        with oomguard.host(): 1 / 0\n"
        "    except ZeroDivisionError: print('out')\n"
    )
    assert run.out == "out\n", run
    told = [line for line in run.told if line.startswith("host ")]
    assert told == ["host 1", "host 1", "host -1", "host -1"], run
