"""Where a client's token comes from, and where it does not go."""

import os
import re
from pathlib import Path

import pytest

from atomix_election.errors import InvalidRequest, Unauthenticated
from atomix_election.tokens import MAX_TOKEN_CHARACTERS, new_token, token_source


def test_new_tokens_differ_and_can_be_sent() -> None:
    """With 256 bits of chance."""
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    for token in tokens:
        assert len(token) >= 43
        assert token_source(token)() == token


@pytest.mark.parametrize("bad", ["", " ", "two words", "se\ncret", "se\0cret", "s\N{SNOWMAN}cret"])
def test_what_cannot_be_a_token(bad: str, tmp_path: Path) -> None:
    """It is refused without being shown, also in a file."""
    with pytest.raises(InvalidRequest) as refused:
        token_source(bad)
    file = tmp_path / "t"
    file.write_text(bad, encoding="utf-8")
    with pytest.raises(InvalidRequest, match=re.escape(str(file))) as refused_file:
        token_source(file)
    for message in (str(refused.value), str(refused_file.value)):
        assert "cret" not in message
        assert "two" not in message


def test_a_token_is_not_too_long() -> None:
    """It has to fit the headers."""
    token_source("a" * MAX_TOKEN_CHARACTERS)
    with pytest.raises(InvalidRequest, match="4097 characters, the limit is 4096"):
        token_source("a" * (MAX_TOKEN_CHARACTERS + 1))


def test_a_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    """Written over or replaced, with white space around the token or not; and not when it did not."""
    file = tmp_path / "token"
    file.write_text("first\n")
    token = token_source(file)
    assert token() == "first"
    status = file.stat()
    file.write_text("other\n")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert token() == "first", "nothing shows that it changed, so it is not read for each call"
    file.write_text("  second  ")
    assert token() == "second"
    replacement = tmp_path / "new"
    replacement.write_text("third.")
    replacement.replace(file)
    assert token() == "third."


def test_a_file_that_has_gone_is_no_credential(tmp_path: Path) -> None:
    """Said as such, until it is back."""
    file = tmp_path / "token"
    with pytest.raises(InvalidRequest, match="cannot be read: No such file"):
        token_source(file)
    file.write_text("secret")
    token = token_source(file)
    file.unlink()
    with pytest.raises(Unauthenticated, match="cannot be read: No such file"):
        token()
    file.write_text("")
    with pytest.raises(Unauthenticated, match="is empty"):
        token()
    file.write_text("back")
    assert token() == "back"
    assert "back" not in repr(token)
