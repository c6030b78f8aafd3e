"""`python -m edgerep`."""

from edgerep.cli import main

if __name__ == "__main__":
    main()
