"""The command line `labctl`; the commands are in `labctl.cli.main`."""
