"""Elections over gRPC: generated messages stay inside, translation is thin both ways, nothing is decided here.

``http2`` holds all that is used of grpclib, ``wire`` and ``frames`` turn bytes into messages and back, ``convert`` and
``status`` turn messages and statuses into the model and its errors, ``client`` and ``server`` put them together.
"""
