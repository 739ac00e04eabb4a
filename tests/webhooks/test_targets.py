"""Where webhooks may go."""

from __future__ import annotations

import pytest

from omium.errors import ConfigError, InputError
from omium.webhooks.targets import ADDRESSES_MAX, allowed, reachable, target

NOBODY = allowed(())
LISTED = allowed(["hooks.internal", "*.corp.example", "127.0.0.1", "10.0.0.0/8", "fd00::/8"])
PUBLIC = "93.184.215.14"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "http://93.184.215.14/",
        "https://localhost/",
        "https://a.localhost./",
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data",
        "https://0.0.0.0/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[fe80::1]/",
        "https://[fec0::1]/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://100.64.0.1/",
    ],
)
def test_what_is_not_public_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        target(url, NOBODY)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com/",
        "https://",
        "https:///path",
        "https://user:pass@example.com/",
        "https://user@example.com/",
        "https://example.com/#fragment",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:x/",
        "https://exa mple.com/",
        "https://exämple.com/",
        "https://example.com/ä",
        "https://[::1",
        "https://example..com/",
        "https://example.com/" + "a" * 2_000,
    ],
)
def test_what_is_no_url_of_a_receiver_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        target(url, LISTED)


def test_a_url_is_taken_apart() -> None:
    found = target("https://Example.COM:8443/a/b?c=d", NOBODY)
    assert (found.host, found.port, found.path) == ("example.com", 8443, "/a/b?c=d")
    assert found.authority == "example.com:8443"
    assert target("https://example.com", NOBODY).authority == "example.com"
    assert target("https://[2606:4700::1]/", NOBODY).authority == "[2606:4700::1]"


@pytest.mark.parametrize(
    "url, address",
    [
        ("http://hooks.internal/", "192.168.1.1"),
        ("http://a.corp.example:8080/", "172.16.0.1"),
        ("http://127.0.0.1:9000/", "127.0.0.1"),
        ("https://10.1.2.3/", "10.1.2.3"),
        ("http://[fd00::1]/", "fd00::1"),
        ("https://example.com/", PUBLIC),
        ("https://example.com/", "10.1.2.3"),
    ],
)
def test_what_is_listed_is_reached(url: str, address: str) -> None:
    assert reachable(target(url, LISTED), [address], LISTED) == [address]


def test_all_that_a_name_stands_for_is_checked() -> None:
    aim = target("https://example.com/", NOBODY)
    assert reachable(aim, [PUBLIC, "2606:4700::1"], NOBODY) == [PUBLIC, "2606:4700::1"]
    assert len(reachable(aim, [f"8.8.8.{n // 2}" for n in range(20)], NOBODY)) == ADDRESSES_MAX
    for addresses in (["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["fe80::1%2"], ["::"], ["what"], []):
        with pytest.raises(InputError):
            reachable(aim, addresses, NOBODY)


def test_a_listing_of_names_is_exact() -> None:
    for host in ("corp.example", "evilcorp.example", "hooks.internal.evil.com", "xhooks.internal"):
        with pytest.raises(InputError):
            target(f"http://{host}/", LISTED)
    aim = target("https://hooks.internal./", LISTED)
    assert reachable(aim, ["127.0.0.5"], LISTED) == ["127.0.0.5"]


@pytest.mark.parametrize("host", ["", "*", "*.", "a b", "http://a", "10.0.0.1/8", "a/8"])
def test_a_setting_that_names_nothing_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="webhook_hosts"):
        allowed([host])
