"""The teacher's pack: plans that agree with the table of times and break no lesson, a page for each
section, one answer for each question, slides and a cheat sheet that fit their place."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.browser import opened
from tools import times
from tools.draw import ALT
from tools.execute_notebooks import lessons
from tools.teaching import pages, plans, sections, slides

PAGES = sorted(pages.FOLDER.glob("*.md"))
#: Minutes that a plan may take; alone nobody counts them.
LENGTHS = {"90 minutes": 90, "Half a day": 210, "Self-paced": None}


def text(name: str) -> str:
    return (pages.FOLDER / f"{name}.md").read_text()


def by_heading(name: str, marks: str = "##") -> dict[str, str]:
    """Parts of a page by their headings."""
    _, *parts = re.split(rf"^{marks} ", text(name), flags=re.M)
    return {part.splitlines()[0]: part for part in parts}


# --- what is made from lessons, times and recordings ----------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=[path.name for path in PAGES])
def test_a_page_says_what_lessons_and_times_say_now(path: Path) -> None:
    assert path.read_text() == pages.written(path), "run: python -m labkit times"


@pytest.mark.parametrize("path", PAGES, ids=[path.name for path in PAGES])
def test_no_page_skips_a_level_of_headings(path: Path) -> None:
    """Sphinx warns of it, and a warning ends `make site`."""
    body = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", body, re.M)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))


def test_other_minutes_of_the_machine_change_the_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above fails when a plan contradicts docs/times.md."""
    page, plan = times.page(), text("plans")
    slower = {
        part: {name: {kind: s + 60 for kind, s in row.items()} for name, row in rows.items()}
        for part, rows in page.items()
    }
    monkeypatch.setattr(times, "page", lambda: slower)
    changed = plans.written(plan)
    assert changed != plan
    assert [t.at for *_, t in plans.tables(changed)] == [t.at for *_, t in plans.tables(plan)]
    monkeypatch.setattr(times, "page", lambda: page)
    assert plans.written(changed) == plan


def test_a_kind_that_was_not_measured_has_no_minutes() -> None:
    head = "| at | what | talk | compute (abacus) | compute (2 cores with AVX-512) |\n|-|-|-|-|-|\n"
    row = "| | [x](lesson-1.md#guess-a-curve-then-measure-it) | 7 | 5 | 5 |\n"
    made = plans.written(f"{head}{row}| | {plans.ALL} | | | |\n")
    known = times.page()["01_faq_answers.ipynb"]["Guess a curve, then measure it"]
    minutes = known["2 cores with AVX-512"] / 60
    assert f"| 7 | – | {minutes:.1f} |" in made
    assert f"| **{plans.clock(7 + minutes)}** |" in made


def test_what_is_not_there_is_an_error() -> None:
    with pytest.raises(LookupError, match="no section"):
        plans.linked("[x](lesson-1.md#nowhere)", plans.known_sections())
    with pytest.raises(LookupError, match="no single cell"):
        sections.output_of(lessons()[0], "labkit.")


def test_a_section_knows_what_it_takes_from_those_before_it() -> None:
    (bill,) = [s for s in sections.all_sections() if s.name == "The bill"]
    assert bill.needs["A minute of measuring before a long job"] == ["choice", "tried"]
    assert "zero" in bill.needs["Labels, and nothing but labels"]
    assert "answer" not in str(bill.needs), "an exercise gives it itself"


# --- plans ---------------------------------------------------------------------------------------


def rows(plan: str) -> Iterator[list[str]]:
    """The cells of each row of a plan's tables, as they stand there; a table ends with its sums."""
    for line in by_heading("plans")[plan].splitlines():
        cells = [cell.strip().strip("*") for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] != "at" and not re.fullmatch(r"[|\s:-]+", line):
            yield cells


@pytest.mark.parametrize("plan", LENGTHS)
def test_the_minutes_of_a_plan_add_up(plan: str) -> None:
    at, sums = 0.0, [0.0] * 3
    for clock, what, *minutes in rows(plan):
        hours, _, rest = clock.partition(":")
        assert abs(60 * int(hours) + int(rest) - at) <= 1, what
        numbers = [float(m) for m in minutes]
        if what != plans.ALL.strip("*"):
            at += sum(numbers)
            sums = [a + b for a, b in zip(sums, numbers, strict=False)]
            continue
        assert numbers == pytest.approx(sums, abs=0.5), "the sums of the columns"
        assert at <= (LENGTHS[plan] or 1000), f"{plan} takes {at:.0f} minutes"
        at, sums = 0.0, [0.0] * len(numbers)


