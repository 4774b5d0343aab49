"""`python -m pipelines.cli`: the command line without an installed script."""

from pipelines.cli.main import main

if __name__ == "__main__":
    main()
