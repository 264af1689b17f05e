"""The documents say what the code does: options, commands and paths are compared with the tree.

OOMGUARD_BUILD names the build folder whose `oomguard --help` is asked; without it those tests skip.
"""

import os
import pathlib
import re
import shlex
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TABLE_HEAD = ["Option", "Variable", "Accepted", "Default", "Meaning"]

# Words with these endings, or below these folders, are paths of this repository. Folders that a
# command makes (build/release) are not.
ENDINGS = "cc|h|c|def|py|sh|md|json|txt|ipynb"
FOLDERS = r"\.ci|collector|docs|examples|shim|tests|tools"
PATH = re.compile(
    rf"(?<![\w/.~$<-])(?:(?:{FOLDERS})/[\w./-]*|(?:[\w.-]+/)*[\w-]+\.(?:{ENDINGS}))(?![\w/])"
)
# Files that the documents speak of and that are not part of this repository.
FOREIGN = {"kernel.json", "train.py", "x.cc", "x_test.cc", "config.json", "model_index.json", "index.json",
           "core_model_loading.py"}
# Blocks of kind `text` show output: they are read by people alone.
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS = {"sh", "python", "text"}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def by_name(path):
    return str(path.relative_to(ROOT))


document = pytest.mark.parametrize("path", DOCUMENTS, ids=by_name)


def literal(tokens, names):
    """The text of a C expression of adjacent string literals and names of such."""
    parts = re.findall(r'"((?:[^"\\]|\\.)*)"|([A-Z_]+)', tokens)
    return "".join(names[name] if name else text.replace('\\"', '"') for text, name in parts)


def split_arguments(text):
    """Cuts at commas that are outside of string literals."""
    parts, current, inside, escaped = [], "", False, False
    for char in text:
        if char == '"' and not escaped:
            inside = not inside
        escaped = char == "\\" and not escaped
        if char == "," and not inside:
            parts.append(current)
            current = ""
        else:
            current += char
    return [*parts, current]


def options():
    """Rows of the options table as the README has to show them."""
    header = (ROOT / "collector/options/options.h").read_text()
    names = dict(re.findall(r'#define (OOMGUARD_\w+) "([^"]*)"', header))
    source = (ROOT / "collector/options/options.def").read_text()
    source = "\n".join(line for line in source.splitlines() if not line.startswith("//"))
    rows = []
    for entry in re.findall(r"^OOMGUARD_OPTION\((.*?)\)\n(?=OOMGUARD_OPTION|\Z)", source + "\n",
                            re.MULTILINE | re.DOTALL):
        _, *fields = split_arguments(entry)
        flag, *rest = (literal(field, names) for field in fields)
        rows.append([flag or "(none)", *rest])
    return rows


def plain(cell):
    return cell.strip().replace("`", "").replace("\\|", "|")


