"""Principals, and what they may do. Pure."""

import hmac
from collections.abc import Iterable

import pytest

from atomix_election.core.access import (
    ANYBODY,
    NOBODY,
    ROLE_OF_METHOD,
    Access,
    Credentials,
    Principal,
    Role,
    digest_of,
    is_open,
)
from atomix_election.errors import PermissionDenied, Unauthenticated
from atomix_election.rpc.methods import (
    ADMINISTRATION_METHODS,
    ELECTION_METHODS,
    INSPECTION_METHODS,
    SESSION_METHODS,
)
from atomix_election.rpc.standard_methods import HEALTH_METHODS, REFLECTION_ALPHA_METHOD, REFLECTION_METHOD

ELECTION = "/atomix.election.v1.LeaderElection/"
SESSIONS = "/atomix_election.v1.Sessions/"
ADMINISTRATION = "/atomix_election.v1.Administration/"
INSPECTION = "/atomix_election.v1.Inspection/"
OBSERVE = {ELECTION + "GetTerm", ELECTION + "Events", INSPECTION + "List", INSPECTION + "Describe"}
TAKE_PART = (
    OBSERVE
    | {ELECTION + name for name in ("Create", "Close", "Enter", "Withdraw")}
    | {SESSIONS + name for name in ("KeepAlive", "End")}
)
ALL = TAKE_PART | {ELECTION + name for name in ("Anoint", "Promote", "Evict")} | {ADMINISTRATION + "Forget"}
OPEN = {method.path for method in (*HEALTH_METHODS.values(), REFLECTION_METHOD, REFLECTION_ALPHA_METHOD)}
MAY = {Role.OBSERVE: OBSERVE, Role.TAKE_PART: TAKE_PART, Role.ADMINISTER: ALL}

A = Principal("a", {"x": Role.OBSERVE}, frozenset({digest_of("token-a"), digest_of("token-a-new")}))
B = Principal("b", {"*": Role.TAKE_PART}, frozenset({digest_of("token-b")}), frozenset({"DNS:b.example", "CN:b"}))
C = Principal("c", {"x": Role.ADMINISTER}, certificate_names=frozenset({"URI:spiffe://example/c"}))
ACCESS = Access((A, B, C))


def authenticate(token: str | None, names: Iterable[str]) -> Principal:
    """Return who calls with these."""
    return ACCESS.authenticate(Credentials.of(token, names))


def test_every_method_of_the_wire_has_a_role() -> None:
    """One that was forgotten would need the highest, which hurts nobody but its users."""
    services = (ELECTION_METHODS, SESSION_METHODS, INSPECTION_METHODS, ADMINISTRATION_METHODS)
    assert {method.path for service in services for method in service.values()} == ALL
    assert set(ROLE_OF_METHOD) == ALL | OPEN


def test_only_what_tells_nothing_of_elections_is_open_to_anybody() -> None:
    """Health and reflection; and who comes by that way may do nothing else."""
    assert {method for method in ROLE_OF_METHOD if is_open(method)} == OPEN
    assert {method.split("/")[1] for method in OPEN} == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert not is_open("/grpc.health.v1.Health/Shutdown")
    assert not is_open("Check")
    for method in OPEN:
        assert NOBODY.may(method, "x")
        NOBODY.check(method, "x")
    assert not any(NOBODY.may(method, "x") for method in ALL)


@pytest.mark.parametrize("method", sorted(ALL))
@pytest.mark.parametrize("role", Role)
def test_what_each_role_may_do(role: Role, method: str) -> None:
    """In the namespace where it was given, and nowhere else; ``*`` is everywhere."""
    here, everywhere = Principal("p", {"here": role}), Principal("p", {"*": role})
    assert here.may(method, "here") == everywhere.may(method, "here") == (method in MAY[role])
    assert everywhere.may(method, "there") == (method in MAY[role])
    for namespace in ("there", "her", "here2", ""):
        assert not here.may(method, namespace)
    assert not here.may(method, "*")
    assert not Principal("p").may(method, "here")


def test_of_two_roles_the_higher_one_counts() -> None:
    """Whether it was given here or everywhere."""
    for roles in ({"*": Role.OBSERVE, "x": Role.ADMINISTER}, {"*": Role.ADMINISTER, "x": Role.OBSERVE}):
        assert Principal("p", roles).may(ELECTION + "Evict", "x")


def test_a_method_that_nobody_has_thought_of_needs_the_highest_role() -> None:
    """Closed by default."""
    assert not Principal("p", {"x": Role.TAKE_PART}).may("Shutdown", "x")
    assert Principal("p", {"x": Role.ADMINISTER}).may("Shutdown", "x")


