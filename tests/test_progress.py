"""labkit.progress: the line at each moment, and what a terminal and a notebook see of it."""

from __future__ import annotations

import contextlib
import io
import time
from types import SimpleNamespace
from typing import Any

import pytest

from labkit import progress as module
from labkit.errors import Cancelled
from labkit.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`clock(12)` sets the time that `Progress` sees; it starts at 0."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] = seconds

    return move


def make(total: int | None = 100, **options: Any) -> Progress:
    return Progress(total, startup="starting the engine", show=False, **options)


@pytest.mark.parametrize("method", ["show", "close"])
@pytest.mark.parametrize("problem", [BrokenPipeError(), ValueError("closed file"), KeyError("x")])
def test_a_view_that_fails_harms_no_job(method: str, problem: Exception) -> None:
    """A terminal that was closed, or a mistake in a view of one's own: said once, wherever it is
    shown."""

    class Bad:
        calls = 0

        def show(self, text: str, share: float | None) -> None:
            self.fail("show")

        def close(self) -> None:
            self.fail("close")

        def fail(self, name: str) -> None:
            if name == method:
                self.calls += 1
                raise problem

    bad = Bad()
    with pytest.warns(UserWarning, match="can't be shown any more.*the job goes on"):  # noqa: SIM117
        with Progress(1, startup="starting", show=bad) as shown:
            shown.advance(1, 1)
    with pytest.warns(UserWarning, match="can't be shown any more"):
        view = module.view_of(bad)
        assert view is not None
        for _ in range(2):
            module.Named(view, "run 1", lambda share: share).show("x", 0.5)
            view.close()
    assert bad.calls == 2 and module.view_of(False) is None


# --- the line ------------------------------------------------------------------------------------


def test_startup_counts_seconds(clock: Any) -> None:
    shown = make()
    assert shown.text() == "starting the engine … 0 s"
    clock(31.4)
    assert shown.text() == "starting the engine … 31 s"
    assert shown.text(12.6) == "starting the engine … 13 s"


def test_the_first_rows_have_no_rate_yet(clock: Any) -> None:
    shown = make()
    clock(30)
    shown.advance(10, 400)
    assert shown.text(30) == "10 of 100 rows"
    assert shown.text(35) == "10 of 100 rows"


def test_the_rate_counts_from_the_first_rows(clock: Any) -> None:
    """30 s of startup and the first 400 tokens are no part of it."""
    shown = make()
    clock(30)
    shown.advance(10, 400)
    clock(34)
    shown.advance(30, 1200)
    # 30 rows and 1,200 tokens in 4 s; 60 rows are left
    assert shown.text() == "40 of 100 rows · 300 output tokens/s · 8 s left"


def test_the_end_has_no_time_left(clock: Any) -> None:
    shown = make()
    shown.advance(10, 400)
    clock(4)
    shown.advance(90, 3600)
    assert shown.text() == "100 of 100 rows · 900 output tokens/s"


def test_all_rows_at_once_have_no_rate(clock: Any) -> None:
    shown = make(total=10)
    clock(5)
    shown.advance(10, 400)
    assert shown.text(99) == "10 of 10 rows"


def test_two_reports_at_one_moment_divide_by_nothing(clock: Any) -> None:
    shown = make()
    shown.advance(10, 400)
    shown.advance(10, 400)
    assert shown.text() == "20 of 100 rows"


def test_an_unknown_total_has_no_time_left(clock: Any) -> None:
    shown = make(total=None)
    assert shown.text(3) == "starting the engine … 3 s"
    shown.advance(1500, 0)
    clock(10)
    shown.advance(1500, 25_000)
    assert shown.text() == "3,000 rows · 2,500 output tokens/s"


def test_rows_without_tokens_are_counted_themselves(clock: Any) -> None:
    shown = make(total=4)
    shown.advance(1, 0)
    clock(2)
    shown.advance(1, 0)
    assert shown.text() == "2 of 4 rows · 0.5 rows/s · 4 s left"


def test_a_label_stands_before_each_line(clock: Any) -> None:
    shown = make(label="run 2: ")
    assert shown.text(1) == "run 2: starting the engine … 1 s"
    shown.advance(1, 1)
    assert shown.text(1) == "run 2: 1 of 100 rows"


# --- where it is seen ----------------------------------------------------------------------------


def run(shown: Progress, *advances: tuple[int, int], error: BaseException | None = None) -> None:
    with shown:
        for rows, tokens in advances:
            shown.advance(rows, tokens)
        if error is not None:
            raise error


