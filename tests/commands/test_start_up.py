"""What is set before JAX starts."""

import os
from pathlib import Path

import pytest

from alexnet_jax import runtime
from alexnet_jax.commands import start_up
from alexnet_jax.config import resolve
from alexnet_jax.errors import UsageError
from configs import digits
from tests.commands.helpers import parse


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache would lie; the environment is as it was afterwards."""
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "JAX_ENABLE_X64"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("XLA_FLAGS", "--first")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(runtime, "retain_malloc_heap", lambda: True)
    return tmp_path / "cache"


def test_compiled_programs_are_kept(base: Path) -> None:
    start_up.before_jax(digits.get_config())
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(base / "alexnet_jax")
    assert os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "0"


def test_compiled_programs_are_not_kept_where_compiling_is_measured(base: Path) -> None:
    start_up.before_jax(digits.get_config(), keep_compiled=False)
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
    assert not base.exists()


def test_an_unsafe_cache_is_reported_and_not_used(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (base / "alexnet_jax").mkdir(parents=True)
    (base / "alexnet_jax").chmod(0o777)
    start_up.before_jax(digits.get_config())
    assert "alexnet_jax: compiled programs are not kept" in capsys.readouterr().err
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_deterministic_operations_are_added_to_the_flags() -> None:
    start_up.before_jax(digits.get_config())
    assert os.environ["XLA_FLAGS"] == "--first"
    start_up.before_jax(resolve.replace(digits.get_config(), {"train.deterministic": True}))
    assert os.environ["XLA_FLAGS"].split() == ["--first", "--xla_gpu_deterministic_ops=true"]


def test_float64_needs_jax_to_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    config = resolve.replace(digits.get_config(), {"model.compute_dtype": "float64"})
    with pytest.raises(UsageError, match="needs JAX_ENABLE_X64=1"):
        start_up.before_jax(config)
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    start_up.before_jax(config)


@pytest.mark.parametrize(
    ("typed", "notice"),
    [
        (["--config.evaluate.batch_size=7", "--config.mesh.model=1"], ""),
        (
            ["--config.mesh.model=1", "--config.data.mean=none"],
            "{run} was not trained with config.data.mean=none\n",
        ),
    ],
)
def test_a_changed_net_is_said(
    small_run: Path, typed: list[str], notice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    request = parse(["predict", f"--workdir={small_run}", *typed, "x.png"])
    assert start_up.load_net(request).step == 12
    assert capsys.readouterr().err == notice.format(run=small_run)