def test_anybody_may_do_all() -> None:
    """Where nobody is asked."""
    assert ANYBODY.name == ""
    assert all(ANYBODY.may(method, "x") for method in ALL)


def test_a_refusal_says_what_is_missing() -> None:
    """Who, what, where and which role."""
    with pytest.raises(PermissionDenied) as denied:
        A.check(ELECTION + "Enter", "x")
    assert all(word in str(denied.value) for word in ("a may not call Enter", "'x'", "take_part"))
    A.check(ELECTION + "GetTerm", "x")


def test_a_token_is_its_owners() -> None:
    """Each of several, whole and exactly."""
    assert authenticate("token-a", ()) is authenticate("token-a-new", ()) is A
    assert authenticate("token-b", ()) is B
    for wrong in ("", "token", "token-a ", "Token-a", "token-ab", digest_of("token-a").hex(), "\N{SNOWMAN}"):
        with pytest.raises(Unauthenticated) as refused:
            authenticate(wrong, ())
        assert not wrong.strip() or wrong not in str(refused.value).replace("the token is", "")


def test_every_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after the right one was found."""
    compared: list[bytes] = []

    def compare(known: bytes, digest: bytes) -> bool:
        compared.append(known)
        return digest == known

    monkeypatch.setattr(hmac, "compare_digest", compare)
    authenticate("token-a", ())
    assert sorted(compared) == sorted(A.token_digests | B.token_digests)


def test_a_certificate_is_that_of_who_has_one_of_its_names() -> None:
    """Other names in it do not matter."""
    assert authenticate(None, {"DNS:b.example", "DNS:other.example"}) is B
    assert authenticate(None, {"URI:spiffe://example/c"}) is C


def test_a_certificate_of_nobody_or_of_several_is_refused() -> None:
    """With its names, which are no secret."""
    with pytest.raises(Unauthenticated, match=r"no principal, its names are CN:x, DNS:b\.example\.net"):
        authenticate(None, {"DNS:b.example.net", "CN:x"})
    with pytest.raises(Unauthenticated, match="several principals"):
        authenticate(None, {"CN:b", "URI:spiffe://example/c"})


def test_a_token_goes_before_a_certificate() -> None:
    """A wrong one is not made good by a certificate."""
    assert authenticate("token-a", {"CN:b"}) is A
    with pytest.raises(Unauthenticated):
        authenticate("wrong", {"CN:b"})


def test_without_credentials() -> None:
    """The message says which there are."""
    with pytest.raises(Unauthenticated, match=r"no credentials.*authorization: Bearer TOKEN.*certificate"):
        authenticate(None, ())


def test_no_digest_is_shown() -> None:
    """Not that it would help anybody."""
    assert digest_of("token-a").hex() not in repr(ACCESS)
    assert "digest" not in repr(ACCESS)


def test_credentials_prove_to_be_the_same_principal_or_nothing() -> None:
    """Whatever they were good for before."""
    of_a, of_b, of_c = (
        Credentials.of("token-a", ()),
        Credentials.of(None, {"CN:b", "CN:other"}),
        Credentials.of(None, {"URI:spiffe://example/c"}),
    )
    renamed = Principal("renamed", B.roles, B.token_digests, B.certificate_names)
    changed = Access((Principal("a", {"y": Role.OBSERVE}, A.token_digests - {of_a.token_digest or b""}), renamed, C))
    for name, credentials in (("a", of_a), ("b", of_b), ("c", of_c)):
        found = ACCESS.recognise(name, credentials)
        assert found is not None
        assert found.name == name
    assert changed.recognise("a", of_a) is None
    assert changed.recognise("a", Credentials.of("token-a-new", ())) is changed.principals[0]
    assert changed.recognise("b", of_b) is None
    assert changed.recognise("c", of_c) is C
    assert changed.recognise("a", Credentials()) is None


def test_who_may_have_a_session() -> None:
    """Whoever may take part there."""
    assert not A.may_have_session("x")
    assert B.may_have_session("x")
    assert B.may_have_session("y")
    assert C.may_have_session("x")
    assert not C.may_have_session("y")
    assert ANYBODY.may_have_session("x")
    assert not NOBODY.may_have_session("x")


def test_credentials_do_not_show_the_token() -> None:
    """Nor its digest; one with a token has nothing else."""
    credentials = Credentials.of("token-a", {"CN:b"})
    assert credentials == Credentials.of("token-a", ())
    assert "token_digest" not in repr(credentials)
