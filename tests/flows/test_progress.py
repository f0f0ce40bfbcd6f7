import io

import pytest

from flows.progress import Bar, Lines, Tally, console_progress


def test_a_line_says_what_how_far_how_fast_and_the_figures() -> None:
    tally = Tally("train", 1_000)
    tally.advance(500, {"loss": 0.3125, "rows_per_second": 12_345.6})
    assert tally.text() == "train: 500 of 1,000 (50 %), 12,346 rows/s, loss 0.312"


def test_an_unknown_total_is_only_counted() -> None:
    tally = Tally("rows", None)
    tally.advance(2_000, {})
    assert tally.text().startswith("rows: 2,000, ")


def test_lines_come_now_and_then_and_at_the_end() -> None:
    stream = io.StringIO()
    lines = Lines(stream, every_seconds=1_000)
    lines.start("rows", 3)
    for _ in range(3):
        lines.advance(1)
    lines.finish()
    assert stream.getvalue().splitlines() == [stream.getvalue().strip()]


def test_the_last_line_is_not_written_twice() -> None:
    stream = io.StringIO()
    lines = Lines(stream, every_seconds=0)
    lines.start("rows", 1)
    lines.advance(1)
    lines.finish()
    assert len(stream.getvalue().splitlines()) == 1


def test_a_stream_that_is_no_terminal_gets_lines() -> None:
    with console_progress(io.StringIO()) as progress:
        assert isinstance(progress, Lines)


def test_a_terminal_gets_a_bar_and_is_given_back_after_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    with pytest.raises(RuntimeError), console_progress(Terminal()) as progress:
        assert isinstance(progress, Bar)
        progress.start("rows", 2)
        progress.advance(1, loss=0.5)
        raise RuntimeError
    assert "rows" in capsys.readouterr().err
