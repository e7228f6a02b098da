"""The oldest transformers that DepthVLM runs on."""

import pytest

from depthvlm_bench.depthvlm.versions import check_transformers
from depthvlm_bench.errors import UsageError


@pytest.mark.parametrize("found", ["5.2.0", "5.22.2", "4.57.6", "5.9.0.dev0"])
def test_an_older_transformers_is_refused_with_the_command(found: str) -> None:
    with pytest.raises(UsageError, match=rf"{found} is too old.*pip install") as caught:
        check_transformers(found)
    assert 'pip install "transformers>=5.23"' in str(caught.value)


@pytest.mark.parametrize("found", ["5.23.0", "5.24.1.dev0", "6.0.0", "10.1"])
def test_a_newer_transformers_is_taken(found: str) -> None:
    check_transformers(found)


def test_the_package_can_be_imported_whatever_is_installed() -> None:
    check_transformers()
