"""`python -m zoo`: the command line, where the script `zoo` is not on the path."""

from zoo.cli import main

if __name__ == "__main__":
    main()
