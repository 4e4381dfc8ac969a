"""Each kind of flag, as absl then reads it."""

from pathlib import Path

import pytest
from absl import flags

from alexnet_jax.commands import flags as own
from alexnet_jax.commands.flags import Flag


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> flags.FlagValues:
    """Replace the program's flags of absl by none."""
    values = flags.FlagValues()
    monkeypatch.setattr(own, "FLAGS", values)
    for name in ("DEFINE", "DEFINE_bool", "DEFINE_integer", "DEFINE_list", "DEFINE_multi", "DEFINE_string"):
        define = getattr(flags, name)
        monkeypatch.setattr(
            own.flags, name, lambda *a, define=define, **k: define(*a, flag_values=values, **k)
        )
    return values


@pytest.mark.parametrize(
    ("flag", "typed", "absent", "given"),
    [
        (Flag("json", "", "switch"), ["--json"], False, True),
        (Flag("split", ""), ["--split=train[:5]"], "", "train[:5]"),
        (Flag("which", "", default="best"), ["--which=12"], "best", "12"),
        (Flag("count", "", "integer", default=20), ["--count=3"], 20, 3),
        (Flag("layers", "", "names"), ["--layers=conv1,fc6"], [], ["conv1", "fc6"]),
        (Flag("output", "", "path"), ["--output=~/a.png"], "", str(Path.home() / "a.png")),
        (Flag("runs", "", "paths"), ["--runs=a", "--runs=~/b"], [], ["a", str(Path.home() / "b")]),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_flag(known: flags.FlagValues, flag: Flag, typed: list[str], absent: object, given: object) -> None:
    flag.define()
    flag.define()  # a second command that reads it changes nothing
    known(["program"])
    assert known[flag.name].value == absent
    known(["program", *typed])
    assert known[flag.name].value == given


def test_an_integer_below_its_minimum_is_refused(known: flags.FlagValues) -> None:
    Flag("steps", "", "integer", default=0, minimum=0).define()
    with pytest.raises(flags.IllegalFlagValueError, match="-1"):
        known(["program", "--steps=-1"])


def test_config_is_not_defined_before_its_file_is_read(known: flags.FlagValues) -> None:
    own.CONFIG.define()
    assert "config" not in known
