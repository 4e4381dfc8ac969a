"""What the user sees of an error, and the exit code that it becomes."""

import pytest

from alexnet_jax.commands import failure
from alexnet_jax.errors import RunFailure, UsageError


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("--views=3: it must be 1 or 10"), 2, "--views=3: it must be 1 or 10"),
        (RunFailure("the disk is full"), 1, "the disk is full"),
        (RunFailure("a\x1b[2J\u202e\x9b.jpg"), 1, "a\\x1b[2J\\u202e\\x9b.jpg"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ValueError("first\nsecond"), 1, "ValueError: first (--debug shows the traceback)"),
        (ZeroDivisionError(), 1, "ZeroDivisionError: no message (--debug shows the traceback)"),
    ],
)
def test_an_error_is_one_line_and_a_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failure.report(error, debug=False) == code
    assert capsys.readouterr() == ("", f"alexnet_jax: {line}\n")


def test_debug_shows_where_it_was_raised(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunFailure) as caught:
        raise RunFailure("no room")
    assert failure.report(caught.value, debug=True) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert any('raise RunFailure("no room")' in line for line in lines)
    assert lines[-1] == "alexnet_jax: no room"
