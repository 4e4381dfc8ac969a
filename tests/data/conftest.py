"""The toy dataset, written once for all tests of reading."""

import pytest
from ml_collections import ConfigDict

from tests.data.toy import config_for, write_dataset


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> ConfigDict:
    config = config_for(tmp_path_factory.mktemp("raw"), "raw", 3)
    write_dataset(config)
    return config


@pytest.fixture(scope="session")
def jpeg(tmp_path_factory: pytest.TempPathFactory) -> ConfigDict:
    config = config_for(tmp_path_factory.mktemp("jpeg"), "jpeg", 3)
    write_dataset(config)
    return config
