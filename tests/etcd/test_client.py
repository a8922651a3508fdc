"""What the client does on a healthy etcd."""

from atomix_election.etcd import EtcdClient, Get, Put


async def test_what_was_written_is_read(client: EtcdClient, prefix: bytes) -> None:
    key = prefix + b"a"
    written = await client.put(Put(key, b"1"))
    read = await client.get(Get(key))
    assert [each.value for each in read.items] == [b"1"]
    assert read.items[0].mod_revision == written.header.revision
