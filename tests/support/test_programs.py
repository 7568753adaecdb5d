"""The harness of foreign programs itself."""

from pathlib import Path

import pytest

from tests.support.programs import Program, shell, tool


def test_a_missing_tool_skips_a_test_and_fails_it_on_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="there is no such-a-tool"):
        tool("such-a-tool")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI has no such-a-tool"):
        tool("such-a-tool")


def test_a_program_sees_nothing_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.settings")
    with shell("env; pwd", folder=tmp_path) as running:
        printed = running.finished()
    assert str(tmp_path) in printed
    assert "DJANGO" not in printed


def test_a_program_that_ends_too_early_shows_what_it_said(tmp_path: Path) -> None:
    with Program("sh", "-c", "echo 再见; exit 3", folder=tmp_path) as running:
        with pytest.raises(AssertionError, match="再见"):
            running.until("你好")
        with pytest.raises(AssertionError, match="再见"):
            running.finished()


def test_a_program_reads_its_lines_and_ends_with_its_block(tmp_path: Path) -> None:
    with Program("sh", "-c", 'while read -r line; do echo "heard $line"; done', folder=tmp_path) as running:
        running.type("one")
        running.until("heard one")
        assert running.running
    assert not running.running
