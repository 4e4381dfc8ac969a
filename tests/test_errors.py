"""Messages of one line."""

import pickle

import pytest

from alexnet_jax.data.images import BadImage
from alexnet_jax.errors import RunFailure, UsageError, WrongTypeError, first_line


@pytest.mark.parametrize("kind", [UsageError, RunFailure, WrongTypeError, BadImage])
def test_a_message_is_bounded_and_printable(kind):
    error = kind("run/config.json has a key\x1b[31m" + "x" * 1_000_000 + ": put back the file")
    text = str(error)
    assert text.startswith("run/config.json has a key\\x1b[31mxxx")
    assert text.endswith("xxx: put back the file")
    assert len(text) < 1500
    assert text.isprintable()
    assert str(pickle.loads(pickle.dumps(error))) == text


def test_a_plain_message_stays():
    assert str(UsageError("é: 7 of 8")) == "é: 7 of 8"
    assert str(UsageError()) == ""


def test_the_first_line_of_an_error():
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(KeyError()) == "KeyError"


def test_errors_are_pythons_own_too():
    assert issubclass(UsageError, ValueError)
    assert issubclass(WrongTypeError, TypeError)
    assert (UsageError.exit_code, RunFailure.exit_code) == (2, 1)