def tables(text):
    """Every table of a Markdown text, as rows of plain cells."""
    table = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            row = [plain(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not all(set(cell) <= set("-: ") for cell in row):
                table.append(row)
        elif table:
            yield table
            table = []


def test_option_table_is_the_one_of_the_code():
    found = [table for table in tables(DOCUMENTS[0].read_text()) if table[0] == TABLE_HEAD]
    assert len(found) == 1, "README.md has one table of options"
    expected = options()
    assert len(expected) >= 9, "options.def was not understood"
    assert found[0][1:] == expected


def test_exit_statuses_are_those_of_the_code():
    source = (ROOT / "tools/command/exit_status.h").read_text()
    numbers = dict(re.findall(r"(k\w+) = (\d+),", source))
    expected = {numbers[name]: text for name, text in re.findall(r'\{(k\w+), "([^"]*)"\}', source)}
    assert expected
    found = [table for table in tables(DOCUMENTS[0].read_text()) if table[0][0] == "Status"]
    shown = {row[0]: row[1] for row in found[0][1:]}
    assert {number: shown.get(number) for number in expected} == expected


def test_public_names_of_the_module_are_described():
    source = (ROOT / "shim/python/api.py").read_text()
    listed = re.search(r"__all__ = \[(.*?)\]", source, re.DOTALL).group(1)
    names = set(re.findall(r'"(\w+)"', listed))
    assert names
    text = DOCUMENTS[0].read_text()
    assert {name for name in names if f"oomguard.{name}" not in text} == set()


def commands():
    """(document, words) of every line in a fenced block that starts the `oomguard` command."""
    for path in DOCUMENTS:
        for kind, block in FENCE.findall(path.read_text()):
            for line in block.splitlines() if kind == "sh" else ():
                line = re.sub(r'^eval "\$\((.*)\)"$', r"\1", line.strip())
                if line.startswith("oomguard"):
                    yield by_name(path), line


@pytest.fixture(scope="session")
def tool():
    build = os.environ.get("OOMGUARD_BUILD")
    if not build:
        pytest.skip("OOMGUARD_BUILD does not name a build folder")
    path = pathlib.Path(build).resolve() / "bin" / "oomguard"
    if not path.exists():
        pytest.skip("the build folder has no bin/oomguard")
    return path


def help_of(tool, *verbs):
    asked = subprocess.run([tool, *verbs, "--help"], capture_output=True, text=True, timeout=60)
    return asked.stdout if asked.returncode == 0 else None


def verb_of(tool, words):
    """The verbs at the start of `words` that the command knows, and what follows them."""
    verbs = []
    while words and not words[0].startswith("-"):
        subcommands = (help_of(tool, *verbs) or "").partition("Subcommands:")[2]
        if not re.search(rf"^  {re.escape(words[0])} ", subcommands, re.MULTILINE):
            break
        verbs.append(words.pop(0))
    return verbs, words


@pytest.mark.parametrize("where, line", list(commands()), ids=lambda value: value)
def test_command_names_a_verb_and_options_that_exist(tool, where, line):
    _, *words = shlex.split(line, comments=True)
    verbs, rest = verb_of(tool, words)
    text = help_of(tool, *verbs)
    assert text is not None and (verbs or rest), f"{where}: {line}"
    if verbs == ["kernelspec"]:
        pytest.fail(f"{where}: {line}: `kernelspec` alone does nothing")
    for word in rest:
        if word == "--" or word in ("|", ">", "&&"):
            break
        if word.startswith("--"):
            name = word.partition("=")[0]
            assert re.search(rf"^  (-\w,)?{re.escape(name)}\b", text, re.MULTILINE), (
                f"{where}: {line}: no option {name}")


def test_commands_are_found():
    verbs = {line.split()[1] for _, line in commands()}
    assert {"run", "env", "limits", "report", "kernelspec"} <= verbs


@document
def test_links_lead_somewhere(path):
    text = path.read_text()
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), f"{by_name(path)} links to {target}"
        if heading:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]
            assert heading in anchors, f"{by_name(path)} links to {target}"


def exists(name):
    """A path from the root, or the end of exactly such a path (`lines.h`, `budget/lines.h`)."""
    if (ROOT / name).exists():
        return True
    return any(
        match.is_file() and "build" not in match.relative_to(ROOT).parts
        for folder in FOLDERS.replace("\\", "").split("|")
        for match in (ROOT / folder).rglob(name)
    )


@document
def test_blocks_say_what_they_are(path):
    assert {kind for kind, _ in FENCE.findall(path.read_text())} <= KINDS


@document
def test_named_files_exist(path):
    text = FENCE.sub(lambda found: "" if found[1] == "text" else found[0], path.read_text())
    named = {match.rstrip(".") for match in PATH.findall(text)} - FOREIGN
    named = {name for name in named if pathlib.PurePath(name).name not in FOREIGN}
    assert named, f"{by_name(path)} names no file at all"
    assert sorted(name for name in named if not exists(name)) == []


def test_map_of_the_code_names_every_folder():
    text = DOCUMENTS[0].read_text()
    for top in ("shim", "collector", "tools", "examples"):
        for folder in sorted((ROOT / top).iterdir()):
            if folder.is_dir() and not folder.name.startswith("__"):
                assert f"{top}/{folder.name}" in text, "README.md: map of the code"
