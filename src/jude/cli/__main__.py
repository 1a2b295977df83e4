"""`python -m jude.cli`: the same as `jude`, where its script is not on PATH."""

from jude.cli.app import main

main()
