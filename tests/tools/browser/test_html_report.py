"""The HTML report in a real browser: it loads, and does what its controls say."""

import re

import pytest

WIDTHS = (1280, 400)
NUMBER = re.compile(r"([\d.,]+)\s*(B|KiB|MiB|GiB)")
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def amount(text):
    number, unit = NUMBER.search(text).groups()
    return float(number.replace(",", "")) * UNITS[unit]


@pytest.mark.parametrize("stacks", (0, 400, 10_000))
@pytest.mark.parametrize("scheme", ("light", "dark"))
def test_it_loads_without_a_complaint(page, html_of, stacks, scheme):
    page.show(html_of(stacks), scheme=scheme)
    assert page.complaints() == []
    assert "oomguard stopped this cell" in page.text("h1")
    assert page.run("document.title").startswith("oomguard: ")
    empty = page.run("document.getElementById('stacks').classList.contains('empty')")
    assert empty == (stacks == 0)
    # Names that are HTML are shown as text.
    assert "</script><b>node" in page.text("#others-body")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ("light", "dark"))
def test_it_is_neither_blank_nor_too_wide(page, html_of, width, scheme):
    page.show(html_of(400), width=width, scheme=scheme)
    assert page.run("document.documentElement.scrollWidth") <= width
    # Nothing sticks out of the page, but for what scrolls in a box of its own.
    assert page.run("""Array.from(document.querySelectorAll("main *")).filter(node =>
        !node.closest(".scroll, .hidden, svg, .flame, .crumbs") && node.offsetParent !== null &&
        node.getBoundingClientRect().right > innerWidth + 1).map(node => node.outerHTML.slice(0, 80))""") == []
    image = page.screenshot()
    assert image.width == width
    paper = image.getpixel((2, 2))
    assert (sum(paper) > 600) == (scheme == "light")
    for selector in ("header", "#chart", "#flame-box", "#lines"):
        box = page.run("""(({left, top, right, bottom}) => [left, top + scrollY, Math.min(right, innerWidth),
                          bottom + scrollY])(document.querySelector(arguments[0]).getBoundingClientRect())""",
                       selector)
        part = image.crop([round(edge) for edge in box])
        colours = part.getcolors(1 << 24)
        ink = sum(count for count, colour in colours if colour != paper)
        assert len(colours) > 8 and ink > part.width * part.height / 100, selector


def test_a_search_finds_frames_and_says_what_they_hold(page, html_of):
    page.show(html_of(400))
    before = page.run("document.getElementById('flame').toDataURL()")
    page.type("#flame-search", "augment")
    found = page.text("#search-result")
    assert re.fullmatch(r"\d+ frames? found, on stacks with .* \(\d.*%\)", found)
    assert 0 < amount(found) < amount(page.text("#stacks-note"))
    assert page.run("document.getElementById('flame').toDataURL()") != before
    page.type("#flame-search", "no such function")
    assert page.text("#search-result") == "No frame found"


def test_zoom_goes_in_and_out_by_mouse_and_by_keys(page, html_of):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page.show(html_of(400))
    crumbs = page.text("#crumbs")
    canvas = page.find("#flame")[0]
    page.window.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    height = page.run("document.getElementById('flame').clientHeight")
    width = page.run("document.getElementById('flame').clientWidth")
    # The third row, at the left: the largest frame there.
    ActionChains(page.window).move_to_element_with_offset(canvas, 20 - width / 2, 50 - height / 2).click().perform()
    zoomed = page.text("#crumbs")
    assert zoomed != crumbs and "outer frame" in zoomed
    assert page.text("#flame-status").startswith("Zoomed into ")
    page.press("#flame", Keys.ESCAPE)
    assert page.text("#crumbs") != zoomed
    page.press("#flame", Keys.HOME)
    assert page.text("#crumbs") == ""
    page.press("#flame", Keys.ARROW_DOWN)
    selected = page.text("#flame-status")
    assert "of everything" in selected and not selected.startswith("Zoomed")
    page.press("#flame", Keys.ENTER)
    assert page.text("#crumbs").startswith("everything")
    page.find("#crumbs button")[0].click()
    assert page.text("#crumbs") == ""


