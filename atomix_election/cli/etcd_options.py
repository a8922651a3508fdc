"""Options that say which etcd is meant, and how it is spoken to."""

import argparse
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from atomix_election.engines import open_etcd
from atomix_election.tls import ClientTls

if TYPE_CHECKING:
    from atomix_election.etcd import EtcdClient


def add_etcd_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how etcd is spoken to."""
    for option, what in (
        ("--store-ca", "authorities to trust for an etcds:// store, in place of the system's"),
        ("--store-certificate", "certificate to show to etcd"),
        ("--store-key", "the key to it, where it is in another file"),
        ("--store-token-file", "file with USER:PASSWORD for etcd"),
    ):
        parser.add_argument(option, metavar="FILE", help=what)


def add_etcd_target(parser: argparse.ArgumentParser) -> None:
    """Add the argument that says which store in etcd is meant, and the options of ``add_etcd_options``."""
    what = "the store: etcd://HOST:PORT[,HOST:PORT][/PREFIX], or etcds:// for TLS"
    parser.add_argument("store", metavar="ETCD_TARGET", help=what)
    add_etcd_options(parser)


def etcd_tls(options: argparse.Namespace) -> ClientTls | None:
    """Return the certificates for etcd that the options name."""
    if options.store_ca or options.store_certificate or options.store_key:
        return ClientTls(options.store_ca, options.store_certificate, options.store_key)
    return None


def etcd_token(options: argparse.Namespace) -> Path | None:
    """Return the file with user and password for etcd that the options name."""
    return Path(options.store_token_file) if options.store_token_file else None


def opening_etcd(options: argparse.Namespace) -> "AbstractAsyncContextManager[tuple[EtcdClient, str]]":
    """Open etcd as the options of ``add_etcd_target`` say, and give a client and the prefix of the store."""
    return open_etcd(options.store, tls=etcd_tls(options), token=etcd_token(options))
