"""`python -m computewise`."""

from computewise.cli import main

if __name__ == "__main__":
    main()
