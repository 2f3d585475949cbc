"""`python -m ratchet.cli`: the `ratchet` command where its script is not on the path."""

from ratchet.cli.main import main

main()
