"""The services that a server has, a module for each: a table of methods, and how each is served.

``base`` says what such a table is made of, ``core.access`` what a caller needs for each method.
"""
