"""A client of etcd for asyncio, which knows nothing of elections.

It is narrow on purpose, so that a library can take its place the day there is a well-kept one: ``EtcdClient``, the
values that go in and come out, and the errors.

    async with EtcdClient([("10.0.0.1", 2379), ("10.0.0.2", 2379)]) as etcd:
        seen = await etcd.get(Get(b"jobs/", prefix_end(b"jobs/")))
        await etcd.txn([absent(b"jobs/1")], [Put(b"jobs/1", b"mine")])
        async with etcd.watch(b"jobs/", prefix_end(b"jobs/"), start_revision=seen.header.revision + 1) as batches:
            async for batch in batches:
                ...
"""

from atomix_election.etcd.client import MAX_WATCHES as MAX_WATCHES
from atomix_election.etcd.client import EtcdClient as EtcdClient
from atomix_election.etcd.errors import Compacted as Compacted
from atomix_election.etcd.errors import EtcdError as EtcdError
from atomix_election.etcd.errors import EtcdMalformed as EtcdMalformed
from atomix_election.etcd.errors import EtcdOutcomeUnknown as EtcdOutcomeUnknown
from atomix_election.etcd.errors import EtcdPermissionDenied as EtcdPermissionDenied
from atomix_election.etcd.errors import EtcdRefused as EtcdRefused
from atomix_election.etcd.errors import EtcdUnauthenticated as EtcdUnauthenticated
from atomix_election.etcd.errors import EtcdUnavailable as EtcdUnavailable
from atomix_election.etcd.errors import FutureRevision as FutureRevision
from atomix_election.etcd.errors import LeaseExists as LeaseExists
from atomix_election.etcd.errors import LeaseNotFound as LeaseNotFound
from atomix_election.etcd.errors import WentBack as WentBack
from atomix_election.etcd.values import Change as Change
from atomix_election.etcd.values import Compare as Compare
from atomix_election.etcd.values import Delete as Delete
from atomix_election.etcd.values import DeleteResult as DeleteResult
from atomix_election.etcd.values import Endpoint as Endpoint
from atomix_election.etcd.values import Get as Get
from atomix_election.etcd.values import GetResult as GetResult
from atomix_election.etcd.values import Header as Header
from atomix_election.etcd.values import KeyValue as KeyValue
from atomix_election.etcd.values import Lease as Lease
from atomix_election.etcd.values import LeaseState as LeaseState
from atomix_election.etcd.values import Operation as Operation
from atomix_election.etcd.values import OperationResult as OperationResult
from atomix_election.etcd.values import Put as Put
from atomix_election.etcd.values import PutResult as PutResult
from atomix_election.etcd.values import Relation as Relation
from atomix_election.etcd.values import Status as Status
from atomix_election.etcd.values import Target as Target
from atomix_election.etcd.values import TxnResult as TxnResult
from atomix_election.etcd.values import WatchBatch as WatchBatch
from atomix_election.etcd.values import WatchEvent as WatchEvent
from atomix_election.etcd.values import absent as absent
from atomix_election.etcd.values import exists as exists
from atomix_election.etcd.values import none_of as none_of
from atomix_election.etcd.values import prefix_end as prefix_end
from atomix_election.etcd.values import unchanged as unchanged
from atomix_election.etcd.watch import Watch as Watch

__all__ = [
    "MAX_WATCHES",
    "Change",
    "Compacted",
    "Compare",
    "Delete",
    "DeleteResult",
    "Endpoint",
    "EtcdClient",
    "EtcdError",
    "EtcdMalformed",
    "EtcdOutcomeUnknown",
    "EtcdPermissionDenied",
    "EtcdRefused",
    "EtcdUnauthenticated",
    "EtcdUnavailable",
    "FutureRevision",
    "Get",
    "GetResult",
    "Header",
    "KeyValue",
    "Lease",
    "LeaseExists",
    "LeaseNotFound",
    "LeaseState",
    "Operation",
    "OperationResult",
    "Put",
    "PutResult",
    "Relation",
    "Status",
    "Target",
    "TxnResult",
    "Watch",
    "WatchBatch",
    "WatchEvent",
    "WentBack",
    "absent",
    "exists",
    "none_of",
    "prefix_end",
    "unchanged",
]