@pytest.mark.parametrize("plan", LENGTHS)
def test_every_section_is_in_each_plan_or_named_as_left_out(plan: str) -> None:
    known = plans.known_sections()
    named = plans.linked(by_heading("plans")[plan], known)
    for section in known.values():
        assert named.count(section) == 1, f"{plan}: {section.name}"


@pytest.mark.parametrize("plan", LENGTHS)
def test_what_a_plan_leaves_out_is_needed_by_nothing_that_it_keeps(plan: str) -> None:
    known = plans.known_sections()
    kept = plans.linked("\n".join(what for _, what, *_ in rows(plan)), known)
    for section in kept:
        before = [s.name for s in kept[: kept.index(section)] if s.lesson == section.lesson]
        for home, names in section.needs.items():
            given = [name for name in names if name not in section.imported]
            assert not given or home in before, f"{section.name} needs {given} of {home}"


# --- each section --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_lesson_s_page_has_each_of_its_sections(number: int) -> None:
    parts = by_heading(f"lesson-{number}")
    assert list(parts) == [section.name for section in sections.of(lessons()[number - 1])]
    for name, part in parts.items():
        for mark in ("**Say.** ", "**Ask.** ", "**When late.** ", "**Watch for.** "):
            assert part.count(f"\n{mark}") == 1, f"{name}: {mark}"
        assert "- **Machine**: " in part and "- **Needs**: " in part


# --- questions, quizzes, exam --------------------------------------------------------------------


def test_ten_questions_have_an_answer_and_a_source_each() -> None:
    asked = by_heading("questions")
    assert [name.partition(". ")[0] for name in asked] == [str(n) for n in range(1, 11)]
    for name, part in asked.items():
        answer, source, links = part.partition("*Source*: ")
        assert name.endswith("?") and len(answer) > 150 and source
        assert "](" in links, f"{name}: no link"


def test_each_quiz_question_has_exactly_one_answer_among_its_options() -> None:
    asked = {
        name.split()[0]: re.findall(r"^- ([a-d])\) \S", part, re.M)
        for name, part in by_heading("quiz", "###").items()
    }
    answers = re.findall(r"^\| (\d\.\d) \| (\w) \| (.{15,}) \|$", text("answers"), re.M)
    assert [number for number, *_ in answers] == list(asked)
    assert list(asked) == [f"{lesson}.{n}" for lesson in (1, 2, 3) for n in range(1, 7)]
    assert all(options == list("abcd") for options in asked.values())
    assert all(letter in asked[number] for number, letter, _ in answers)
    given = [letter for _, letter, _ in answers]
    assert all(given.count(letter) < len(given) / 2 for letter in "abcd"), "a letter can be guessed"


@pytest.mark.parametrize("lesson", [1, 2, 3])
def test_a_quiz_is_printed_without_its_answers(lesson: int) -> None:
    page = slides.quiz(lesson)
    numbers = re.findall(r"<h2[^>]*>(\d\.\d) ", page)
    assert numbers == [f"{lesson}.{n}" for n in range(1, 7)]
    assert page.count("a) ") == 6 == page.count("d) ") and "href" not in page
    assert "answers.md" not in page


def test_the_exam_is_printed_without_the_way_to_its_solutions() -> None:
    page = slides.exam()
    assert re.findall(r"<h2[^>]*>(E\d+) ", page) == [f"E{n}" for n in range(1, 11)]
    assert "an hour" in page and "<table>" in page
    assert "href" not in page and "olution" not in page and "<!--" not in page


def test_each_task_of_the_exam_has_exactly_one_solution() -> None:
    tasks, solved = by_heading("exam"), by_heading("answers", "###")
    points = [int(number) for name in tasks for number in re.findall(r"\((\d+) points\)", name)]
    assert [re.sub(r" \(\d+ points\)$", "", name) for name in tasks] == list(solved)
    assert len(points) == len(tasks) == 10 and sum(points) == 40
    assert "40 points" in text("exam")
    for (name, part), whole in zip(solved.items(), points, strict=True):
        given = [int(number) for number in re.findall(r"\((\d) points?\)", part)]
        assert sum(given) == whole, name


