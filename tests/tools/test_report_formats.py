"""What each format of `oomguard report` says of a session with call stacks, a timeline and refusals."""

import json
import os
import pathlib
import pty
import re
import stat
import subprocess

import jsonschema
import pytest
import report_file

SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "docs/report.schema.json"
GiB = 1 << 30


@pytest.fixture
def flight(build, tmp_path):
    return report_file.write(build, tmp_path)


@pytest.fixture
def report(tool, flight):
    result = tool("report", flight, "--format", "json")
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def stacks(report, view, site):
    """The labels of a site's stack, outermost first."""
    tree, node, labels = report["stacks"][view], report["sites"][view][site], []
    while node > 0:
        labels.append(report["frames"][tree["frame"][node]]["label"])
        node = tree["parent"][node]
    return labels[::-1]


def test_json_is_what_its_schema_says(report):
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(report)
    assert report["schema"] == schema["properties"]["schema"]["const"]


def test_json_of_a_session_without_stacks_is_what_its_schema_says(tool, build, tmp_path):
    path = report_file.write(build, tmp_path, stacks=0, samples=0)
    report = json.loads(tool("report", path, "--format", "json").stdout)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(report)
    assert report["lines"] == [] and report["sites"]["live_bytes"] == []


def test_columns_have_one_length_and_indices_are_within(report):
    for table in (report["samples"], report["sites"], *report["stacks"].values()):
        assert len({len(column) for column in table.values()}) == 1
    for view, tree in report["stacks"].items():
        assert all(parent < node for node, parent in enumerate(tree["parent"]))
        assert max(tree["frame"]) < len(report["frames"])
        assert max(report["sites"][view]) < len(tree["parent"])


def test_times_are_in_order_and_end_at_the_refusal(report):
    times = report["samples"]["at_realtime_ns"]
    assert len(times) > 256 and times == sorted(times)
    assert abs(times[-1] - report["refusals"][-1]["at_realtime_ns"]) < 2e9
    assert report["samples"]["limit_bytes"][-1] == 6 * GiB


def test_bytes_by_line_are_those_of_the_stacks(report):
    for key in ("live_bytes", "allocated_bytes", "untouched_bytes", "live_blocks", "refused_bytes"):
        assert sum(line[key] for line in report["lines"]) == sum(report["sites"][key])
    held = [line["refused_bytes"] for line in report["lines"]]  # what the report is about
    assert held == sorted(held, reverse=True)


def test_a_refusals_holders_are_those_of_its_record(tool, flight, report):
    last = report["refusals"][-1]
    assert last["holders"] == [
        {"bytes": 3 * GiB, "file": "cell [2]", "line": 5, "function": "<module>", "own": True,
         "in_thread": False},
        {"bytes": GiB, "file": "/home/ada/torch/lib/libtorch_cpu.so", "line": 0, "function": "", "own": False,
         "in_thread": False}]
    assert last["attributed_bytes"] == 5 * GiB + GiB // 5
    text = tool("report", flight).stdout
    assert "Lines: cell [2] line 5 \N{EM DASH} 3.0 GiB\n       PyTorch: libtorch_cpu.so \N{EM DASH} 1.0 GiB\n" in text
    assert "attributed       5.2 GiB" in text


def test_own_code_is_told_from_libraries(report):
    files = {frame["file"]: frame["own"] for frame in report["frames"] if frame["kind"] == "python"}
    for file, own in files.items():
        library = "/site-packages/" in file or "/lib/python" in file or file.startswith("<frozen ")
        assert own == (not library), file
    assert any(frame["place"].startswith("cell [3] line ") for frame in report["frames"])


def test_a_merged_stack_has_both_in_order(report):
    merged = stacks(report, "merged", 0)
    python, native = stacks(report, "python", 0), stacks(report, "native", 0)
    assert merged[: len(python)] == python
    # What is left of the native stack: the part below the interpreter, which Python frames stand for.
    assert merged[len(python) :] == [label for label in native if not label.startswith("python3.11+")]


