from __future__ import annotations

import pytest

from quarterdeck.core.errors import InvalidInput
from quarterdeck.net.written import check_written


@pytest.mark.parametrize(
    "url",
    [
        "https://crm.example",
        "https://crm.example:8443/hook?a=1&b=%20",
        "HTTPS://CRM.Example./hook",
        "http://hooks_a.internal:9000/x;y=(1)",
        "https://xn--mnchen-3ya.example/",
        "http://10.0.0.7/hook",
        "http://[2001:db8::1]:80/",
        "https://localhost/",
    ],
)
def test_address_that_can_be_read_in_one_way_is_taken(url: str) -> None:
    check_written(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://crm.example/a b", "a space"),
        (" https://crm.example/", "a space at position 0"),
        ("https://crm.example/a\x00b", "0x00"),
        ("https://crm.example/\r\nX-Evil: 1", "0x0d"),
        ("https://crm.example/\x7f", "0x7f"),
        ("https://crm.example\\@evil.example/", "0x5c"),
        ("https://münchen.example/", "U+00FC"),
        ("https://１２７.0.0.1/", "U+FF11"),
        ("https://crm.example/\u202ex", "U+202E"),
        ("https://crm.example/\ud800", "U+D800"),
        ("https://crm.example/%zz", "escape"),
        ("https://crm.example/%0D%0AX: y".replace(" ", ""), "escape"),
        ("https://crm.example/%00", "escape"),
        ("https://crm.example/#part", "fragment"),
        ("https://crm.example/#", "fragment"),
        ("https://emma:secret@crm.example/", "no user"),
        ("https://@crm.example/", "no user"),
        ("https://crm.example:99999/", "port"),
        ("https://crm.example:x/", "port"),
        ("https://[::1/", "malformed"),
        ("ftp://crm.example/", "must begin"),
        ("javascript:alert(1)", "must begin"),
        ("//crm.example/", "must begin"),
        ("https:///hook", "must begin"),
        ("https://a..b/", "no name"),
        ("https://-crm.example/", "no name"),
        ("https://" + "a" * 64 + ".example/", "no name"),
        ("https://" + "a." * 130 + "example/", "no name"),
        ("https://xn--a.example/", "xn--"),
        ("https://0x7f.1/", "address"),
        ("https://2130706433/", "address"),
        ("https://127.1/", "address"),
        ("https://crm.example/" + "a" * 2_000, "2020 characters"),
    ],
)
def test_address_that_could_be_read_in_two_ways_is_refused_with_the_reason(url: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_written(url)

    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
