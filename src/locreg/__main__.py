"""``python -m locreg`` is the ``locreg`` command."""

from locreg.cli.main import main

if __name__ == "__main__":
    main()