def test_source_lines_are_shown_and_secrets_masked(report):
    sources = {report["frames"][line["frame"]]["place"]: line["source"] for line in report["lines"]
               if line["frame"] is not None and line["source"]}
    assert sources["train.py:21"] == "rows_21 = features(rows_20)"
    assert all("hf_abc" not in source for source in sources.values())
    if "train.py:2" in sources:
        assert sources["train.py:2"].startswith('TOKEN = "***')


def test_a_source_that_changed_since_is_not_shown(tool, flight):
    os.utime(flight.parent / "train.py", (4_000_000_000, 4_000_000_000))
    report = json.loads(tool("report", flight, "--format", "json").stdout)
    assert not any(line["source"] for line in report["lines"])


@pytest.mark.parametrize("kind", ("pipe", "link-to-device", "folder"))
def test_what_is_no_file_is_no_source(tool, flight, kind):
    source = flight.parent / "train.py"
    source.unlink()
    if kind == "pipe":
        os.mkfifo(source)
    elif kind == "folder":
        source.mkdir()
    else:
        source.symlink_to("/dev/zero")
    report = json.loads(tool("report", flight, "--format", "json").stdout)
    assert not any(line["source"] for line in report["lines"])


def test_what_would_fit_is_predicted_from_the_headers(report, flight):
    fit = report["fits"][0]
    assert (fit["folder"], fit["size_bytes"]) == (str(flight.parent / "llama-19b"), 36 * GiB)
    assert 5 * GiB < fit["room_bytes"] < 6 * GiB
    ways = {way["how"]: way for way in fit["ways"]}
    stored = ways["dtype=torch.bfloat16"]
    assert fit["ways"][0] == stored and stored["fits"] and stored["bytes"] < 2 * GiB
    assert stored["read_again_bytes"] == 36 * GiB
    converted = ways["dtype=torch.float32"]
    assert not converted["fits"] and converted["bytes"] > 72 * GiB
    assert len(report["model_files"]) == 5


def test_fits_alone_is_five_lines_at_most_and_nothing_without_the_files(tool, flight):
    lines = tool("report", flight, "--format", "fits").stdout.splitlines()
    assert lines[0].startswith("Fits:  dtype=torch.bfloat16: ~") and 2 <= len(lines) <= 5, lines
    assert lines[-1].startswith("Not:   ") and "(load_in_4bit=True) ~" in lines[-1], lines
    for shard in (flight.parent / "llama-19b").glob("*.safetensors"):
        os.truncate(shard, 100)
    result = tool("report", flight, "--format", "fits")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert "Checkpoint files:" in tool("report", flight).stdout


def test_a_folder_that_never_answers_keeps_no_report(tool, build, flight):
    hangs = {"LD_PRELOAD": str(build / "tests/programs/files_that_hang.so"),
             "OOMGUARD_TEST_HANGS": str(flight.parent / "llama-19b")}
    result = tool("report", flight, "--format", "json", env=hangs, timeout=30)
    assert (result.returncode, result.stderr) == (0, ""), result
    report = json.loads(result.stdout)
    assert report["fits"] == [] and len(report["model_files"]) == 5
    # The library is in the way, and in nobody else's.
    hangs["OOMGUARD_TEST_HANGS"] += "-too"
    assert json.loads(tool("report", flight, "--format", "json", env=hangs).stdout)["fits"]


def test_of_files_beside_the_open_ones_nothing_is_told(tool, build, tmp_path):
    flight = report_file.write(build, tmp_path, 40, 60)
    folder = tmp_path / "llama-19b"
    (folder / "config.json").unlink()
    (folder / "model.safetensors.index.json").unlink()
    os.link(folder / "model-00001-of-00004.safetensors", folder / "model.safetensors")
    (fit,) = json.loads(tool("report", flight, "--format", "json").stdout)["fits"]
    assert fit["size_bytes"] == 36 * GiB
    assert {way["read_again_bytes"] for way in fit["ways"]} - {0} == {36 * GiB}, fit
    (folder / "config.json").write_text("{}")  # and these weights, which were not open
    assert json.loads(tool("report", flight, "--format", "json").stdout)["fits"] == []


