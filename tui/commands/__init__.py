"""The command line, one file a group of commands. Every screen's action exists here."""
