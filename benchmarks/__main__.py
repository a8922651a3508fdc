"""Run all benchmarks, and write their lines of JSON to a file: ``python -m benchmarks``.

Lines of benchmarks that are not run stay as they are. Short forms are written only where that is asked for.
"""

import argparse
from pathlib import Path

from benchmarks import suite


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(suite.NAMES)}; default: all")
    parser.add_argument("--short", action="append_const", const="--short", dest="options")
    parser.add_argument("--tiny", action="append_const", const="--tiny", dest="options")
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"default {suite.RESULTS}, of full forms")
    options = parser.parse_args()
    unknown = set(options.names) - set(suite.NAMES)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    results = {each.name: each for each in suite.run(options.names or suite.NAMES, *options.options or ())}
    output: Path | None = options.output or (None if options.options else suite.RESULTS)
    if output is not None:
        suite.write(output, results)


if __name__ == "__main__":
    main()