@pytest.mark.parametrize("view", ("Python", "Native", "Merged"))
def test_the_views_show_the_same_bytes_in_other_frames(page, html_of, view):
    page.show(html_of(400))
    held = amount(page.text("#stacks-note"))
    for button in page.find("#views button"):
        if button.text == view:
            button.click()
            assert button.get_attribute("aria-pressed") == "true"
    assert amount(page.text("#stacks-note")) == held
    page.type("#flame-search", "from_pretrained")
    assert ("found" in page.text("#search-result")) and (
        page.text("#search-result") == "No frame found") == (view == "Native")
    page.type("#flame-search", "libtorch_cpu.so")
    assert (page.text("#search-result") == "No frame found") == (view == "Python")


def test_another_measure_changes_the_picture(page, html_of):
    page.show(html_of(400))
    held = amount(page.text("#stacks-note"))
    page.window.execute_script("""const box = document.getElementById("measure"); box.value = "allocated_bytes";
                                  box.dispatchEvent(new Event("change"))""")
    assert "allocated since the start" in page.text("#stacks-note")
    assert amount(page.text("#stacks-note")) > held


def test_own_code_is_highlighted_until_it_is_not_wanted(page, html_of):
    page.show(html_of(400))
    own = page.run("getComputedStyle(document.documentElement).getPropertyValue('--own')")
    red, green, blue = (int(own.strip()[i : i + 2], 16) for i in (1, 3, 5))
    count = f"""(() => {{ const c = document.getElementById("flame");
        const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data; let n = 0;
        for (let i = 0; i < d.length; i += 4)
          if (d[i] === {red} && d[i + 1] === {green} && d[i + 2] === {blue}) ++n;
        return n; }})()"""
    assert page.run(count) > 1000
    page.find("#own-only")[0].click()
    assert page.run(count) == 0


def column(page, number):
    return page.run("Array.from(document.querySelectorAll('#lines tbody tr')).map("
                    "row => row.children[arguments[0]].textContent)", number)


def test_the_table_sorts_by_the_column_that_is_clicked(page, html_of):
    page.show(html_of(400))
    held = [amount(cell) for cell in column(page, 1)]
    assert held == sorted(held, reverse=True) and len(held) == 40
    heads = page.find("#lines th")
    assert heads[1].get_attribute("aria-sort") == "descending"
    heads[3].find_element("css selector", "button").click()
    allocated = [amount(cell) for cell in column(page, 3)]
    assert allocated == sorted(allocated, reverse=True) and column(page, 1) != held
    heads[3].find_element("css selector", "button").click()
    assert heads[3].get_attribute("aria-sort") == "ascending" and heads[1].get_attribute("aria-sort") is None
    allocated = [amount(cell) for cell in column(page, 3)]
    assert allocated == sorted(allocated)
    heads[0].find_element("css selector", "button").click()
    places = page.run("Array.from(document.querySelectorAll('#lines strong')).map(one => one.textContent)")
    assert [place.lower() for place in places] == sorted(place.lower() for place in places)


def test_the_table_is_searched_and_shows_more(page, html_of):
    page.show(html_of(400))
    page.type("#line-search", "rows_21 = ")
    assert page.run("document.querySelectorAll('#lines tbody tr').length") >= 1
    assert all("rows_21 = features(rows_20)" in cell for cell in column(page, 0))
    page.type("#line-search", "nothing like it")
    assert column(page, 0) == [] and page.text("#lines-more") == "No line found."
    page.type("#line-search", " ")
    page.find("#lines-more button")[0].click()
    assert len(column(page, 0)) > 40
    page.find("#line-own")[0].click()
    assert page.run("document.querySelectorAll('#lines tbody tr:not(.own)').length") == 0


def test_the_timeline_reads_out_moments_to_the_keyboard(page, html_of):
    from selenium.webdriver.common.keys import Keys

    page.show(html_of(400))
    page.press("#chart svg", Keys.ARROW_LEFT)
    first = page.text("#chart-readout")
    assert re.search(r"in use [\d.]+ \wiB, this process [\d.]+ \wiB.*limit 6\.00 GiB", first)
    page.press("#chart svg", Keys.HOME)
    assert amount(page.text("#chart-readout").split("in use")[1]) < amount(first.split("in use")[1])
    assert "Limit 6.00 GiB" in page.text("#chart") and "refused 300 MiB" in page.text("#chart")


