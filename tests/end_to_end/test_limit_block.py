"""`oomguard.limit` in a process that has more room: exact inside, and nothing of it afterwards."""
import harness


def test_a_limit_holds_inside_and_only_there():
    program = [harness.main_python(), harness.PROGRAMS / "limits.py"]
    run = harness.run(program, harness.SMALL_LIMIT, True, 60, OOMGUARD_RESERVE="32MiB")
    found = run.result
    assert run.finished.status == 0 and run.oom_kills == 0, run
    assert found["limit"] == 250 and found["name"] == "budget", run
    # Less than 20 MiB are the interpreter's own, 32 MiB are kept.
    assert 190 <= found["inner"][0] <= 218 and 190 <= found["again"][0] <= 218, run
    assert 140 <= found["least"][0] <= 168, run
    assert found["outer"][0] >= 500, run
    assert all(found[name][1] for name in ("inner", "least", "again", "outer")), run
    assert found["after"] and found["room"] == 400, run
