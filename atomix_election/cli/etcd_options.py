"""Options that say which etcd is meant, and how it is spoken to."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from atomix_election.cli.frame import Option
from atomix_election.cli.options import with_options
from atomix_election.tls import ClientTls

if TYPE_CHECKING:
    from atomix_election.etcd import EtcdClient

_OPTIONS = {
    "--store-ca": "authorities to trust for an etcds:// store, in place of the system's",
    "--store-certificate": "certificate to show to etcd",
    "--store-key": "the key to it, where it is in another file",
    "--store-token-file": "file with USER:PASSWORD for etcd",
}


class EtcdOptions(NamedTuple):
    """How etcd is spoken to: the options of ``etcd_options``."""

    store_ca: str | None
    store_certificate: str | None
    store_key: str | None
    store_token_file: str | None

    def tls(self) -> ClientTls | None:
        """Return the certificates for etcd that the options name."""
        if self.store_ca or self.store_certificate or self.store_key:
            return ClientTls(self.store_ca, self.store_certificate, self.store_key)
        return None

    def token(self) -> Path | None:
        """Return the file with user and password for etcd that the options name."""
        return Path(self.store_token_file) if self.store_token_file else None

    def opening(self, store: str) -> "AbstractAsyncContextManager[tuple[EtcdClient, str]]":
        """Open etcd, and give a client and the prefix of the store."""
        from atomix_election.engines import open_etcd  # needed by nothing that only reads help

        return open_etcd(store, tls=self.tls(), token=self.token())


def etcd_options(function: Callable[..., int]) -> Callable[..., int]:
    """Add the options that say how etcd is spoken to; the function gets them as ``etcd``."""

    @wraps(function)
    def with_etcd(**values: Any) -> int:
        return function(etcd=EtcdOptions(**{name: values.pop(name) for name in EtcdOptions._fields}), **values)

    return with_options(with_etcd, [_file_option(option, what) for option, what in _OPTIONS.items()])


def _file_option(option: str, what: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    return click.option(
        option,
        cls=Option,
        section="How etcd is reached",
        metavar="FILE",
        envvar="ATOMIX_ELECTION" + option[1:].replace("-", "_").upper(),
        show_envvar=True,
        help=what,
    )


etcd_argument: Callable[[Callable[..., int]], Callable[..., int]] = click.argument(
    "store", metavar="ETCD_TARGET", help="the store: etcd://HOST:PORT[,HOST:PORT][/PREFIX], or etcds:// for TLS"
)