def test_the_tree_is_walked_with_arrow_keys(page, html_of):
    from selenium.webdriver.common.keys import Keys

    page.show(html_of(400))
    page.find("#tree-box summary")[0].click()
    page.wait("document.querySelectorAll('#tree [role=treeitem]').length > 10")
    opened = page.run("document.querySelectorAll('#tree [role=treeitem][aria-expanded=true]').length")
    page.window.execute_script("document.querySelector('#tree [tabindex=\"0\"]').focus()")
    focused = "document.activeElement.getAttribute('aria-label')"
    start = page.run(focused)
    page.window.switch_to.active_element.send_keys(Keys.END)
    assert page.run(focused) != start
    page.window.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert page.run("document.querySelectorAll('#tree [role=treeitem][aria-expanded=true]').length") == opened + 1
    page.window.switch_to.active_element.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert page.run("Number(document.activeElement.getAttribute('aria-level'))") > 0


def test_every_control_has_a_name_and_every_image_words(page, html_of):
    page.show(html_of(400))
    assert page.run("""Array.from(document.querySelectorAll("button, input, select, canvas, [role=img], svg[role]"))
        .filter(node => !(node.getAttribute("aria-label") || node.textContent.trim() ||
                          (node.labels && node.labels.length && node.labels[0].textContent.trim())))
        .map(node => node.outerHTML.slice(0, 80))""") == []
    levels = page.run("Array.from(document.querySelectorAll('h1, h2, h3')).map(node => Number(node.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:]))


def test_it_prints_on_white_without_its_controls(page, html_of):
    page.show(html_of(400), scheme="dark")
    page.command("Emulation.setEmulatedMedia", media="print")
    assert page.run("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert page.run("""Array.from(document.querySelectorAll(".tools, .choices, details, .more")).filter(
        node => getComputedStyle(node).display !== "none").length""") == 0
    assert len(page.command("Page.printToPDF")["data"]) > 10_000
    page.command("Emulation.setEmulatedMedia", media="")


def test_ten_thousand_stacks_are_drawn_in_few_rectangles(page, html_of):
    """What is not seen is not drawn: the work follows the width of the window, not the stacks."""
    page.show(html_of(10_000))
    assert "10,000 call stacks" in page.text("#stacks-note")
    page.window.execute_script("""const context = document.getElementById("flame").getContext("2d");
        const fill = context.fillRect.bind(context); window.drawn = 0;
        context.fillRect = (...box) => { ++window.drawn; fill(...box); };""")
    page.type("#flame-search", "load")
    drawn, rows = page.run("[window.drawn, document.getElementById('flame').clientHeight / 21]")
    width = page.run("document.getElementById('flame').clientWidth")
    assert 100 < drawn / 4 < 3 * width * rows


def test_cells_have_their_numbers_and_lines_in_a_notebook(page, html_of, tmp_path):
    """In a frame of its own, with what the kernel adds (shim/python/page.py)."""
    import html
    import json

    cells = {"/tmp/ipykernel_4711/2718281828.py": {"number": 7, "lines": ["first", "</script>second", "third"]}}
    whole = html_of(400).read_text()
    mark = '<script type="application/json" id="report-data">'
    added = json.dumps(cells).replace("<", "\\u003c")
    whole = whole.replace(mark, f'<script type="application/json" id="report-cells">{added}</script>{mark}')
    outer = tmp_path / "notebook.html"
    outer.write_text(f'<html data-ready="yes"><iframe srcdoc="{html.escape(whole)}" sandbox="allow-scripts" '
                     'style="width: 100%; height: 700px"></iframe>')
    page.show(outer)
    page.window.switch_to.frame(0)
    try:
        page.wait("document.documentElement.dataset.ready === 'yes'")
        page.type("#flame-search", "cell [7] line 2")
        assert "1 frame found" in page.text("#search-result")
        page.type("#flame-search", "notebook cell")
        assert page.text("#search-result") == "No frame found"
    finally:
        page.window.switch_to.default_content()
    assert page.complaints() == []
