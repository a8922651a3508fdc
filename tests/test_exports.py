"""What users may import, and that they are given its types."""

import ast
import inspect
from importlib.resources import files
from pathlib import Path

import pytest

import atomix_election
from atomix_election import ElectionError, errors, stores, sync, testing

DESIGNED = {
    "CandidateTaken",
    "Client",
    "ElectionError",
    "ElectionServer",
    "Event",
    "EventType",
    "InvalidRequest",
    "LeaderElection",
    "LeadershipLost",
    "LimitExceeded",
    "LossReason",
    "NotACandidate",
    "NotOwner",
    "OutcomeUnknown",
    "PermissionDenied",
    "SessionEnded",
    "StoreError",
    "Term",
    "Unauthenticated",
    "Unavailable",
    "connect",
}


# What the package imports for its own use.
OWN = {"TYPE_CHECKING", "import_module"}


def _public_names(module: object) -> set[str]:
    return {name for name in dir(module) if name[0] != "_" and not inspect.ismodule(getattr(module, name))} - OWN


def test_what_is_imported_is_exported() -> None:
    """``__all__`` has every public name of the package, once, in order (constants first), and nothing else."""
    for module in (atomix_election, stores, sync, testing):
        assert sorted(set(module.__all__), key=lambda name: (not name.isupper(), name)) == module.__all__
        assert set(module.__all__) == _public_names(module)


def test_names_are_where_type_checkers_look_for_them() -> None:
    """Those that are imported at their first use are what the imports for type checkers say."""
    (block,) = (
        node
        for node in ast.parse(Path(atomix_election.__file__).read_text()).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    )
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    said = {name.name: node.module for node in imports for name in node.names}
    assert said == {name: f"atomix_election.{module}" for name, module in atomix_election._MODULE_OF.items()}


def test_there_are_no_other_names() -> None:
    """And the error is the usual one, which ``hasattr`` and ``from atomix_election import`` expect."""
    with pytest.raises(AttributeError, match="module 'atomix_election' has no attribute 'LeaderElections'"):
        _ = atomix_election.LeaderElections  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="LeaderElections"):
        exec("from atomix_election import LeaderElections")


def test_what_the_design_names_is_there() -> None:
    """Users rely on these."""
    assert set(atomix_election.__all__) >= DESIGNED


def test_every_error_can_be_imported_from_the_top() -> None:
    """And each is an ElectionError, so that one except clause catches all."""
    found = {
        name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)
    }
    assert len(found) >= 13
    for name, error in found.items():
        assert issubclass(error, ElectionError)
        assert getattr(atomix_election, name) is error


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    """The drawing in ``errors.py`` names every error."""
    drawn = errors.__doc__ or ""
    for name in {each for each in atomix_election.__all__ if isinstance(getattr(errors, each, None), type)}:
        if issubclass(getattr(errors, name), ElectionError):
            assert f" {name} " in f" {drawn} ".replace("\n", " "), name


def test_the_blocking_face_has_the_same_names() -> None:
    """So that one import is changed, and the words `async` and `await` go."""
    assert set(sync.__all__) == set(atomix_election.__all__) | {"Events"}
    for name in ("Client", "LeaderElection", "Leadership", "ElectionServer"):
        inside = {
            "close",
            "keeper",
            "service",
            "inspection",
            "candidates",
            "candidates_if_any",
            "call",
            "write",
            "leads",
            "is_forked",
        }
        ours = {each for each in vars(getattr(sync, name)) if each[0] != "_"}
        theirs = {each for each in vars(getattr(atomix_election, name)) if each[0] != "_"}
        assert theirs - inside <= ours, name


def test_names_are_exported_explicitly() -> None:
    """``import x as x``, which type checkers take for a public name."""
    for module in (atomix_election, stores, sync, testing):
        tree = ast.parse(Path(module.__file__ or "").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("atomix_election."):
                assert all(name.asname == name.name for name in node.names)


def test_the_package_is_typed() -> None:
    """The marker of PEP 561 is part of the package."""
    assert (files(atomix_election) / "py.typed").is_file()


def test_public_names_are_documented() -> None:
    """Each has a docstring, and so has each of its public methods."""
    for public in [getattr(module, name) for module in (atomix_election, sync) for name in module.__all__]:
        name = f"{public.__module__}.{public.__name__}"
        assert inspect.getdoc(public), name
        if inspect.isclass(public):
            for member, value in vars(public).items():
                if member[0] != "_" and (inspect.isfunction(value) or isinstance(value, property)):
                    assert inspect.getdoc(value), f"{name}.{member}"