def test_a_file_of_the_hubs_cache_is_known_by_its_link(tool, build, tmp_path):
    flight = report_file.write(build, tmp_path, 40, 60, "hub")
    cache = tmp_path / "models--a--b"
    (cache / "blobs").mkdir(parents=True)
    (cache / "snapshots").mkdir()
    snapshot = (tmp_path / "llama-19b").rename(cache / "snapshots" / "1f2e")
    for number, shard in enumerate(sorted(snapshot.glob("*.safetensors")), 1):
        shard.rename(cache / "blobs" / (str(number) * 64))
        shard.symlink_to(os.path.join("../../blobs", str(number) * 64))
    (fit,) = json.loads(tool("report", flight, "--format", "json").stdout)["fits"]
    assert (fit["folder"], fit["size_bytes"]) == (str(snapshot), 36 * GiB)


def test_text_answers_in_order_within_100_columns(tool, flight):
    result = tool("report", flight)
    lines = result.stdout.splitlines()
    # A path alone may be longer.
    assert not [line for line in lines if len(line) > 100 and str(flight.parent) not in line]
    assert all(char >= " " for line in lines for char in line)
    answers = ["oomguard stopped this cell", "Asked for 300 MiB", "At:    cell [2] line 5", "Held:  ",
               "Held by line of code", "Checkpoint files:", "Fits:  ", "Numbers of the decision", "More:  ",
               "Off:   OOMGUARD=0"]
    unit_aside = result.stdout.replace("Asked for 0.3 GiB", "Asked for 300 MiB")
    found = [unit_aside.find(answer) for answer in answers]
    assert -1 not in found and found == sorted(found), dict(zip(answers, found))
    assert "  train.py:21 " in result.stdout
    assert "rows_21 = features(rows_20)" in result.stdout


