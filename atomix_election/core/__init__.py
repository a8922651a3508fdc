"""The rules, pure: no I/O, no await, no clock, no randomness, no logging.

The laws that every function here keeps, whatever it is given:

1. The leader of an election is its first candidate.
2. A term's number and revision never fall.
3. The revision rises, by exactly one, when the queue changes, and only then; a candidate is its id and its session.
4. The number rises whenever somebody begins to lead, and only then.
5. No candidate id stands in a queue twice.
6. A refused command, and one without effect, changes nothing that anybody can see.
7. Times of entry and of a term's beginning are kept for people: they go with their candidate, and decide nothing.

``election`` holds every transition of an election, ``leases`` the end of sessions, ``granting`` what a session is told
of an election, ``floors`` where an election begins whose record is gone, ``steps`` how terms follow from one another,
``rendezvous`` which of several servers goes first. A client's side is in ``campaign`` (where it
leads, when it must step down) and ``candidacy`` (who it stands for), and ``identity`` holds its targets to one store.
Time is an argument.
"""
