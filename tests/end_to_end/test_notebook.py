"""The main job: a cell that loads too much raises, and the kernel keeps its variables."""
import harness


def cells_of(run):
    return {cell["id"]: cell for cell in run.result["cells"]}


def test_guarded_kernel_raises_keeps_variables_and_loads_again(checkpoint, guarded_kernel):
    run = harness.notebook(checkpoint, *guarded_kernel)
    cells = cells_of(run)
    failed = cells["too-big"]
    harness.figures.append(
        f"notebook float32, guarded: exception after {failed['seconds']:.1f} s, reached "
        f"{run.reached:.1%} of the limit, oom_kill {run.oom_kills}, refusals {run.refusals}; "
        f"bfloat16 load after it {cells['fits']['seconds']:.1f} s")
    assert run.result["kernel"] == "lived" and run.oom_kills == 0, run
    assert failed["exception"] in ("MemoryError", "RuntimeError"), failed
    assert "from_pretrained" in failed["text"] and "modeling_utils" in failed["text"], failed
    assert "Unexpected exception formatting exception" not in failed["text"], failed
    assert "oomguard stopped this cell" in failed["text"], failed
    assert "Fits:  dtype=torch.bfloat16: ~" in failed["text"], failed
    assert ", and ~35.6 GiB read from disk on each pass (slow)\n" in failed["text"], failed
    assert "\nNot:   " in failed["text"] and "(load_in_4bit=True) ~10." in failed["text"], failed
    assert cells["still-there"]["text"] == "{'accuracy': [0.71, 0.78, 0.83], " \
        "'note': 'an hour of work'}\n", cells["still-there"]
    assert cells["fits"]["exception"] is None, cells["fits"]
    assert "19.1 B parameters as torch.bfloat16" in cells["fits"]["text"], cells["fits"]


def test_bare_kernel_does_not_survive(checkpoint):
    run = harness.notebook(checkpoint, "python3", "", cell_timeout_s=harness.BARE_TIMEOUT_S)
    harness.figures.append(f"notebook float32, bare: the kernel {run.result['kernel']}, oom_kill "
                           f"{run.oom_kills}")
    assert run.result["kernel"] in ("died", "hung"), run
    assert not cells_of(run)["still-there"]["ran"], run