def run_on_terminal(tool, *arguments, **environment):
    """What it prints to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([tool.command, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=theirs,
                               env={**tool.environment, "TERM": "xterm", **environment})
    os.close(theirs)
    output = b""
    try:
        while chunk := os.read(ours, 65536):
            output += chunk
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    assert process.wait(60) == 0
    return output.decode().replace("\r\n", "\n")


def test_colours_are_for_terminals_alone(tool, flight):
    plain = tool("report", flight, env={"TERM": "xterm"}).stdout
    coloured = run_on_terminal(tool, "report", flight)
    assert "\x1b[" not in plain and "\x1b[1m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    assert run_on_terminal(tool, "report", flight, NO_COLOR="1") == plain
    assert run_on_terminal(tool, "report", flight, TERM="dumb") == plain


def test_folded_stacks_are_lines_of_frames_and_bytes(tool, flight, report):
    lines = tool("report", flight, "--format", "folded").stdout.splitlines()
    parts = [re.fullmatch(r"([^;]+(?:;[^;]+)*) ([1-9]\d*)", line) for line in lines]
    assert all(parts) and sum(int(part[2]) for part in parts) == sum(report["sites"]["refused_bytes"])
    site = next(i for i, held in enumerate(report["sites"]["refused_bytes"]) if held)
    assert parts[0][1].split(";") == stacks(report, "merged", site)


# What https://www.speedscope.app/file-format-schema.json asks of a file with sampled profiles, in our own
# words: the project's own schema is not part of this repository, and the tests have no network.
SPEEDSCOPE = {
    "type": "object",
    "required": ["$schema", "shared", "profiles"],
    "properties": {
        "$schema": {"const": "https://www.speedscope.app/file-format-schema.json"},
        "name": {"type": "string"},
        "exporter": {"type": "string"},
        "activeProfileIndex": {"type": "number"},
        "shared": {
            "type": "object",
            "required": ["frames"],
            "properties": {"frames": {"type": "array", "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "file": {"type": "string"},
                               "line": {"type": "number"}, "col": {"type": "number"}},
                "additionalProperties": False}}},
        },
        "profiles": {"type": "array", "items": {
            "type": "object",
            "required": ["type", "name", "unit", "startValue", "endValue", "samples", "weights"],
            "properties": {
                "type": {"const": "sampled"},
                "name": {"type": "string"},
                "unit": {"enum": ["none", "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"]},
                "startValue": {"type": "number"},
                "endValue": {"type": "number"},
                "samples": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
                "weights": {"type": "array", "items": {"type": "number"}},
            },
            "additionalProperties": False}},
    },
    "additionalProperties": False,
}


def test_speedscope_files_have_its_structure(tool, flight, report):
    file = json.loads(tool("report", flight, "--format", "speedscope").stdout)
    jsonschema.Draft202012Validator(SPEEDSCOPE).validate(file)
    for profile, key in zip(file["profiles"], ("refused_bytes", "live_bytes", "allocated_bytes"), strict=True):
        assert len(profile["samples"]) == len(profile["weights"]) > 0
        assert sum(profile["weights"]) == profile["endValue"] == sum(report["sites"][key])
        assert all(0 <= frame < len(file["shared"]["frames"]) for stack in profile["samples"] for frame in stack)
    names = [file["shared"]["frames"][frame]["name"] for frame in file["profiles"][0]["samples"][0]]
    assert "_run_module_as_main" in names


@pytest.mark.parametrize("format", ("text", "json", "html", "folded", "speedscope"))
def test_output_goes_to_a_file_of_the_owners(tool, flight, tmp_path, format):
    folder = tmp_path / "out"
    folder.mkdir()
    target = folder / "report"
    result = tool("report", flight, "--format", format, "-o", target)
    if format == "html" and "no HTML" in result.stderr:
        pytest.skip("this build has no HTML")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert os.listdir(folder) == ["report"]
    if format in ("text", "folded", "speedscope"):
        assert target.read_text() == tool("report", flight, "--format", format).stdout


def test_an_output_is_replaced_whole_and_a_link_stays_a_link(tool, flight, tmp_path):
    target, link = tmp_path / "old", tmp_path / "link"
    target.write_text("what was there")
    link.symlink_to(target)
    kept = open(target)
    assert tool("report", flight, "-o", link).returncode == 0
    assert link.is_symlink() and target.read_text().startswith("Session: ")
    with kept:
        assert kept.read() == "what was there"


@pytest.mark.parametrize("target", ("/nonexistent/report", "/dev/full", "/"))
def test_an_output_that_cannot_be_written_is_an_error(tool, flight, target):
    result = tool("report", flight, "-o", target)
    assert result.returncode == 4
    assert f"{target} could not be written" in result.stderr and result.stderr.count("\n") == 1


def test_a_device_is_written_to(tool, flight):
    assert tool("report", flight, "-o", "/dev/stdout").stdout == tool("report", flight).stdout


def test_the_page_is_one_file_that_needs_no_network(tool, flight):
    result = tool("report", flight, "--format", "html")
    if "no HTML" in result.stderr:
        pytest.skip("this build has no HTML")
    page = result.stdout
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert "default-src 'none'" in page and not re.search(r"@[A-Z]+@", page)
    for loaded in ("<link rel=\"stylesheet\"", "<script src", "@import", "url(http"):
        assert loaded not in page
    # Names that are HTML stay inside the data: as many scripts as the page itself has.
    assert page.count("</script>") == 3 and "<img" not in page and "</script><b>node" not in page
    data = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.S)
    neighbours = json.loads(data[1])["refusals"][-1]["neighbours"]
    assert neighbours[1]["name"] == "</script><b>node"
    assert "Redistribution and use in source and binary forms" in page  # d3's licence
