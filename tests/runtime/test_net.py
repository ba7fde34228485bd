"""Which hosts are this machine."""

import pytest

from latentwire.runtime.net import is_loopback


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost", "localhost.", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
)
def test_this_machine(host: str):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "192.0.2.1", "0.0.0.0", "::", "::ffff:192.0.2.1", "localhost.evil.test", "127.0.0.1.evil.test", "[::1]"],
)
def test_other_machines(host: str):
    assert not is_loopback(host)
