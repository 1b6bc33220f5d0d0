"""The command line: parse, call the engine or the store, render."""
