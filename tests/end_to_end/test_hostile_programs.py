"""C programs that meet their limit in awkward ways (tests/programs), in a group of their own: killed when
bare; guarded by `oomguard run`, refused where they can live with it, and never killed."""
import json
import pathlib
import subprocess
import time

import pytest

import cgroup
import harness

pytestmark = pytest.mark.alone
MIB = cgroup.MIB
LIMIT = 200 * MIB
LIMITS_ARE_READ_AGAIN_S = 1.5  # twice a second, on a busy machine


def program(name):
    return str(harness.build() / "tests/programs" / name)


def run(disk, guarded, *argv, limit=LIMIT, timeout_s=60):
    front = [harness.command(), "run", "--dir", pathlib.Path(disk) / "sessions", "--"] if guarded else []
    return harness.run([*front, *argv], limit, False, timeout_s)


def check_bare_is_killed(disk, *argv):
    done = run(disk, False, *argv)
    assert done.finished.killed and done.oom_kills == 1, done


REFUSED_WHILE = ("signals", "interrupted_calls", "thousand_threads", "exiting_threads", "libraries",
                 "forks")
REFUSED_WHERE = ("in_handler", "with_longjmp", "at_exit", "in_destructors", "by_new")


@pytest.mark.parametrize("case", REFUSED_WHILE)
def test_is_refused_while_other_things_happen(disk, case):
    done = run(disk, True, program("refuse_while"), case)
    assert done.finished.status == 0 and done.oom_kills == 0, done
    assert done.finished.stdout == f"{case}: all refused\n", done


@pytest.mark.parametrize("case", REFUSED_WHERE)
def test_is_refused_in_odd_places(disk, case):
    done = run(disk, True, program("refuse_where"), case)
    assert done.finished.status == 0 and done.oom_kills == 0, done
    said = f"{case}: all refused\n" + ("at exit: refused 1\n" if case == "at_exit" else "")
    assert done.finished.stdout == said, done


@pytest.mark.parametrize("name, case", [("refuse_while", "signals"), ("refuse_where", "by_new")])
def test_the_same_is_killed_when_bare(disk, name, case):
    check_bare_is_killed(disk, program(name), case)


# What it holds at least of 600 MiB when it gets NULL, and lives on.
FILLS = {"requests": 0.85, "small": 0.9, "threads": 0.75}


@pytest.mark.parametrize("case", FILLS)
def test_a_program_of_c_that_handles_null_gets_it_and_lives(disk, case):
    limit = 600 * MIB
    bare = run(disk, False, program("fill"), case, limit=limit)
    assert bare.finished.killed and bare.oom_kills == 1, bare
    done = run(disk, True, program("fill"), case, limit=limit)
    assert done.finished.status == 0 and done.oom_kills == 0, done
    said = json.loads(done.finished.stdout.splitlines()[-1])
    assert said["exception"] == "refused" and said["alive"], done
    assert said["held_mib"] * MIB >= limit * FILLS[case], done


def cached_file(disk):
    """64 MiB on a disk; charged to the group that reads it first."""
    path = pathlib.Path(disk) / "file"
    with open(path, "wb") as file:
        file.write(b"c" * (64 * MIB))
        file.flush()
        subprocess.run(["dd", f"of={path}", "oflag=nocache", "conv=notrunc,fdatasync", "count=0"],
                       check=True, capture_output=True, timeout=60)
    return str(path)


def test_deep_recursion_on_a_big_stack_is_killed_when_bare(disk):
    check_bare_is_killed(disk, program("big_stack"))


# What it gets at least, of 200 MiB of which the reserve takes 24: cache makes room, locked cache not.
BESIDE = {"dirty": 128, "clean": 128, "mlock": 80}


@pytest.mark.parametrize("case", BESIDE)
def test_grows_beside_page_cache_until_it_is_refused(disk, case):
    done = run(disk, True, program("grow_beside"), case, cached_file(disk))
    assert done.finished.status == 0 and done.oom_kills == 0, done
    got = int(done.finished.stdout.split()[0])
    assert got >= BESIDE[case], done
    if case == "mlock":
        assert got <= 136, done


@pytest.mark.parametrize("case", BESIDE)
def test_growth_beside_page_cache_is_killed_when_bare(disk, case):
    check_bare_is_killed(disk, program("grow_beside"), case, cached_file(disk))


class Conversation:
    """grow_on_command in a group, guarded or bare."""

    def __init__(self, group, disk, guarded):
        front = ([str(harness.command()), "run", "--dir", str(pathlib.Path(disk) / "sessions"), "--"]
                 if guarded else [])
        self.process = group.start([*front, program("grow_on_command")], env=harness.bare_environment(),
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                   start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self):
        self.process.stdin.close()
        return self.process.wait(20)


def set_limit(group, limit):
    group._write("memory.limit_in_bytes" if group.version == 1 else "memory.max", limit)


@pytest.fixture(params=[True, False], ids=["guarded", "bare"])
def guarded(request):
    return request.param


def refused_or_killed(talk, command, group, guarded):
    """Guarded the command is refused, bare the process is dead."""
    if guarded:
        assert talk.tell(command) == "refused"
        assert group.oom_kills() == 0
    else:
        assert talk.tell(command) == ""
        assert group.oom_kills() >= 1


@pytest.mark.timeout(90)
def test_a_limit_that_is_lowered_and_raised_again_is_followed(disk, guarded):
    with cgroup.MemoryGroup(400 * MIB) as group, Conversation(group, disk, guarded) as talk:
        assert talk.tell("ask 100") == "granted"
        assert talk.tell("ask 100") == "granted"
        assert talk.tell("give") == "given"
        set_limit(group, 150 * MIB)
        time.sleep(LIMITS_ARE_READ_AGAIN_S)
        assert talk.tell("ask 90") == "granted"
        refused_or_killed(talk, "ask 60", group, guarded)
        if guarded:
            set_limit(group, 400 * MIB)
            time.sleep(LIMITS_ARE_READ_AGAIN_S)
            assert talk.tell("ask 60") == "granted"
            assert talk.end() == 0


@pytest.mark.timeout(90)
def test_a_process_that_is_moved_to_a_smaller_group_is_held_to_that(disk, guarded):
    with cgroup.MemoryGroup(400 * MIB) as wide, cgroup.MemoryGroup(120 * MIB) as narrow:
        with Conversation(wide, disk, guarded) as talk:
            assert talk.tell("ask 100") == "granted"
            assert talk.tell("give") == "given"
            for pid in wide.processes():
                narrow._write("cgroup.procs", pid)
            time.sleep(LIMITS_ARE_READ_AGAIN_S)
            assert talk.tell("ask 60") == "granted"
            refused_or_killed(talk, "ask 60", narrow, guarded)
            if guarded:
                assert talk.end() == 0


@pytest.mark.parametrize("kind", ["data", "space"])
def test_limits_of_the_process_that_change_while_it_runs_are_as_bare(disk, guarded, kind):
    with cgroup.MemoryGroup(400 * MIB) as group, Conversation(group, disk, guarded) as talk:
        assert talk.tell("ask 40") == "granted"
        assert talk.tell(f"{kind} 100") == "limited"
        assert talk.tell("ask 120") == "refused"
        assert talk.tell("ask 40") == "granted"
        assert talk.tell(f"{kind} 0") == "limited"
        assert talk.tell("ask 120") == "granted"
        assert talk.end() == 0
