"""`%oomguard report` and `oomguard.report()` in a real kernel: the page of the process that shows it."""

import html
import json
import os
import re

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

HOLD = "held = [bytearray(b'x') * (5 << 20) for _ in range(8)]"
REFUSED = "try:\n    bytearray(64 << 30)\nexcept MemoryError:\n    pass\n"


@pytest.fixture
def run_cells(library, environment):
    def run(*sources, **more):
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        notebook = nbformat.v4.new_notebook(cells=cells)
        client = nbclient.NotebookClient(notebook, timeout=120, allow_errors=True, kernel_name="python3")
        client.execute(env={**environment, "LD_PRELOAD": library, "OOMGUARD_BUDGET": "2GiB",
                            "PATH": os.environ["PATH"], **more})
        return [cell.outputs for cell in notebook.cells]

    return run


def page_of(output):
    """The page that the output shows, and its data."""
    shown = re.fullmatch(r'<iframe srcdoc="([^"]*)" sandbox="allow-scripts"[^>]*></iframe>', output.data["text/html"])
    page = html.unescape(shown[1])
    data = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.S)
    cells = re.search(r'<script type="application/json" id="report-cells">(.*?)</script>', page, re.S)
    return json.loads(data[1]), json.loads(cells[1])


def has_html(build, tool, tmp_path):
    import report_file

    return "no HTML" not in tool("report", report_file.write(build, tmp_path), "--format", "html").stderr


def test_the_page_is_of_the_process_that_shows_it(run_cells, build, tool, tmp_path):
    if not has_html(build, tool, tmp_path):
        pytest.skip("this build has no HTML")
    outputs = run_cells("import oomguard, os\n" + HOLD + "\nprint(os.getpid())", "%oomguard report",
                        REFUSED + "oomguard.report()", "print(oomguard.report())")
    pid = int(outputs[0][0].text)
    before, cells = page_of(outputs[1][0])
    assert before["session"]["pid"] == pid and before["session"]["state"] == "running"
    assert before["headline"] == "Nothing was refused so far."
    assert outputs[1][0].data["text/plain"] == "Nothing was refused so far."
    assert {cell["number"] for cell in cells.values()} == {1, 2}
    assert HOLD in [line for cell in cells.values() for line in cell["lines"]]
    after, _ = page_of(outputs[2][0])
    assert after["refusals"][-1]["request_bytes"] >= 64 << 30
    assert after["headline"].startswith("oomguard stopped this cell")
    # Printed it is text, as before.
    assert outputs[3][0].text.startswith("oomguard stopped this cell")


def test_without_a_session_there_is_text(run_cells):
    outputs = run_cells("%oomguard report", "import oomguard\n" + REFUSED + "oomguard.report()",
                        OOMGUARD_DIR="/proc/nowhere")
    told = "".join(output.text for output in outputs[0] if output.output_type == "stream")
    assert "there is no page: nothing is recorded" in told
    shown = [output for output in outputs[1] if output.output_type == "execute_result"]
    assert "text/html" not in shown[0].data and "oomguard stopped" in shown[0].data["text/plain"]


def test_an_unknown_word_is_named(run_cells):
    said = run_cells("%oomguard rapport")[0][0].text
    assert said == "%oomguard: 'rapport' is not known; accepted: vars, report, or nothing\n"
