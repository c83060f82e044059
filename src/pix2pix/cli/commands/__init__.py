"""The commands: each parses its words, calls the function that does the work, and prints what comes back."""
