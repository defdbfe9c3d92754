"""What a check-up found, as text and as a table."""

from __future__ import annotations

from labkit.api.report import FAIL, OK, WARN, Check, Report


def test_report_is_healthy_with_warnings_but_not_with_a_failure() -> None:
    fine, careful, broken = Check("a", OK, "1"), Check("b", WARN, "2", "x"), Check("c", FAIL, "3")
    assert Report((fine, careful)).healthy
    assert not Report((fine, careful, broken)).healthy


def test_report_as_text_and_table() -> None:
    checks = (Check("Python", OK, "3.12"), Check("disk", FAIL, "0 GiB", "free some"))
    text = str(Report(checks))
    first, second, fix, verdict = text.splitlines()
    assert first.split() == ["ok", "Python", "3.12"]
    assert second.split() == ["FAIL", "disk", "0", "GiB"]
    assert fix.strip() == "→ free some"
    assert verdict == "A job can't run here: 1 failed."
    assert str(Report(checks[:1])).endswith("A job can run here.")
    table = Report(checks).table()
    assert list(table.columns) == ["state", "found", "what to do"]
    assert list(table.loc["disk"]) == ["FAIL", "0 GiB", "free some"]
    assert "free some" in Report(checks)._repr_html_()
