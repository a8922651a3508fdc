"""Messages to values and back; thin, nothing is decided here."""

from atomix_election.etcd._generated import etcdserverpb as pb
from atomix_election.etcd._generated import mvccpb
from atomix_election.etcd.values import (
    Change,
    Compare,
    Delete,
    DeleteResult,
    Get,
    GetResult,
    Header,
    KeyValue,
    Operation,
    OperationResult,
    Put,
    PutResult,
    Target,
    WatchEvent,
)

_NO_HEADER = pb.ResponseHeader()


def header_of(message: pb.ResponseHeader | None) -> Header:
    """Return a header."""
    message = message or _NO_HEADER
    return Header(message.cluster_id, message.member_id, message.revision, message.raft_term)


def item_of(message: mvccpb.KeyValue) -> KeyValue:
    """Return a key and what it holds."""
    return KeyValue(
        message.key, message.value, message.create_revision, message.mod_revision, message.version, message.lease
    )


def event_of(message: mvccpb.Event) -> WatchEvent:
    """Return a change of a key."""
    previous = None if message.prev_kv is None else item_of(message.prev_kv)
    return WatchEvent(Change(int(message.type)), item_of(message.kv or mvccpb.KeyValue()), previous)


def range_request(get: Get) -> pb.RangeRequest:
    """Return the message for a read."""
    return pb.RangeRequest(
        key=get.key,
        range_end=get.end,
        limit=get.limit,
        revision=get.revision,
        serializable=get.serializable,
        keys_only=get.keys_only,
        count_only=get.count_only,
    )


def put_request(put: Put) -> pb.PutRequest:
    """Return the message for a write."""
    return pb.PutRequest(key=put.key, value=put.value, lease=put.lease, prev_kv=put.previous)


def delete_request(delete: Delete) -> pb.DeleteRangeRequest:
    """Return the message for a deletion."""
    return pb.DeleteRangeRequest(key=delete.key, range_end=delete.end, prev_kv=delete.previous)


def request_op(operation: Operation) -> pb.RequestOp:
    """Return the message for an operation in a transaction."""
    match operation:
        case Get():
            return pb.RequestOp(request_range=range_request(operation))
        case Put():
            return pb.RequestOp(request_put=put_request(operation))
        case Delete():
            return pb.RequestOp(request_delete_range=delete_request(operation))


_OPERAND_FIELDS = {
    Target.VERSION: "version",
    Target.CREATE_REVISION: "create_revision",
    Target.MOD_REVISION: "mod_revision",
    Target.VALUE: "value",
    Target.LEASE: "lease",
}


def compare_message(compare: Compare) -> pb.Compare:
    """Return the message for a condition."""
    message = pb.Compare(
        result=pb.CompareCompareResult(compare.relation.value),
        target=pb.CompareCompareTarget(compare.target.value),
        key=compare.key,
        range_end=compare.end,
    )
    setattr(message, _OPERAND_FIELDS[compare.target], compare.operand)
    return message


def get_result(message: pb.RangeResponse) -> GetResult:
    """Return what was read."""
    return GetResult(header_of(message.header), tuple(map(item_of, message.kvs)), message.more, message.count)


def put_result(message: pb.PutResponse) -> PutResult:
    """Return what a write did."""
    return PutResult(header_of(message.header), None if message.prev_kv is None else item_of(message.prev_kv))


def delete_result(message: pb.DeleteRangeResponse) -> DeleteResult:
    """Return what a deletion did."""
    return DeleteResult(header_of(message.header), message.deleted, tuple(map(item_of, message.prev_kvs)))


def operation_result(message: pb.ResponseOp) -> OperationResult | None:
    """Return what an operation in a transaction did; None where the answer does not say."""
    if message.response_range is not None:
        return get_result(message.response_range)
    if message.response_put is not None:
        return put_result(message.response_put)
    if message.response_delete_range is not None:
        return delete_result(message.response_delete_range)
    return None
