"""The dvbench command: one module a command, heavy imports inside the commands."""
