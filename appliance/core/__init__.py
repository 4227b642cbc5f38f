"""Values in, values out: no clock, no disk, no socket, no framework."""