def test_the_numbers_of_the_exam_are_those_of_its_program(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", text("answers"), re.M | re.S)
    exec(compile(code, "answers.md", "exec"), {})
    solved = by_heading("answers", "###")
    for line in capsys.readouterr().out.splitlines():
        task, said = line.split(": ")
        (part,) = [part for name, part in solved.items() if name.startswith(f"{task} ")]
        for number in re.findall(r"[\d.]+", said):
            shown = [f"{float(number):,.{digits}f}" for digits in (0, 1, 2)]
            assert any(s in part for s in shown if float(s.replace(",", "")) == float(number)), line


# --- slides and cheat sheet ----------------------------------------------------------------------


def images(page: str) -> list[tuple[str, str, bytes]]:
    """(kind, words, bytes) of each picture."""
    found = re.findall(r'<img src="data:(\S+?);base64,([^"]+)" alt="([^"]*)">', page)
    return [(kind, unescape(alt), base64.b64decode(code)) for kind, code, alt in found]


def test_slides_hold_every_picture_of_the_lessons_and_need_no_network() -> None:
    page = slides.slides()
    parts = by_heading("slides")
    assert page.count("<section ") == len(parts) >= 12
    assert all("> " in part for part in parts.values()), "a slide without notes"
    shown = images(page)
    drawn = [alt for kind, alt, _ in shown if kind == "image/svg+xml"]
    assert sorted(drawn) == sorted(ALT.values())
    for kind, alt, data in shown:
        assert alt
        if kind == "image/svg+xml":
            ET.fromstring(data)
            assert b"prefers-color-scheme" not in data, "dark on a white slide"
    assert page.count("<img ") == len(shown)
    for made in (page, slides.cheat_sheet()):
        assert "default-src 'none'" in made
        assert not re.findall(r'(?:src|href)="(?!data:|https://docs\.)', made)
        assert "<!-- " not in made.replace("<!DOCTYPE", ""), "a mark of what is made"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("pages")
    for name, page in slides.every().items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    with opened() as browser:
        browser.folder = folder
        yield browser


def look(browser: Any, name: str, width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    file = browser.folder / f"{name}.html"
    assert file.exists()
    browser.get(file.as_uri())


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1024, 768), (1920, 1080)])
def test_each_slide_fits_the_projector(browser: Any, width: int, height: int) -> None:
    look(browser, "slides", width, height)
    tall = browser.execute_script(
        "return [...document.querySelectorAll('section')]"
        ".filter(s => s.getBoundingClientRect().height > innerHeight + 1).map(s => s.id)"
    )
    assert tall == []
    blank = "return [...document.images].filter(i => !i.naturalWidth).length"
    assert browser.execute_script(blank) == 0
    small = (
        "return Math.min(...[...document.querySelectorAll('section > div :is(p, li, td)')]"
        ".filter(e => e.offsetParent).map(e => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert browser.execute_script(small) >= 20 * min(width / 1280, height / 720)


@pytest.mark.browser
def test_keys_turn_the_slides_and_show_the_notes(browser: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    look(browser, "slides", 1280, 720)
    press = ActionChains(browser)
    for _ in range(2):
        press.send_keys(Keys.ARROW_RIGHT).perform()
    assert browser.execute_script("return scrollY") == pytest.approx(2 * 720, abs=3)
    notes = "return !!document.querySelector('blockquote').offsetParent"
    assert not browser.execute_script(notes)
    press.send_keys("n").perform()
    assert browser.execute_script(notes)
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]


@pytest.mark.browser
@pytest.mark.parametrize("name", ["slides", "cheat-sheet", "quiz-2", "exam"])
def test_a_phone_scrolls_one_way_only(browser: Any, name: str) -> None:
    look(browser, name, 390, 844)
    root = "document.documentElement."
    assert browser.execute_script(f"return {root}scrollWidth <= {root}clientWidth")


@pytest.mark.browser
def test_the_cheat_sheet_is_one_page_and_each_slide_is_one(browser: Any) -> None:
    pages = {"cheat-sheet": 1, "quiz-1": 1, "quiz-2": 1, "quiz-3": 1, "exam": 1}
    for name, wanted in (pages | {"slides": len(by_heading("slides"))}).items():
        look(browser, name, 1280, 900)
        printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
        assert len(re.findall(rb"/Type\s*/Page\b", base64.b64decode(printed["data"]))) == wanted
