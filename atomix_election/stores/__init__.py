"""Where elections and sessions are kept. The adapters do not know each other; ``base`` is what they have in common."""
