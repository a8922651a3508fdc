"""A demonstration with real processes: ``atomix-election demo``."""
