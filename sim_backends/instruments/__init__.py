"""Instruments as they answer on the wire: pure state machines, and servers that put them on a socket or a pty."""
