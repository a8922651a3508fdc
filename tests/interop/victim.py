"""A published client as a process to be killed: enters, says so, and waits. Run by ``test_sessions``."""

import importlib
import sys
import threading

import grpc

target, election, session, generated = sys.argv[1:]
sys.path.insert(0, generated)
messages = importlib.import_module("atomix.election.v1.election_pb2")
stubs = importlib.import_module("atomix.election.v1.election_pb2_grpc")
stub = stubs.LeaderElectionStub(grpc.insecure_channel(target))
metadata = [("primitive-id", election), ("application-id", ""), ("session-id", session)]
stub.Create(messages.CreateRequest(config=messages.LeaderElectionConfig()), metadata=metadata)
sys.stdout.write(stub.Enter(messages.EnterRequest(), metadata=metadata).term.leader_id + "\n")
sys.stdout.flush()
threading.Event().wait()
