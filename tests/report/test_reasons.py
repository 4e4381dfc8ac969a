"""Why parts are missing, in Chinese: every message that is known is one of the program's."""

import re

import pytest

from alexnet_jax.errors import UsageError
from alexnet_jax.report import reasons
from alexnet_jax.workdir.checkpoints import Checkpoints
from tests.test_docs_commands import templates


def test_every_reason_is_a_message_of_the_program():
    """What is filled in may stand for the rest of a message."""
    texts = "\n".join(templates())
    for message in reasons.REASONS:
        parts = [re.escape(part) for part in re.split(r"\{\w+\}", message)]
        assert re.search(f"^{'.*'.join(parts)}", texts, re.MULTILINE), message


def test_names_stay_and_words_are_chinese(tmp_path):
    with pytest.raises(UsageError) as raised:
        Checkpoints(tmp_path).resolve_step("best")
    found = reasons.translated(str(raised.value))
    assert found == str(raised.value)
    assert str(tmp_path) in found.chinese
    assert not set(re.findall(r"[a-z]{3,}", found.chinese.replace(str(tmp_path), ""))) - {"checkpoints"}


def test_braces_and_patterns_of_a_name_are_text():
    found = reasons.translated("{x}.*\n(a holds no complete checkpoint: train first")
    assert found.chinese == "{x}.*\n(a 里没有完整的检查点：请先训练"


def test_an_unknown_reason_says_that_it_is_english():
    found = reasons.translated("the moon is full")
    assert (found, found.chinese) == ("the moon is full", "（原文）the moon is full")
