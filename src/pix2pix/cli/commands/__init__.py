"""The commands: each calls the function that does the work, and prints the result."""
