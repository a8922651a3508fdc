"""Elections move from an SQLite file into etcd, and their tokens keep growing.

However it breaks off, no floor is lost and at most one of the two stores can be served; the same command goes on:

1. The prefix in etcd is claimed for this file: no server makes a store of it. The file can still be served.
2. The file is marked: no server takes it for a store any more. From here on neither is served.
3. Elections and floors are written to etcd, and in the last transaction what makes a store of them.
4. The mark says that all are there. The store in etcd can be served.
"""

from atomix_election.errors import StoreError
from atomix_election.etcd.interface import Etcd
from atomix_election.stores.etcd_keys import DEFAULT_PREFIX
from atomix_election.stores.etcd_restore import claim, migrate_in
from atomix_election.stores.restored import Progress, no_progress
from atomix_election.stores.sqlite_move import LeavingFile


async def move(
    file: LeavingFile, etcd: Etcd, target: str, *, prefix: str = DEFAULT_PREFIX, progress: Progress = no_progress
) -> bool:
    """Move all elections of a file into etcd, or go on with it where it broke off.

    Args:
        file: owned for as long as this takes.
        etcd: a client that is open.
        target: what servers are told, for who looks at the file later.
        prefix: what the keys in etcd begin with. There may be no other key yet that begins so.
        progress: is told how many elections are there, and of how many.

    Returns:
        Whether there was anything left to do.

    Raises:
        StoreError: the elections went elsewhere already, the prefix is in use, or something cannot be written;
            OutcomeUnknown where it is not known whether it was. To repeat it does no harm.
    """
    moved = file.moved
    if moved is not None and moved.target != target:
        raise StoreError(
            f"the elections of this file {'were' if moved.is_complete else 'began to be'} moved to "
            f"{moved.target}: name that target in the same words"
        )
    if moved is not None and moved.is_complete:
        return False
    contents = file.read()
    if await claim(etcd, file.identity, prefix=prefix) is None:
        if moved is None:
            file.mark(target, is_complete=False)
        await migrate_in(
            etcd,
            contents.elections,
            hold_s=contents.hold_s,
            everywhere=contents.everywhere,
            namespaces=contents.namespaces,
            prefix=prefix,
            source=file.identity,
            progress=progress,
        )
    file.mark(target, is_complete=True)
    return True
