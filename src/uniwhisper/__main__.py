"""`python -m uniwhisper` is the `uniwhisper` command."""

from uniwhisper.cli.app import main

if __name__ == "__main__":
    main()
