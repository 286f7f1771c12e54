"""`measureflow` and `python -m measureflow` are the command line."""

import sys


def main() -> None:
    """The command line; Ctrl-C while it is being imported, too, ends it without a traceback."""
    try:
        from measureflow.cli import main as command_line
    except KeyboardInterrupt:
        sys.exit(130)
    command_line()


if __name__ == "__main__":
    main()
