"""Hostile programs behave guarded as they do bare."""

import pytest
from conftest import LAUNCH

# Name, and arguments ("@" stands for the folder of programs).
PROGRAMS = {
    "after_exit": [],
    "before_main": [],
    "big_sparse": [],
    "brk_sbrk": [],
    "close_all_fds": [],
    "dlopen_loop": ["@/dlopen_loop_library.so"],
    "dlsym_alloc": [],
    "every_hook": [],
    "file_mappings": [],
    "fill_granted": [],
    "fork_in_handler": [],
    "fork_threads": [],
    "longjmp_signal": [],
    "lowest_descriptor": [],
    "mmap_partial_unmap": [],
    "mprotect_reserve": [],
    "mremap_forms": [],
    "no_env": [],
    "own_malloc": [],
    "raw_fork": [],
    "realloc_patterns": [],
    "reuse_fd_numbers": [],
    "setuid_thread": [],
    "sigmask_all": [],
    "signal_handler": [],
    "small_stack_threads": [],
    "thread_storm": [],
    "throw_across_modules": ["@/throw_across_modules_a.so", "@/throw_across_modules_b.so"],
    "tls_destructor": [],
    "vfork_exec": [],
    "unmapped_vector": [],
    "wrapped_iterate": [],
    "write_forms": [],
}
EXPECTED_STATUS = {"after_exit": 7}
# These ask for more than any machine has, so that a refusal is right.
ASK_FOR_THE_IMPOSSIBLE = {"brk_sbrk", "every_hook", "mprotect_reserve", "mremap_forms"}


@pytest.fixture
def command(build, program):
    def make(name):
        folder = str(build / "tests" / "programs")
        return [program(name)] + [part.replace("@", folder) for part in PROGRAMS[name]]

    return make


@pytest.mark.parametrize("name", PROGRAMS)
def test_prints_and_ends_the_same_bare_and_guarded(name, command, bare, guarded, session_files):
    expected = bare(*command(name))
    assert expected.status == EXPECTED_STATUS.get(name, 0), expected
    assert guarded(*command(name)) == expected
    if name not in ASK_FOR_THE_IMPOSSIBLE:
        # A session without a refusal leaves no file.
        assert session_files() == []


@pytest.mark.parametrize(
    "name", ["dlopen_loop", "longjmp_signal", "signal_handler", "throw_across_modules"]
)
def test_is_as_bare_while_call_stacks_are_read_all_the_time(name, command, bare, guarded):
    assert guarded(*command(name), OOMGUARD_SAMPLE="4KiB") == bare(*command(name))


@pytest.mark.parametrize("name", ["every_hook", "fork_threads", "vfork_exec", "own_malloc"])
def test_is_as_bare_when_switched_off(name, command, bare, guarded, session_files):
    assert guarded(*command(name), OOMGUARD="0") == bare(*command(name))
    assert session_files() == []


@pytest.mark.parametrize(
    "name", ["every_hook", "fork_threads", "realloc_patterns", "close_all_fds"]
)
def test_is_as_bare_where_it_is_not_the_run_program(name, command, bare, library):
    assert bare(*command(name), LD_PRELOAD=str(library)) == bare(*command(name))


# Sampled blocks are placed where `free` knows them, by another function of the heap than the one called.
@pytest.mark.parametrize("name", ["realloc_patterns", "every_hook", "before_main", "thread_storm"])
def test_is_as_bare_where_nearly_every_block_is_sampled(name, command, bare, guarded):
    assert guarded(*command(name), OOMGUARD_SAMPLE="4KiB") == bare(*command(name))


@pytest.mark.parametrize("children", ["python", "all", "none"])
@pytest.mark.parametrize("name", ["no_env", "vfork_exec", "fork_threads"])
def test_is_as_bare_with_every_choice_of_children(name, children, command, bare, guarded):
    assert guarded(*command(name), OOMGUARD_CHILDREN=children) == bare(*command(name))


def test_the_process_ends_with_its_last_thread(program, bare, guarded):
    expected = bare(program("main_thread_exits"))
    assert expected.status == 3
    assert guarded(program("main_thread_exits")) == expected


def limited(limit):
    return "ulimit " + limit + "; " + LAUNCH


def test_starts_where_it_may_write_no_file(program, bare, library, tmp_path):
    # The kernel ends a process that makes a file longer than it may, also by fallocate.
    done = bare("/bin/sh", "-c", limited("-f 0"), str(library), program("every_hook"),
                OOMGUARD_DIR=str(tmp_path / "oomguard"))
    assert done == bare(program("every_hook"))


def test_takes_none_of_a_few_descriptors(program, bare, library, tmp_path):
    command = [str(library), program("few_descriptors")]
    done = bare("/bin/sh", "-c", limited("-n 24"), *command,
                OOMGUARD_DIR=str(tmp_path / "oomguard"))
    assert done == bare("/bin/sh", "-c", 'ulimit -n 24; exec "$1"', *command)
    assert done.out.startswith("21 files")


def test_mappings_of_files_are_not_refused(program, bare, guarded, session_files):
    expected = bare(program("file_mappings"))
    assert guarded(program("file_mappings"), OOMGUARD_BUDGET="200M") == expected
    assert session_files() == []


def test_the_report_of_the_watchdog_reaches_stderr(program, guarded):
    done = guarded(program("fill_granted"), OOMGUARD_BUDGET="100M", OOMGUARD_ON_LIMIT="exit")
    assert done.status == 137
    assert "was being filled; limit 100 MiB" in done.err
    assert "only a report" not in done.err


def test_every_program_is_in_the_list(build):
    helpers = {"embedded_python", "exec_chain", "few_descriptors", "sanitized_child"}
    helpers |= {"main_thread_exits", "memory_view", "static_child", "write_flight"}
    # In groups of their own: tests/end_to_end/test_hostile_programs.py.
    helpers |= {"big_stack", "fill", "grow_beside", "grow_on_command", "refuse_where", "refuse_while"}
    folder = build / "tests" / "programs"
    built = {path.name for path in folder.iterdir() if path.is_file() and "." not in path.name}
    assert built - helpers - {"Makefile"} == set(PROGRAMS)
