"""Run all benchmarks, and write their lines of JSON to a file: ``python -m benchmarks``."""

import argparse
from pathlib import Path

from benchmarks import suite


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(suite.NAMES)}; default: all")
    parser.add_argument("--short", action="append_const", const="--short", dest="options")
    parser.add_argument("--tiny", action="append_const", const="--tiny", dest="options")
    parser.add_argument("--output", type=Path, metavar="FILE", default=suite.RESULTS, help="default %(default)s")
    options = parser.parse_args()
    unknown = set(options.names) - set(suite.NAMES)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    output: Path = options.output
    before = {each.name: each for each in suite.read(output)} if output.exists() else {}
    for result in suite.run(options.names or suite.NAMES, *options.options or ()):
        before[result.name] = result
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("".join(f"{before[name].line.strip()}\n" for name in suite.NAMES if name in before))


if __name__ == "__main__":
    main()
