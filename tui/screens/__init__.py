"""The screens: one a file, with its .tcss beside it."""