def test_the_last_line_says_where_the_rows_are(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress(100, startup="starting", show=True)
    with pytest.raises(Cancelled), shown:
        shown.advance(60, 1)
        shown.kept = "labkit.partial() has them"
        raise Cancelled("now")
    assert "cancelled: 60 of 100 rows in 0 s; labkit.partial() has them" in capsys.readouterr().err


def test_the_last_line_says_how_many_rows_failed_or_were_cut(
    capsys: pytest.CaptureFixture[str],
) -> None:
    counts = ((0, 0, ""), (2, 0, "; 2 failed"), (0, 3, "; 3 cut at max_tokens"))
    for failed, cut, words in (*counts, (1, 3, "; 1 failed; 3 cut at max_tokens")):
        with Progress(8, startup="x") as shown:
            shown.advance(8, 40, cut)
            shown.failed = failed
        assert capsys.readouterr().err.rstrip().endswith(f"8 rows in 0 s{words}")


@pytest.mark.parametrize(
    ("error", "advances", "expected"),
    [
        (None, [(60, 1), (40, 1)], "done: 100 rows in 0 s"),
        (None, [(60, 1)], "done: 60 of 100 rows in 0 s"),
        (KeyboardInterrupt(), [(60, 1)], "cancelled: 60 of 100 rows in 0 s"),
        (ValueError("x"), [(60, 1)], "stopped: 60 of 100 rows in 0 s"),
        (ValueError("x"), [], "stopped: 0 of 100 rows in 0 s"),
    ],
)
def test_the_last_line_in_a_log(
    error: BaseException | None,
    advances: list[tuple[int, int]],
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = Progress(100, startup="starting")
    if error is None:
        run(shown, *advances)
    else:
        with pytest.raises(type(error)):
            run(shown, *advances, error=error)
    assert capsys.readouterr() == ("", expected + "\n")


def test_the_last_line_with_an_unknown_total(capsys: pytest.CaptureFixture[str]) -> None:
    run(Progress(None, startup="starting", label="all: "), (1234, 1))
    assert capsys.readouterr().err == "all: done: 1,234 rows in 0 s\n"


def test_a_log_gets_a_line_each_ten_seconds(clock: Any, capsys: pytest.CaptureFixture[str]) -> None:
    view = module._Terminal()
    for second in range(1, 36):
        clock(second)
        view.show(f"at {second}", None)
    view.show("the end", 1.0)
    view.close()
    assert capsys.readouterr().err.splitlines() == ["at 11", "at 22", "at 33", "the end"]


def test_a_terminal_rewrites_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(module.sys, "stderr", screen)
    view = module._Terminal()
    view.show("one", 0.1)
    view.show("two", 0.2)
    view.close()
    assert screen.getvalue() == "\r\x1b[Kone\r\x1b[Ktwo\n"


def test_it_is_refreshed_while_rows_are_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(module.sys, "stderr", screen)
    deadline = time.monotonic() + 20
    with Progress(5, startup="starting"):
        while "starting … " not in screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
    assert "\r\x1b[Kstarting … " in screen.getvalue()
    assert "\r\x1b[Kdone: 0 of 5 rows in " in screen.getvalue()


def test_nothing_is_shown_when_it_is_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    run(make(), (100, 1))
    assert capsys.readouterr() == ("", "")


def test_errors_pass_through() -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        run(make(), error=error)
    assert caught.value is error


class Shell:
    """An IPython with a kernel: a notebook."""

    kernel = object()


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a notebook would show, one state after the other; each takes the place of the last."""
    import IPython

    states: list[Any] = []

    class Handle:
        update = staticmethod(states.append)

    def display(state: Any, *, display_id: bool) -> Handle:
        assert display_id
        states.append(state)
        return Handle()

    monkeypatch.setattr(IPython, "get_ipython", Shell)
    monkeypatch.setattr(IPython.display, "display", display)
    return states


def test_a_notebook_keeps_the_last_line_and_a_full_bar(
    notebook: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run(Progress(4, startup="starting"), (4, 9))
    assert repr(notebook[-1]) == "done: 4 rows in 0 s"
    assert 'value="1.000"' in notebook[-1]._repr_html_()
    assert capsys.readouterr() == ("", "")


def test_a_notebook_sees_a_stop(notebook: list[Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Progress(4, startup="starting"), (1, 9), error=KeyboardInterrupt())
    assert repr(notebook[-1]) == "cancelled: 1 of 4 rows in 0 s"
    assert 'value="0.250"' in notebook[-1]._repr_html_()


def test_a_notebook_has_no_share_of_an_unknown_total_until_its_end(notebook: list[Any]) -> None:
    assert "value=" not in module._Line("3 rows", make(None)._share())._repr_html_()
    run(Progress(None, startup="starting", label="<b> & "), (3, 9))
    html = notebook[-1]._repr_html_()
    assert 'value="1.000"' in html and "&lt;b&gt; &amp; done: 3 rows" in html


@pytest.mark.parametrize("total", [None, 4])
@pytest.mark.parametrize("problem", [None, ValueError])
def test_no_bar_moves_for_ever(total: int | None, problem: type[Exception] | None) -> None:
    """Of a Dataset the rows were never counted; a bar of HTML without a value moves."""
    seen: list[float | None] = []
    view = SimpleNamespace(show=lambda text, share: seen.append(share), close=lambda: None)
    with contextlib.suppress(ValueError), Progress(total, startup="", show=view) as progress:
        progress.advance(4, 8)
        if problem:
            raise problem
    assert seen[-1] == (0.0 if problem and total is None else 1.0)
    assert "value=" in module._Line("", seen[-1])._repr_html_()
