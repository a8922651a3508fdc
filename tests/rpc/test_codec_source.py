"""What is compiled for a class, to be read."""

from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc.codec_source import decoder_source, encoder_source

ENCODER = """\
def encode(message):
    parts = []
    value = message.type
    if value:
        parts.append(head_type[int(value)])
    value = message.term
    if value is not None:
        data = encoders[message_term](value)
        parts.append(head_term[len(data)])
        parts.append(data)
    parts.append(message._unknown_fields)
    return b''.join(parts)
"""

DECODER = """\
def decode(data, depth):
    if not depth:
        raise Unusual
    field_candidate_id = ''
    position, end = 0, len(data)
    while position < end:
        key = data[position]
        if key == 10:
            size, start = data[position + 1], position + 2
            if size > 127:
                size, start = read_varint(data, position + 1)
            position = start + size
            field_candidate_id = data[start:position].decode()
            continue
        raise Unusual
    if position > end:
        raise Unusual
    return kind(field_candidate_id)
"""


def test_an_encoder_is_readable() -> None:
    """That of an event: a value with a name, and a message."""
    assert encoder_source(v1.Event) == ENCODER


def test_a_decoder_is_readable() -> None:
    """That of a request: one text."""
    assert decoder_source(v1.EnterRequest) == DECODER
