"""The access file: what it may say, and at which line it is refused."""

import pytest

from atomix_election.core.access import Access, Principal, Role, digest_of
from atomix_election.core.access_file import MAX_TOKENS, parse_access
from atomix_election.errors import InvalidRequest

DIGEST = digest_of("a").hex()
OTHER = digest_of("b").hex()

GOOD = f"""
# Who may do what.
[principals.reporting]
token_sha256 = ["{DIGEST}", "{OTHER}"]
certificate = ["DNS:r.example", "URI:spiffe://example/r", "CN:Reporting Service", "email:a@b.example"]
take_part = ["reports", "default"]
observe = ["*", "reports"]

[principals."alice@example.org"]
certificate = ["CN:alice"]
administer = ["*"]
"""


def test_what_a_file_may_say() -> None:
    """Of two roles in one namespace the higher one counts."""
    assert parse_access(GOOD) == Access(
        (
            Principal(
                "reporting",
                {"*": Role.OBSERVE, "reports": Role.TAKE_PART, "default": Role.TAKE_PART},
                frozenset({digest_of("a"), digest_of("b")}),
                frozenset({"DNS:r.example", "URI:spiffe://example/r", "CN:Reporting Service", "email:a@b.example"}),
            ),
            Principal("alice@example.org", {"*": Role.ADMINISTER}, certificate_names=frozenset({"CN:alice"})),
        )
    )


def principal(*lines: str, name: str = "p") -> str:
    """Return the text of one principal that is good but for these lines."""
    keys = {line.partition("=")[0].strip() for line in lines}
    good = {"token_sha256": f'token_sha256 = ["{DIGEST}"]', "observe": 'observe = ["x"]'}
    return "\n".join([f"[principals.{name}]", *(line for key, line in good.items() if key not in keys), *lines])


BAD = {
    "": (1, "no principals"),
    "principals = 1": (1, "no principals"),
    "[principals]\n": (1, "no principals"),
    "\n\n[principal.p]\nobserve = []": (3, "'principal' is not known"),
    f"{principal()}\n\n[other]\n": (5, "'other' is not known"),
    "[principals]\np = 1": (2, "'p' is not a table"),
    principal("roles = []"): (4, "'roles' is not known, known are token_sha256, certificate, observe, take_part"),
    principal('observe = "x"'): (3, "observe must be a list of strings"),
    principal("observe = [1]"): (3, "observe must be a list of strings"),
    principal('observe = [""]'): (3, "a namespace is empty"),
    principal('observe = ["a b ", "c"]'): (3, "a namespace 'a b ' has"),
    principal("observe = []"): (1, "p has no role"),
    principal("token_sha256 = []"): (1, "p has neither token_sha256 nor certificate"),
    principal('token_sha256 = ["secret"]'): (3, "64 lower-case hexadecimal digits"),
    principal(f'token_sha256 = ["{DIGEST.upper()}"]'): (3, "64 lower-case hexadecimal digits"),
    principal('certificate = ["p.example"]'): (4, "'p.example' is no name of a certificate, which are CN:…, DNS:…"),
    principal('certificate = ["DNS:"]'): (4, "'DNS:' is no name"),
    f"{principal()}\n{principal(name='q')}": (5, "q and p have the same token_sha256"),
    principal(name='" "'): (1, "a principal's name"),
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_refused(text: str) -> None:
    """With line and reason, and without what may be a secret."""
    line, reason = BAD[text]
    with pytest.raises(InvalidRequest) as refused:
        parse_access(text)
    assert str(refused.value).startswith(f"line {line}: "), refused.value
    assert reason in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(("text", "line"), [("\na = [1,,2]", 2), ("[a]\n[b]\n[a]", 3), ('a = "\n"', 1)])
def test_what_is_no_toml(text: str, line: int) -> None:
    """In tomllib's words."""
    with pytest.raises(InvalidRequest, match=f"this is not TOML: .*line {line}, column") as refused:
        parse_access(text)
    assert refused.value.__cause__ is None


def test_the_names_of_certificates_are_somebodys() -> None:
    """As tokens are."""
    text = '[principals.{0}]\ncertificate = ["CN:x"]\nobserve = ["*"]\n'
    with pytest.raises(InvalidRequest, match="line 5: q and p have the same certificate"):
        parse_access(text.format("p") + text.format("q"))


def test_the_number_of_tokens_is_limited() -> None:
    """As each call is compared with all of them."""
    digests = ", ".join(f'"{digest_of(str(number)).hex()}"' for number in range(MAX_TOKENS + 1))
    with pytest.raises(InvalidRequest, match=f"there are {MAX_TOKENS + 1} tokens, the limit"):
        parse_access(principal(f"token_sha256 = [{digests}]"))
