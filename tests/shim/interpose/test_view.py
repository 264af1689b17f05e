"""What a guarded program sees as the machine's memory: its budget, in every spelling."""

import os

import pytest

BUDGET_KIB = 200 << 10
FILLED_KIB = 64 << 10
# What a C++ program holds itself, and the blocks of the text it has read.
OWN_KIB = 24 << 10
# What a child knows of its parent may be 250 ms old: from when the block was filled.
IN_CHILD = ("child", "inherited")


@pytest.fixture
def seen(program, guarded, bare):
    """name -> (total, available) in KiB, of memory_view; the last line names the processors."""

    def run(is_guarded=True, **extra):
        done = (guarded if is_guarded else bare)(program("memory_view"), **extra)
        assert done.status == 0 and done.err == "", done
        lines = [line.rsplit(" ", 2) for line in done.lines if "processors" not in line]
        return {name: (int(total), int(free)) for name, total, free in lines}, done

    return run


@pytest.fixture(scope="session")
def machine_kib():
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 10


def test_every_spelling_shows_the_budget(seen, session_files):
    found, done = seen(OOMGUARD_BUDGET="200M")
    assert len(found) == 32, done
    assert {total for total, _ in found.values()} == {BUDGET_KIB}, done
    reserve_kib = 24 << 10
    for name, (_, available) in found.items():
        filled = FILLED_KIB if name.endswith("filled") else 0
        own = BUDGET_KIB - reserve_kib - filled - available
        assert 0 < own < OWN_KIB + (2 * FILLED_KIB if name in IN_CHILD else 0), (name, done)
    assert session_files() == []


def test_a_filled_block_is_seen_at_every_read(seen):
    found, done = seen(OOMGUARD_BUDGET="200M")
    rest = found.keys() - IN_CHILD
    least = min(found[name][1] for name in rest if not name.endswith("filled"))
    most = max(free for name, (_, free) in found.items() if name.endswith("filled"))
    assert least - most > FILLED_KIB // 2, done


@pytest.mark.parametrize(
    "extra",
    [
        {"OOMGUARD_BUDGET": "200M", "OOMGUARD_VIEW": "host"},
        {"OOMGUARD_BUDGET": "200M", "OOMGUARD": "0"},
    ],
)
def test_the_host_is_seen_where_that_is_asked_for(seen, machine_kib, extra):
    found, done = seen(**extra)
    assert {total for total, _ in found.values()} == {machine_kib}, done
    assert found.keys() == seen(is_guarded=False)[0].keys()


def test_processors_are_left_alone(seen):
    def line(done):
        return next(line for line in done.lines if "processors" in line)

    assert line(seen(OOMGUARD_BUDGET="200M")[1]) == line(seen(is_guarded=False)[1])


def test_a_share_of_the_machine_is_the_budget(seen, machine_kib):
    found, done = seen(OOMGUARD_BUDGET="50%")
    totals = {total for total, _ in found.values()}
    # Of the machine's memory, or of the container's that these tests run in.
    assert len(totals) == 1 and 0 < totals.pop() <= machine_kib // 2 + 1, done


def test_a_program_that_may_write_no_file_sees_the_kernels(program, bare, library, tmp_path):
    # The kernel ends a process that makes a longer one, also in memory.
    launch = 'ulimit -f 0; export OOMGUARD_RUN_PROGRAM=$$ LD_PRELOAD="$0"; exec "$@"'
    done = bare("/bin/sh", "-c", launch, str(library), "/bin/grep", "MemTotal", "/proc/meminfo",
                OOMGUARD_DIR=str(tmp_path), OOMGUARD_BUDGET="200M")
    assert done.status == 0 and done.out == bare("/bin/grep", "MemTotal", "/proc/meminfo").out, done
