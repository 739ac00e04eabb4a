"""``python -m omium``: the same as the ``omium`` program."""

from omium.cli import main

if __name__ == "__main__":
    main()
