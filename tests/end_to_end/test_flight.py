"""The flight file of a program that is ended by SIGKILL at any moment."""
import os
import pathlib
import random
import subprocess
import time

import cgroup
import harness
import session_files

KILLS = int(os.environ.get("OOMGUARD_TEST_KILLS", "50"))
LONGEST_S = 1.5
AGE_S = 1.0


def waited_s(pid):
    """How long the process's threads, the watchdog among them, have waited for a CPU so far."""
    total_ns = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total_ns += int((task / "schedstat").read_text().split()[1])
    return total_ns / 1e9


def killed_session(folder, limit_bytes, live_s):
    """(session file, when it was killed, how late a busy machine may have made its last sample)"""
    with cgroup.MemoryGroup(limit_bytes) as group:
        program = group.start([harness.main_python(), harness.PROGRAMS / "allocates.py"],
                              env=harness.guarded_environment(folder), stdout=subprocess.PIPE)
        try:
            assert program.stdout.readline() == b"ready\n"
            time.sleep(live_s)
            late_s = waited_s(program.pid)
        finally:
            killed_s = time.monotonic()
            program.kill()
            program.communicate()
    path, = pathlib.Path(folder).glob("sessions/*.flight")
    return path, killed_s, late_s


def test_a_killed_program_leaves_a_whole_file_with_a_recent_sample(disk):
    oldest_s = latest_s = 0.0
    for number in range(KILLS):
        folder = pathlib.Path(disk) / str(number)
        path, killed_s, late_s = killed_session(folder, harness.SMALL_LIMIT,
                                                random.uniform(0, LONGEST_S))
        samples = session_files.samples(path)
        session, = session_files.read_all(folder)
        newest_s = samples[-1].at_monotonic_s if samples else session.started_monotonic_s
        age_s = killed_s - newest_s
        assert age_s <= AGE_S + late_s, (number, age_s, late_s, len(samples))
        oldest_s, latest_s = max(oldest_s, age_s), max(latest_s, age_s - late_s)
        report = subprocess.run([harness.command(), "report", str(path), "--format", "json"],
                                env=harness.bare_environment(), capture_output=True, timeout=60)
        assert report.returncode == 0, report
        path.unlink()
    harness.figures.append(f"flight file: {KILLS} kills, the last sample at most {oldest_s:.2f} s old, "
                           f"{latest_s:.2f} s beyond what its threads waited for a CPU")
