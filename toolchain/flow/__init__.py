"""The stages of an export, one function each; every stage starts from the files of the one before it."""
